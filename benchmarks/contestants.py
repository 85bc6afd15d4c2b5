"""The same work as six libraries do it, each as a call that ends when it is done."""

import functools
import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import ml_dtypes
import numpy as np
import tensorflow as tf
import torch

from benchmarks import devices
from benchmarks.cases import Case, Inputs
from benchmarks.ratios import KERAS, MODES, OPTAX, OURS, OURS_512, READ
from jaxloss import per_sample

Run = Callable[[], Any]


class Tolerance(NamedTuple):
    """How far apart numbers may be, and how many of a gradient may be farther."""

    own: float  # of the size of the number
    mean: float  # of the mean size of all
    slopes: float  # next to a kink a rounding decides, of bfloat16 more often


# Peers round losses of bfloat16 to its 8 digits, and the steps before, and what
# cancels in a gradient.
TOLERANCES = {
    "float32": Tolerance(2e-4, 2e-5, 1e-5),
    "bfloat16": Tolerance(2**-6, 2**-6, 0.02),
}
# Whose numbers may be worse than that. They would be timed at other work: where they
# are, they are left out.
MAY_DIFFER = {("cosine_distance", "bfloat16", MODES[1]): (OPTAX,)}


def cast(inputs: Inputs, dtype: str) -> Inputs:
    """Labels stay what they are."""
    wanted = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}[dtype]
    return tuple(x.astype(wanted) if x.dtype == np.float32 else x for x in inputs)


def field(case: Case, inputs: Inputs, mode: str, places: int) -> list[dict[str, Run]]:
    """jaxloss, and every library that has the loss and a device of this kind.

    What is asked is one number for each example, or also the gradient of their sum by
    the first input. All do it with the inputs in several places in memory: where
    arrays lie to each other changes the time of a loop by up to a half.
    """
    gradient = mode == MODES[1]
    of_jax = {OURS: _of_jax(per_sample(case.loss), gradient)}
    if case.optax is not None:
        of_jax[OPTAX] = _of_jax(jax.jit(case.optax), gradient)
    of_torch, of_tensorflow = {}, {}
    if case.torch is not None and devices.of_torch():
        of_torch = _of_torch(case.torch, gradient)
    if case.tensorflow is not None and devices.of_tensorflow():
        call = _with_gradient_of_tensorflow(case.tensorflow, gradient)
        of_tensorflow["tf.function"] = tf.function(call)
        of_tensorflow["tf.function, XLA"] = tf.function(call, jit_compile=True)
    if case.keras is not None and devices.of_tensorflow() and KERAS not in left_out():
        of_tensorflow[KERAS] = _with_gradient_of_tensorflow(case.keras, gradient)

    def placed() -> dict[str, Run]:
        copies = [x.copy() for x in inputs]
        arrays = [jnp.asarray(x) for x in copies]
        runs = {name: _ended_by_jax(call, arrays) for name, call in of_jax.items()}
        if of_torch:
            tensors = [devices.to_torch(x) for x in copies]
            tensors[0].requires_grad_(gradient)
        for name, call in of_torch.items():
            runs[name] = devices.ended_by_torch(functools.partial(call, *tensors))
        if of_tensorflow:
            constants = [devices.to_tensorflow(x) for x in copies]
        for name, call in of_tensorflow.items():
            run = functools.partial(call, *constants)
            runs[name] = devices.ended_by_tensorflow(run)
        return runs

    return [placed() for _ in range(places)]


def left_out() -> dict[str, str]:
    """The libraries that take no part, and why."""
    reasons = devices.left_out()
    if "TensorFlow" in reasons:
        reasons[KERAS] = "its backend here is TensorFlow"
    elif (backend := keras.backend.backend()) != "tensorflow":
        reasons[KERAS] = f"its backend is {backend}, not tensorflow"
    return reasons


def plain_reads(inputs: Inputs, mode: str, places: int) -> list[Run]:
    """The least that memory has to do: to read what is as large as the batch once.

    With a gradient, also to write as much as the first input. In each of the places.
    """
    wide = [x for x in inputs if x.ndim > 1]
    call = _read if mode == MODES[0] else _read_and_write
    return [
        _ended_by_jax(call, [jnp.asarray(x.copy()) for x in wide])
        for _ in range(places)
    ]


