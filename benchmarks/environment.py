"""What the processes that measure have in common, set before any framework starts."""

import os
import sys

VARIABLES = {
    # Threads of one framework must not spin while another is timed.
    "OMP_WAIT_POLICY": "passive",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "KERAS_BACKEND": "tensorflow",
    # On an accelerator the frameworks share its memory: none may take it all.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
}
# No mapping of its own for a large array, nothing handed back, one arena for all; and
# large pages, without which loops over 128 MB take up to 1.6 times as long.
ALLOCATOR = (
    "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=9999999999:"
    "glibc.malloc.arena_max=1:glibc.malloc.hugetlb=1"
)


def prepare(device: str | None) -> None:
    """Sets what is not set yet; on Linux the program starts once more with it.

    The C library reads how to allocate when a process starts and never again.
    """
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    # An accelerator is what JAX takes by itself where it finds one. Its name is not
    # set: there are several for a GPU, and JAX fails at one that is not there.
    if device == "cpu":
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = ALLOCATOR
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ)
