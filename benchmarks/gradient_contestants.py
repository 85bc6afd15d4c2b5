"""Gradients of each example as several libraries give them, with what is asked of them.

A contestant is called "question: who". Its call ends when its work is done and returns
norms, a sum as a dict like the parameters, or a table of products.
"""

import copy
import warnings
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow as tf
import torch
from opacus import GradSampleModule
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping

from benchmarks import devices
from benchmarks.gradient_models import Model, to_torch
from jaxloss import gradients

Run = Callable[[], Any]

# Of hooks on the first layer, whose input has no gradient.
warnings.filterwarnings("ignore", "Full backward hook is firing")


class Contestant(NamedTuple):
    """A call, and the bytes of its temporaries where the library tells them."""

    run: Run
    bytes: int | None = None


def median_norm(model: Model, size: int) -> float:
    """A limit that clips half of the gradients."""
    norms = gradients.norms_streaming(model.loss)(model.params, *model.data(size))[1]
    return float(jnp.median(norms))


def of_jax(
    model: Model, size: int, limit: float, only: Collection[str] | None = None
) -> dict[str, Contestant]:
    """jaxloss and what JAX offers without it."""
    loss = model.loss
    params = jax.tree.map(jnp.asarray, model.params)
    batch = [jnp.asarray(x) for x in model.data(size)]
    axes = (None, *(0 for _ in batch))
    per_example = gradients.per_example(loss)
    materialised = jax.vmap(jax.grad(loss), axes)

    def norm(tree, of=1):
        leaves = jax.tree.leaves(tree)
        return jnp.sqrt(sum(jnp.sum(g * g, tuple(range(of, g.ndim))) for g in leaves))

    def batch_gradient(params, *batch):
        return jax.grad(lambda p: jnp.mean(jax.vmap(loss, axes)(p, *batch)))(params)

    def norms(params, *batch):
        return gradients.norms(per_example(params, *batch)[1])

    def norms_streaming(params, *batch):
        return gradients.norms_streaming(loss)(params, *batch)[1]

    def norms_materialised(params, *batch):
        return norm(materialised(params, *batch))

    def norms_one_by_one(params, *batch):
        return jax.lax.map(
            lambda example: norm(jax.grad(loss)(params, *example), of=0), tuple(batch)
        )

    def clipped(params, *batch):
        return gradients.clipped_sum(loss, limit)(params, *batch)[2]

    def clipped_small(params, *batch):
        fn = gradients.clipped_sum(loss, limit, memory="small")
        return fn(params, *batch)[2]

    def clipped_materialised(params, *batch):
        grads = materialised(params, *batch)
        weights = gradients.clip_weights(norm(grads), limit)
        return jax.tree.map(lambda g: jnp.tensordot(weights, g, 1), grads)

    def clipped_one_by_one(params, *batch):
        def add(total, example):
            grad = jax.grad(loss)(params, *example)
            weight = gradients.clip_weights(norm(grad, of=0), limit)
            return jax.tree.map(lambda t, g: t + weight * g, total, grad), None

        zero = jax.tree.map(jnp.zeros_like, params)
        return jax.lax.scan(add, zero, tuple(batch))[0]

    def gram(params, *batch):
        return gradients.gram(per_example(params, *batch)[1])

    def gram_materialised(params, *batch):
        leaves = jax.tree.leaves(materialised(params, *batch))
        rows = [g.reshape(size, -1) for g in leaves]
        return sum(g @ g.T for g in rows)

    asked = {
        "gradient of the batch: JAX": batch_gradient,
        "norms: jaxloss": norms,
        "norms: jaxloss, norms_streaming": norms_streaming,
        "norms: JAX, vmap(grad)": norms_materialised,
        "norms: JAX, one at a time": norms_one_by_one,
        "clipped sum: jaxloss": clipped,
        'clipped sum: jaxloss, memory="small"': clipped_small,
        "clipped sum: JAX, vmap(grad)": clipped_materialised,
        "clipped sum: JAX, one at a time": clipped_one_by_one,
        "similarity: jaxloss": gram,
        "similarity: JAX, vmap(grad)": gram_materialised,
    }
    return {
        name: _compiled(fn, params, batch)
        for name, fn in asked.items()
        if only is None or name in only
    }


def _compiled(function: Callable, params: Any, batch: list) -> Contestant:
    compiled = jax.jit(function).lower(params, *batch).compile()
    memory = compiled.memory_analysis().temp_size_in_bytes
    return Contestant(lambda: jax.block_until_ready(compiled(params, *batch)), memory)


