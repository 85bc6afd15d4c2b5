"""The same kernels as four libraries have them: calls that end when they are done."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tensorflow as tf
import torch
import torch.nn.functional as F
from jax import lax

from benchmarks import devices
from jaxloss import losses, per_sample
from jaxloss.kernels import (
    linear_softmax_cross_entropy,
    weighted_linear_softmax_cross_entropy,
)


class Contestant(NamedTuple):
    """A call, which part of its result is compared, and its temporaries where known."""

    run: Callable[[], Any]
    compared: Callable[[Any], list[Any]]
    bytes: int | None = None


def of_linear(small: bool) -> dict[str, Contestant]:
    """The weighted mean of the losses, and its gradients."""
    tokens, features, classes = (64, 16, 1000) if small else (4096, 512, 32768)
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(tokens, features)).astype("f4")
    weights = (rng.normal(size=(features, classes)) / features**0.5).astype("f4")
    labels = rng.integers(0, classes, tokens, dtype=np.int32)
    token_weights = np.ones(tokens, "f4")  # what PyTorch's kernel can

    def mean_of(kernel: Callable[..., Any]) -> Callable[..., Any]:
        def mean(hidden: Any, weights: Any, labels: Any, token_weights: Any) -> Any:
            found = kernel(hidden, labels, weights)
            return jnp.sum(found * token_weights) / jnp.sum(token_weights), found

        return mean

    def plain(hidden: Any, labels: Any, weights: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(hidden @ weights, labels)

    def known(hidden: Any, weights: Any, labels: Any, token_weights: Any) -> Any:
        return weighted_linear_softmax_cross_entropy(
            hidden, labels, token_weights, weights
        )

    arrays = [jnp.asarray(x) for x in (hidden, weights, labels, token_weights)]

    def of_jax(mean: Callable[..., Any]) -> Contestant:
        ask = jax.value_and_grad(mean, (0, 1), has_aux=True)
        return _compiled(ask, arrays, lambda found: [found[0][0], *found[1]])

    field = {
        "product": _compiled(lambda h, w, *_: h @ w, arrays, lambda _: []),
        "jaxloss": of_jax(mean_of(linear_softmax_cross_entropy)),
        "jaxloss, weights known": of_jax(known),
        "JAX and optax, jit": of_jax(mean_of(plain)),
    }
    if devices.of_torch():
        field |= _linear_of_torch(hidden, weights, labels)
    if devices.of_tensorflow():
        field |= _linear_of_tensorflow(hidden, weights, labels)
    return field


def _linear_of_torch(
    hidden: np.ndarray, weights: np.ndarray, labels: np.ndarray
) -> dict[str, Contestant]:
    inputs = devices.to_torch(hidden).requires_grad_()
    matrix = devices.to_torch(weights.T).requires_grad_()
    target = devices.to_torch(labels)
    options = torch.nn.LinearCrossEntropyOptions()

    def compared(found: Any) -> list[Any]:
        return [found[0], found[1], found[2].T]

    def of_torch(loss: Callable[..., Any]) -> Contestant:
        def run() -> Any:
            value = loss(inputs, matrix, target)
            return value.detach(), *torch.autograd.grad(value, (inputs, matrix))

        return Contestant(devices.ended_by_torch(run), compared)

    def by_logits(inputs: Any, matrix: Any, target: Any) -> Any:
        return F.cross_entropy(F.linear(inputs, matrix), target)

    return {
        "PyTorch, linear_cross_entropy": of_torch(
            lambda x, w, y: F.linear_cross_entropy(x, w, y, options=options)
        ),
        "PyTorch": of_torch(by_logits),
        "torch.compile": of_torch(torch.compile(by_logits, dynamic=False)),
    }


def _linear_of_tensorflow(*data: np.ndarray) -> dict[str, Contestant]:
    constants = [devices.to_tensorflow(x) for x in data]

    @tf.function(jit_compile=True)
    def of_tensorflow(hidden: Any, weights: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([hidden, weights])
            found = tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels, hidden @ weights
            )
            mean = tf.reduce_mean(found)
        return mean, *tape.gradient(mean, [hidden, weights])

    run = devices.ended_by_tensorflow(lambda: of_tensorflow(*constants))
    return {"tf.function, XLA": Contestant(run, list)}


def of_ctc(small: bool) -> dict[str, Contestant]:
    """The losses of a batch of sequences."""
    return _of_ctc(*_sequences(small), gradient=False)


def of_ctc_gradient(small: bool) -> dict[str, Contestant]:
    """The losses, and the gradient of their sum."""
    return _of_ctc(*_sequences(small), gradient=True)


def _sequences(small: bool) -> tuple[np.ndarray, ...]:
    """Logits, labels without blanks, and lengths, of which some are not whole."""
    batch, frames, classes, longest = (4, 20, 8, 5) if small else (32, 400, 64, 60)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(batch, frames, classes)).astype("f4")
    labels = rng.integers(1, classes, (batch, longest), dtype=np.int32)
    frame_counts = rng.integers(frames * 3 // 4, frames + 1, batch, dtype=np.int32)
    label_counts = rng.integers(longest // 2, longest + 1, batch, dtype=np.int32)
    return logits, labels, frame_counts, label_counts


def _of_ctc(
    logits: np.ndarray,
    labels: np.ndarray,
    frame_counts: np.ndarray,
    label_counts: np.ndarray,
    *,
    gradient: bool,
) -> dict[str, Contestant]:
    data = logits, labels, frame_counts, label_counts
    arrays = [jnp.asarray(x) for x in data]

    def of_optax(logits: Any, labels: Any, frames: Any, counts: Any) -> Any:
        after = jnp.arange(logits.shape[1])[None] >= frames[:, None]
        beyond = jnp.arange(labels.shape[1])[None] >= counts[:, None]
        return optax.ctc_loss(logits, after.astype("f4"), labels, beyond.astype("f4"))

    def of_jax(kernel: Callable[..., Any]) -> Contestant:
        return _compiled(_with_gradient(kernel) if gradient else kernel, arrays)

    field = {
        "jaxloss": of_jax(per_sample(losses.ctc_loss)),
        "optax, jit": of_jax(of_optax),
    }
    if devices.of_torch():
        field["PyTorch"] = _ctc_of_torch(data, gradient)
    if devices.of_tensorflow():
        field["tf.function"] = _ctc_of_tensorflow(data, gradient)
    return field


def _ctc_of_torch(data: tuple[np.ndarray, ...], gradient: bool) -> Contestant:
    scores, tokens, frames, counts = (devices.to_torch(x) for x in data)
    scores.requires_grad_(gradient)

    def run() -> Any:
        found = F.ctc_loss(
            scores.log_softmax(-1).transpose(0, 1),
            tokens,
            frames,
            counts,
            reduction="none",
        )
        if not gradient:
            return found
        return found.detach(), *torch.autograd.grad(found.sum(), scores)

    return Contestant(devices.ended_by_torch(run), _listed)


def _ctc_of_tensorflow(data: tuple[np.ndarray, ...], gradient: bool) -> Contestant:
    constants = [devices.to_tensorflow(x) for x in data]

    @tf.function
    def of_tensorflow(logits: Any, labels: Any, frames: Any, counts: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            found = tf.nn.ctc_loss(
                labels, logits, counts, frames, logits_time_major=False, blank_index=0
            )
        return (found, tape.gradient(found, logits)) if gradient else found

    run = devices.ended_by_tensorflow(lambda: of_tensorflow(*constants))
    return Contestant(run, _listed)


def of_rnnt_gradient(small: bool) -> dict[str, Contestant]:
    """The losses of transducers, and the gradient of their sum."""
    batch, frames, longest, classes = (2, 6, 3, 5) if small else (8, 200, 40, 256)
    rng = np.random.default_rng(0)
    shape = batch, frames, longest + 1, classes
    arrays = [
        jnp.asarray(rng.normal(size=shape), "f4"),
        jnp.asarray(rng.integers(1, classes, (batch, longest))),
        jnp.full(batch, frames),
        jnp.full(batch, longest),
    ]
    plain = jax.vmap(_plain_rnnt)
    return {
        "jaxloss": _compiled(_with_gradient(per_sample(losses.rnnt_loss)), arrays),
        "JAX, plain": _compiled(_with_gradient(plain), arrays),
    }


def _plain_rnnt(logits: Any, labels: Any, frames: Any, count: Any) -> Any:
    """What one writes down: both lengths are whole."""
    del frames, count
    log_p = jax.nn.log_softmax(logits)
    blank = log_p[:, :, 0]
    rows = jnp.arange(len(labels))
    label = log_p[:, rows, labels]

    def along(first: Any, inputs: Any) -> Any:
        stay, move = inputs

        def step(before: Any, here: Any) -> Any:
            now = jnp.logaddexp(here[0], before + here[1])
            return now, now

        _, rest = lax.scan(step, first, (stay, move))
        return jnp.concatenate([first[None], rest])

    start = jnp.concatenate([jnp.zeros(1), jnp.cumsum(label[0])])

    def frame(alpha: Any, inputs: Any) -> Any:
        leave, move = inputs
        stay = alpha + leave
        return along(stay[0], (stay[1:], move)), None

    alpha, _ = lax.scan(frame, start, (blank[:-1], label[1:]))
    return -(alpha[-1] + blank[-1, -1])


def assert_agreement(field: dict[str, Contestant], tolerance: float) -> None:
    """Raises unless all contestants give the same, within a share of the largest."""
    wanted = _parts(field["jaxloss"])
    for name, contestant in field.items():
        for mine, other in zip(wanted, _parts(contestant), strict=False):
            apart = np.abs(mine - other).max() / np.abs(mine).max()
            if not apart <= tolerance:
                raise AssertionError(f"jaxloss and {name} are {apart:.1g} apart")


def _parts(contestant: Contestant) -> list[np.ndarray]:
    return [devices.to_numpy(x) for x in contestant.compared(contestant.run())]


def _with_gradient(kernel: Callable[..., Any]) -> Callable[..., Any]:
    def both(first: Any, *rest: Any) -> Any:
        found, pull = jax.vjp(lambda x: kernel(x, *rest), first)
        return found, pull(jnp.ones_like(found))[0]

    return both


def _listed(found: Any) -> list[Any]:
    return list(found) if isinstance(found, tuple) else [found]


def _compiled(
    function: Callable[..., Any],
    arrays: list[jax.Array],
    compared: Callable[[Any], list[Any]] = _listed,
) -> Contestant:
    program = jax.jit(function).lower(*arrays).compile()
    memory = program.memory_analysis()
    return Contestant(
        lambda: jax.block_until_ready(program(*arrays)),
        compared,
        None if memory is None else memory.temp_size_in_bytes,
    )
