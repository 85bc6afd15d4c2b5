"""Where results come from, machine, versions and commit, and where they go."""

import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess

import jax

from benchmarks import environment

#: The committed results, of which the README tells, and those of any run.
RESULTS = pathlib.Path(__file__).parent / "results"
LATEST = pathlib.Path(__file__).parent.parent / "build" / "benchmarks"
_ALLOCATOR = (
    ": large arrays that are given back stay with the process. Else the C library "
    "returns those of JAX and PyTorch to the kernel after every call, though not those "
    "of TensorFlow, which keeps them itself, and the clock shows how pages are mapped. "
    "Memory is asked for in large pages, for all; else an array has them by luck, "
    "where one of NumPy was before, which asks for them itself."
)
_INLINE = (
    "JAX computes within the call (`jax_cpu_enable_async_dispatch` is False), as the "
    "others do on a CPU. By default it hands the call to another thread, and who waits "
    "for the result waits some hundredths of a millisecond more: `--dispatch async`."
)


def about(packages: tuple[str, ...], left_out: dict[str, str] | None = None) -> dict:
    """The machine, the versions and the commit that are measured, and who is not."""
    commit = _git("describe", "--always")
    # Results are made one after the other; they do not count as a change.
    if _git("status", "--porcelain", "-uno", ".", ":(exclude)benchmarks/results"):
        commit += "-dirty"
    return {
        "device": jax.devices()[0].device_kind,
        "platform": jax.default_backend(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
        "commit": commit,
        "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES"),
        "async_dispatch": jax.config.read("jax_cpu_enable_async_dispatch"),
        "left_out": left_out or {},
    }


def sentences(about: dict) -> list[str]:
    """The paragraphs of a page that say where its figures come from."""
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    lines = [
        f"{about['device']}, {about['cores']} cores; Python {about['python']}, "
        f"{versions}; commit {about['commit']}.",
    ]
    if tunables := about.get("GLIBC_TUNABLES"):
        lines += [
            "",
            f"All contestants ran in one process, with `GLIBC_TUNABLES={tunables}`",
        ]
        lines[-1] += _ALLOCATOR if tunables == environment.ALLOCATOR else "."
    if not about.get("async_dispatch", True) and about["platform"] == "cpu":
        lines += ["", _INLINE]
    for library, reason in about.get("left_out", {}).items():
        lines += ["", f"{library} is left out: {reason}."]
    return lines


def save(name: str, results: dict, page: str, folder: pathlib.Path) -> None:
    """Writes the results, and the page made of them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(results) + "\n")
    (folder / f"{name}.md").write_text(page)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return importlib.metadata.version(f"{package}-cpu")  # TensorFlow without GPUs
