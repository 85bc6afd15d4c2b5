"""The device that JAX has found, and the same kind of device of the other libraries.

PyTorch and TensorFlow are imported when they are asked for: pages and plots are made
where they are not installed.
"""

import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

Run = Callable[[], Any]


def kind() -> str:
    """Of the device that JAX runs on: cpu, gpu or tpu."""
    return jax.default_backend()


def check(wanted: str | None) -> None:
    """Raises unless JAX runs on the kind of device that is wanted."""
    if wanted not in (None, kind()):
        raise SystemExit(
            f"--device {wanted}: JAX has found a {kind()}, with JAX_PLATFORMS="
            f"{os.environ.get('JAX_PLATFORMS', '')!r}. Set the variable to the name "
            f"that JAX has for a {wanted}, or leave the option out."
        )


def dispatch(how: str) -> None:
    """Chooses, before JAX computes, where it does: inline, or async, its own choice.

    On a CPU it hands a call to another thread and returns. Who then waits, as a clock
    must, also waits for the other thread to wake.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", how == "async")


@functools.cache
def has_avx512() -> bool:
    """Whether JAX runs on a CPU with vectors of 512 bits, as far as Linux tells."""
    told = pathlib.Path("/proc/cpuinfo")
    return kind() == "cpu" and told.exists() and "avx512f" in told.read_text().split()


@functools.cache
def of_torch() -> str | None:
    """The device of PyTorch, None where it has none of the kind."""
    import torch

    if kind() == "gpu":
        return "cuda" if torch.cuda.is_available() else None
    return "cpu" if kind() == "cpu" else None


@functools.cache
def of_tensorflow() -> str | None:
    """The device of TensorFlow, None where it has none of the kind."""
    import tensorflow as tf

    if kind() == "gpu":
        return "/GPU:0" if tf.config.list_physical_devices("GPU") else None
    # Else it would take what it sees.
    tf.config.set_visible_devices([], "GPU")
    return "/CPU:0" if kind() == "cpu" else None


def left_out() -> dict[str, str]:
    """The libraries that take no part on this device, and why."""
    seen = "torch.cuda", "tf.config.list_physical_devices"
    reasons = {}
    for library, device, by in zip(
        ("PyTorch", "TensorFlow"), (of_torch(), of_tensorflow()), seen, strict=True
    ):
        if device is None and kind() == "gpu":
            reasons[library] = f"{by} sees no GPU"
        elif device is None:
            reasons[library] = f"it is not used on a {kind().upper()} here"
    return reasons


def to_torch(array: np.ndarray) -> Any:
    """A tensor on the device; labels become the 64 bits that PyTorch takes alone."""
    import torch

    if array.dtype.name == "bfloat16":
        tensor = torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    else:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
    tensor = tensor if tensor.is_floating_point() else tensor.long()
    return tensor.to(of_torch())


def to_tensorflow(array: np.ndarray) -> Any:
    """A constant on the device."""
    import tensorflow as tf

    with tf.device(of_tensorflow()):
        return tf.constant(array)


def to_numpy(found: Any) -> np.ndarray:
    """An array of any of the libraries; bfloat16 as float32, which has its values."""
    if hasattr(found, "detach"):
        found = found.detach().cpu()
        found = found if found.dtype.itemsize != 2 else found.float()
    array = np.asarray(found)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def ended_by_torch(run: Run) -> Run:
    """A call of PyTorch that ends when its work is done."""
    import torch

    return run if of_torch() == "cpu" else _followed_by(run, torch.cuda.synchronize)


def ended_by_tensorflow(run: Run) -> Run:
    """A call of TensorFlow that ends when its work is done."""
    import tensorflow as tf

    if of_tensorflow() == "/CPU:0":
        return run
    return _followed_by(run, tf.test.experimental.sync_devices)


def _followed_by(run: Run, wait: Callable[[], None]) -> Run:
    def both() -> Any:
        found = run()
        wait()
        return found

    return both
