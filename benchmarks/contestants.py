"""The same work as five libraries do it, each as a call that ends when it is done."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax  # noqa: F401  (its version is reported beside the others)
import tensorflow as tf
import torch

from benchmarks.cases import Case, Inputs
from jaxloss import per_sample

Run = Callable[[], object]


def values(case: Case, inputs: Inputs) -> dict[str, Run]:
    """One number for each example."""
    ours, arrays = per_sample(case.loss), _jax(inputs)
    runs = {"jaxloss": lambda: jax.block_until_ready(ours(*arrays))}
    if case.optax is not None:
        peer = jax.jit(case.optax)
        runs["optax, jit"] = lambda: jax.block_until_ready(peer(*arrays))
    if case.torch is not None:
        tensors = _torch(inputs)
        for name, call in _of_torch(case.torch).items():
            runs[name] = lambda call=call: call(*tensors)
    if case.tensorflow is not None:
        constants = _tensorflow(inputs)
        for name, call in _of_tensorflow(case.tensorflow).items():
            runs[name] = lambda call=call: call(*constants)
    return runs


def values_and_gradients(case: Case, inputs: Inputs) -> dict[str, Run]:
    """One number for each example, and the gradient of their sum by the first input."""
    ours, arrays = _with_gradient_of_jax(per_sample(case.loss)), _jax(inputs)
    runs = {"jaxloss": lambda: jax.block_until_ready(ours(*arrays))}
    if case.optax is not None:
        peer = _with_gradient_of_jax(case.optax)
        runs["optax, jit"] = lambda: jax.block_until_ready(peer(*arrays))
    if case.torch is not None:
        tensors = _torch(inputs)
        tensors[0].requires_grad_()
        cotangent = torch.ones(len(inputs[0]))
        for name, call in _of_torch(case.torch).items():

            def run(call=call):
                losses = call(*tensors)
                (gradient,) = torch.autograd.grad(losses, tensors[0], cotangent)
                return losses.detach(), gradient

            runs[name] = run
    if case.tensorflow is not None:
        constants = _tensorflow(inputs)

        def with_gradient(first, *rest):
            with tf.GradientTape() as tape:
                tape.watch(first)
                losses = case.tensorflow(first, *rest)
            return losses, tape.gradient(losses, first)

        for name, call in _of_tensorflow(with_gradient).items():
            runs[name] = lambda call=call: call(*constants)
    return runs


def assert_agreement(runs: dict[str, Run]) -> None:
    """Raises unless all contestants give the same numbers.

    Of a gradient, one element in a hundred thousand may differ: next to a kink a
    rounding decides.
    """
    (_, ours), *others = ((name, _numpy(run())) for name, run in runs.items())
    for name, theirs in others:
        for mine, other in zip(ours, theirs, strict=True):
            differ = ~np.isclose(mine, other, rtol=2e-4, atol=2e-5)
            if differ.mean() > (0 if mine.ndim == 1 else 1e-5):
                raise AssertionError(f"jaxloss and {name} differ: {mine} and {other}")


def _with_gradient_of_jax(batched: Callable) -> Callable:
    @jax.jit
    def both(first, *rest):
        losses, pull = jax.vjp(lambda x: batched(x, *rest), first)
        return losses, pull(jnp.ones_like(losses))[0]

    return both


def _of_torch(call: Callable) -> dict[str, Callable]:
    torch._dynamo.reset()  # a new case must not count as a recompilation of the last
    compiled = torch.compile(call, dynamic=False)
    return {"PyTorch": call, "torch.compile": compiled}


def _of_tensorflow(call: Callable) -> dict[str, Callable]:
    return {
        "tf.function": tf.function(call),
        "tf.function, XLA": tf.function(call, jit_compile=True),
    }


def _jax(inputs: Inputs) -> list[jax.Array]:
    return [jnp.asarray(x) for x in inputs]


def _torch(inputs: Inputs) -> list[torch.Tensor]:
    # PyTorch takes labels of 64 bits alone.
    tensors = [torch.from_numpy(x) for x in inputs]
    return [x if x.is_floating_point() else x.long() for x in tensors]


def _tensorflow(inputs: Inputs) -> list[tf.Tensor]:
    return [tf.constant(x) for x in inputs]


def _numpy(result) -> list[np.ndarray]:
    parts = result if isinstance(result, tuple) else (result,)
    return [np.asarray(x) for x in parts]