def of_torch(model: Model, size: int, limit: float) -> dict[str, Contestant]:
    """Opacus with and without its ghost norms, and torch.func."""
    assert model.torch is not None
    tensors = [devices.to_torch(x) for x in model.data(size)]
    module = model.torch().to(tensors[0].device)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            array = to_torch(name, model.params[name])
            parameter.copy_(devices.to_torch(array))
    leaves = dict(module.named_parameters())

    def batch_gradient():
        loss = module(*tensors).mean()
        return dict(
            zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True)
        )

    ghost = GradSampleModuleFastGradientClipping(
        copy.deepcopy(module), max_grad_norm=limit, loss_reduction="sum"
    )
    optimizer = DPOptimizerFastGradientClipping(
        torch.optim.SGD(ghost.parameters(), 0.1),
        noise_multiplier=0.0,
        max_grad_norm=limit,
        expected_batch_size=size,
        loss_reduction="sum",
    )

    def ghost_norms():
        ghost(*tensors).sum().backward()
        optimizer.zero_grad()
        return ghost.get_norm_sample()

    def ghost_clipped():
        optimizer.zero_grad()
        losses = ghost(*tensors)
        DPTensorFastGradientClipping(ghost, optimizer, losses, "sum").backward()
        return {name: p.grad for name, p in ghost._module.named_parameters()}

    sampled = GradSampleModule(copy.deepcopy(module), loss_reduction="sum")

    def samples():
        for parameter in sampled.parameters():
            parameter.grad = parameter.grad_sample = None
        sampled(*tensors).sum().backward()
        return {n: p.grad_sample for n, p in sampled._module.named_parameters()}

    def example_loss(leaves, *example):
        batch = tuple(x[None] for x in example)
        return torch.func.functional_call(module, leaves, batch)[0]

    per_example = torch.func.vmap(
        torch.func.grad(example_loss), (None, *(0 for _ in tensors))
    )
    detached = {name: p.detach() for name, p in leaves.items()}

    def mapped():
        return per_example(detached, *tensors)

    def norm(grads):
        norms = [g.flatten(1).norm(dim=1) for g in grads.values()]
        return torch.stack(norms).norm(dim=0)

    def clipped(grads):
        weights = (limit / norm(grads)).clamp(max=1)
        return {name: torch.tensordot(weights, g, 1) for name, g in grads.items()}

    runs: dict[str, Run] = {
        "gradient of the batch: PyTorch": batch_gradient,
        "norms: Opacus, ghost": ghost_norms,
        "norms: Opacus, materialised": lambda: norm(samples()),
        "norms: torch.func": lambda: norm(mapped()),
        "clipped sum: Opacus, ghost": ghost_clipped,
        "clipped sum: Opacus, materialised": lambda: clipped(samples()),
        "clipped sum: torch.func": lambda: clipped(mapped()),
    }
    return {name: Contestant(devices.ended_by_torch(r)) for name, r in runs.items()}


def of_tensorflow(model: Model, size: int, limit: float) -> dict[str, Contestant]:
    """Its vectorised map over the gradient of one example."""
    loss = model.tensorflow
    assert loss is not None
    params = {name: devices.to_tensorflow(v) for name, v in model.params.items()}
    batch = tuple(devices.to_tensorflow(x) for x in model.data(size))

    def gradient(params, of_batch, *batch):
        with tf.GradientTape() as tape:
            tape.watch(params)
            value = of_batch(loss(params, *batch))
        return tape.gradient(value, params)

    def materialised(params, *batch):
        def one(example):
            return gradient(params, tf.reduce_sum, *(x[None] for x in example))

        return tf.vectorized_map(one, batch)

    def norm(grads):
        flat = [tf.reshape(g, (size, -1)) for g in grads.values()]
        return tf.sqrt(tf.add_n([tf.reduce_sum(g * g, 1) for g in flat]))

    @tf.function
    def batch_gradient(params, *batch):
        return gradient(params, tf.reduce_mean, *batch)

    @tf.function
    def norms(params, *batch):
        return norm(materialised(params, *batch))

    @tf.function
    def clipped(params, *batch):
        grads = materialised(params, *batch)
        weights = tf.minimum(1.0, limit / norm(grads))
        return {name: tf.tensordot(weights, g, 1) for name, g in grads.items()}

    asked = {
        "gradient of the batch: TensorFlow": batch_gradient,
        "norms: TensorFlow, vectorized_map": norms,
        "clipped sum: TensorFlow, vectorized_map": clipped,
    }

    def contestant(function: Callable) -> Contestant:
        return Contestant(devices.ended_by_tensorflow(lambda: function(params, *batch)))

    return {name: contestant(function) for name, function in asked.items()}


def assert_agreement(field: dict[str, Contestant]) -> None:
    """Raises unless all who answer a question give the same numbers."""
    answers: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    for name, contestant in field.items():
        question, _, who = name.partition(": ")
        answers.setdefault(question, {})[who] = _numpy(contestant.run(), who)
    for question, given in answers.items():
        (first, wanted), *others = given.items()
        for who, found in others:
            for name, array in wanted.items():
                error = np.abs(found[name] - array).max()
                if not error <= 2e-4 * np.abs(array).max():
                    raise AssertionError(
                        f"{question}: {first} and {who} differ by {error} in {name}"
                    )


def _numpy(answer: Any, who: str) -> dict[str, np.ndarray]:
    if not isinstance(answer, dict):
        return {"": devices.to_numpy(answer)}
    arrays = {name: devices.to_numpy(value) for name, value in answer.items()}
    if not who.startswith(("PyTorch", "Opacus", "torch")):
        arrays = {name: to_torch(name, value) for name, value in arrays.items()}
    return arrays