def from_memory(case: Case, inputs: Inputs, times: int) -> dict[str, Run]:
    """The values of jaxloss and a plain read, of the same examples so many times.

    Where vectors of AVX-512 are, also jaxloss with these. The inputs are once in
    memory: of what no cache holds it does not matter where.
    """
    arrays = [jnp.tile(x, (times, *[1] * (x.ndim - 1))) for x in inputs]
    kernel = per_sample(case.loss)
    runs = {OURS: _ended_by_jax(kernel, arrays)}
    if devices.has_avx512():
        options = {"xla_cpu_prefer_vector_width": 512}
        runs[OURS_512] = _ended_by_jax(
            jax.jit(kernel, compiler_options=options), arrays
        )
    runs[READ] = _ended_by_jax(_read, [x for x in arrays if x.ndim > 1])
    return runs


def first_calls(
    runs: dict[str, Run], may_fail: bool = False
) -> tuple[dict[str, float], dict[str, Any], dict[str, str]]:
    """Milliseconds of the first call, what it gave, and why there was none."""
    milliseconds, answers, failures = {}, {}, {}
    for name, run in runs.items():
        start = time.perf_counter()
        try:
            answers[name] = run()
        except Exception as error:
            if not may_fail or name == OURS:
                raise
            failures[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        else:
            milliseconds[name] = 1e3 * (time.perf_counter() - start)
    return milliseconds, answers, failures


def disagreements(
    answers: dict[str, Any], dtype: str, may_differ: Collection[str] = ()
) -> dict[str, str]:
    """How those who may differ do; raises unless all others give the same numbers."""
    (_, ours), *others = ((name, _arrays(found)) for name, found in answers.items())
    reasons = {}
    for name, theirs in others:
        for mine, other in zip(ours, theirs, strict=True):
            own, of_mean, slopes = TOLERANCES[dtype]
            room = own * np.abs(mine) + of_mean * max(np.abs(mine).mean(), 1e-30)
            differ = ~(np.abs(mine - other) <= room)
            if differ.mean() <= (0 if mine.ndim == 1 else slopes):
                continue
            worst = np.abs(mine - other)[differ].max() / np.abs(mine).mean()
            reasons[name] = (
                f"{differ.mean():.2%} of its numbers are too far from those of "
                f"jaxloss, up to {worst:.2g} times their mean size"
            )
            if name not in may_differ:
                raise AssertionError(f"{name}: {reasons[name]}: {mine} and {other}")
    return reasons


def _arrays(found: Any) -> list[np.ndarray]:
    parts = found if isinstance(found, tuple) else (found,)
    return [devices.to_numpy(x) for x in parts]


@jax.jit
def _read(*arrays: jax.Array) -> Any:
    return sum(jnp.sum(x, -1) for x in arrays)


@jax.jit
def _read_and_write(*arrays: jax.Array) -> Any:
    return _read(*arrays), jnp.ones_like(arrays[0])


def _ended_by_jax(call: Callable[..., Any], arrays: list[jax.Array]) -> Run:
    return lambda: jax.block_until_ready(call(*arrays))


def _of_jax(kernel: Callable[..., Any], gradient: bool) -> Callable[..., Any]:
    @jax.jit
    def both(first, *rest):
        losses, pull = jax.vjp(lambda x: kernel(x, *rest), first)
        return losses, pull(jnp.ones_like(losses))[0]

    return both if gradient else kernel


def _of_torch(
    call: Callable[..., Any], gradient: bool
) -> dict[str, Callable[..., Any]]:
    torch._dynamo.reset()  # a new case must not count as a recompilation of the last
    ones = functools.cache(torch.ones)  # a constant in the programs of the others

    def contestant(call: Callable[..., Any]) -> Callable[..., Any]:
        def both(first: torch.Tensor, *rest: torch.Tensor) -> Any:
            losses = call(first, *rest)
            cotangent = ones(len(first), dtype=first.dtype, device=first.device)
            (slope,) = torch.autograd.grad(losses, first, cotangent)
            return losses.detach(), slope

        return both if gradient else call

    return {
        "PyTorch": contestant(call),
        "torch.compile": contestant(torch.compile(call, dynamic=False)),
    }


def _with_gradient_of_tensorflow(
    call: Callable[..., Any], gradient: bool
) -> Callable[..., Any]:
    def both(first, *rest):
        with tf.GradientTape() as tape:
            tape.watch(first)
            losses = call(first, *rest)
        return losses, tape.gradient(losses, first)

    return both if gradient else call
