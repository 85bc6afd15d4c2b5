"""The weighted mean of the losses of tokens, whose gradient is formed on the way."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxloss import _devices, _inputs
from jaxloss.kernels.linear_cross_entropy import statistics, tokens
from jaxloss.kernels.linear_cross_entropy.head import (
    Head,
    local_labels,
    product_of_tokens,
    read,
    sum_of_tokens,
    sweep,
)
from jaxloss.kernels.linear_cross_entropy.statistics import Options, Statistics

#: How many classes of the gradient are written at a time.
_COLUMNS = 4096


def weighted_linear_softmax_cross_entropy(
    hidden: ArrayLike,
    labels: ArrayLike,
    token_weights: ArrayLike,
    weights: ArrayLike,
    bias: ArrayLike | None = None,
    /,
    *,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    soft_cap: float | None = None,
    chunk_size: int | None = None,
    axis_name: str | None = None,
) -> tuple[Array, Array]:
    r"""Weighted mean of `linear_softmax_cross_entropy`, and the losses themselves.

    .. math:: \frac{\sum_n w_n \ell_n}{\sum_n w_n}

    Weights that are known before the gradient is asked for save a product: logits are
    made once, a block of tokens at a time, and give losses and gradients in one go.

    Args:
        hidden: states before the last layer, shape ``(tokens, features)``, floating.
        labels: index of the true class of each token, shape ``(tokens,)``, integer.
        token_weights: shape ``(tokens,)``, float, integer or boolean.
        weights: matrix of the last layer, shape ``(features, classes)``, floating.
        bias: its bias, shape ``(classes,)``, floating; none by default.
        label_smoothing: share of the target spread evenly over the possible classes.
        z_loss: factor on the squared log-normaliser.
        soft_cap: logits first become ``soft_cap * tanh(logits / soft_cap)``.
        chunk_size: how many tokens at a time. By default so many that their logits take
            64 MiB in float32.
        axis_name: within `jax.shard_map`, the mesh axis along which `weights` and
            `bias` are split by classes.

    Returns:
        The mean, shape ``()``, and the losses, shape ``(tokens,)``; float32 or wider.
        Both have gradients. Where a gradient is asked of the losses, too, it takes the
        four products that `linear_softmax_cross_entropy` takes, in addition.

    Raises:
        ValueError: shapes do not fit, or an option is outside its range.
        TypeError: an array has the wrong kind of numbers, or an option is not a number.

    Guarantees:
        - A token of weight 0 reaches neither mean nor gradient, even if its loss is nan
          or inf. When the weights sum to 0 the mean is 0, with gradient 0.
        - Gradients are summed in float32 or wider.

    Note:
        Within `jax.shard_map` the mean is over the tokens of this device. For the mean
        over all, sum ``mean * token_weights.sum()`` over the devices and divide once.

    Examples:
        >>> hidden, weights = jnp.array([[1.0, 0.0], [0.0, 2.0]]), jnp.eye(2, 3)
        >>> mean, losses = weighted_linear_softmax_cross_entropy(
        ...     hidden, jnp.array([0, 2]), jnp.array([1.0, 3.0]), weights
        ... )
        >>> mean.round(4), losses.round(4)
        (Array(1.8175, dtype=float32), Array([0.5514, 2.2395], dtype=float32))

    References:
        Hsu et al., *Liger Kernel*, 2024, for gradients that are formed on the way.
    """
    options = Options.read(label_smoothing, z_loss, soft_cap)
    for name, value in options._asdict().items():
        if not isinstance(value, (int, float, type(None))):
            raise TypeError(
                f"`{name}` must be a Python number, got {type(value).__name__}. "
                "Take `linear_softmax_cross_entropy` for one that changes."
            )
    head, finite = read(hidden, weights, bias)
    count = len(head.hidden)
    labels, known = local_labels(labels, count, head.classes, axis_name)
    known &= finite
    token_weights = jnp.asarray(token_weights)
    if token_weights.shape != (count,):
        raise ValueError(
            f"`token_weights` must have shape ({count},), one for each token, got "
            f"{token_weights.shape}."
        )
    token_weights = _devices.varying_as(token_weights.astype(head.dtype), head)
    if chunk_size is None:
        chunk_size = max(1, 2**24 // max(head.classes, 1))
    if chunk_size < 1:
        raise ValueError(
            f"`chunk_size` must be a number of tokens from 1 on, got {chunk_size}."
        )
    how = _How(options, chunk_size, axis_name)
    found: Any = _mean_and_losses(how, head, token_weights, labels, known)
    mean, losses = found
    if axis_name is not None:
        mean, losses = lax.psum((mean, losses), axis_name)
    return mean, jnp.where(known, losses, jnp.nan)


class _How(NamedTuple):
    options: Options
    size: int  # tokens in a block
    axis_name: str | None


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _mean_and_losses(
    how: _How, head: Head, weights: Array, labels: Array, known: Array
) -> tuple[Array, Array]:
    """What each device adds to them: the first all, the others nothing.

    So the cotangents are what they are, whether JAX keeps account of what differs
    between devices or not.
    """
    part = tokens.part(head, labels, how.options, None, None, entropy=False)
    losses, _ = _losses_and_slopes(how, head, part, jnp.zeros_like(weights), known)
    mean, _ = _mean(losses, weights)
    return _of_first((mean, losses), how)


def _forward(how: _How, head: Any, weights: Any, labels: Any, known: Any) -> Any:
    head, weights, labels, known = jax.tree.map(
        lambda x: x.value,
        (head, weights, labels, known),
        is_leaf=lambda x: hasattr(x, "perturbed"),
    )
    gradient, losses = _sweep_tokens(how, head, weights, labels, known)
    mean, change = _mean(losses, weights)
    kept = gradient, _of_first(change, how), head, labels, known
    return _of_first((mean, losses), how), kept


def _backward(how: _How, kept: Any, cotangents: Any) -> Any:
    gradient, change, head, labels, known = kept
    of_mean, of_losses = cotangents
    if isinstance(of_mean, SymbolicZero):
        of_mean = jnp.zeros((), head.dtype)
    gradient = jax.tree.map(lambda x: x * of_mean, gradient)
    if not isinstance(of_losses, SymbolicZero):
        part, pull = jax.vjp(
            lambda h: tokens.part(h, labels, how.options, None, None, entropy=False),
            head,
        )
        _, slopes = _losses_and_slopes(how, head, part, of_losses, known)
        (more,) = pull(slopes)
        gradient = jax.tree.map(lambda x, y: x + y.astype(x.dtype), gradient, more)
    gradient = jax.tree.map(lambda x, like: x.astype(like.dtype), gradient, head)
    return gradient, change * of_mean, None, None


_mean_and_losses.defvjp(_forward, _backward, symbolic_zeros=True)


def _mean(losses: Array, weights: Array) -> tuple[Array, Array]:
    """The weighted mean, and its slope with respect to the weights."""
    kept, weights = _inputs.weighted(losses, weights)
    total = jnp.sum(weights)
    divisor = jnp.where(total == 0, jnp.inf, total)
    mean = jnp.sum(kept * weights) / divisor
    return mean, jnp.where(jnp.isfinite(kept), kept - mean, 0) / divisor


def _losses_and_slopes(
    how: _How, head: Head, part: Statistics, cotangents: Array, known: Array
) -> tuple[Array, Statistics]:
    """The losses, and the slopes of the statistics of this part of the classes."""
    whole = _devices.varying_as(statistics.joined(part, how.axis_name), head)
    losses, pull = jax.vjp(lambda s: statistics.losses(s, how.options), whole)
    (slopes,) = pull(jnp.where(known, cotangents, 0))
    slopes = jax.tree.map(
        lambda x: jnp.where(jnp.isfinite(x), x, 0),
        statistics.pull_to_part(part, whole, slopes),
    )
    return jnp.where(known, losses, jnp.nan), slopes


def _sweep_tokens(
    how: _How, head: Head, weights: Array, labels: Array, known: Array
) -> tuple[Head, Array]:
    """The gradient of the mean and the losses, a block of tokens at a time."""
    dtype = head.dtype
    wanted = how.options.wanted(entropy=False)
    total = jnp.sum(weights)
    shares = weights / jnp.where(total == 0, jnp.inf, total)

    def block(so_far: Any, start: Array | int, size: int) -> Any:
        total, losses = so_far
        hidden, label, exists, share = (
            lax.dynamic_slice_in_dim(x, start, size)
            for x in (head.hidden, labels, known, shares)
        )
        part, pull = jax.vjp(
            lambda z: statistics.of_logits(z, label, how.options.soft_cap, wanted),
            head._replace(hidden=hidden).logits(0, head.classes),
        )
        loss, slopes = _losses_and_slopes(how, head, part, share, exists)
        (slope,) = pull(slopes)
        met = hidden.astype(dtype)

        def columns(so_far: Any, start: Array | int, size: int) -> Any:
            for_hidden, for_weights = so_far
            part, weights, before = (
                lax.dynamic_slice_in_dim(x, start, size, 1)
                for x in (slope, head.weights, for_weights)
            )
            after = before + product_of_tokens(met, part)
            return (
                for_hidden + jnp.matmul(part, weights.astype(dtype).T),
                lax.dynamic_update_slice_in_dim(for_weights, after, start, 1),
            )

        nothing = jnp.zeros_like(met)
        for_hidden, for_weights = sweep(
            columns, (nothing, total.weights), head.classes, _COLUMNS
        )
        total = Head(
            lax.dynamic_update_slice_in_dim(total.hidden, for_hidden, start, 0),
            for_weights,
            None if total.bias is None else total.bias + sum_of_tokens(slope),
        )
        return total, lax.dynamic_update_slice_in_dim(losses, loss, start, 0)

    zeros = jax.tree.map(lambda x: jnp.zeros_like(x, dtype=dtype), head)
    nothing = jnp.zeros_like(head.hidden, shape=known.shape, dtype=dtype)
    return sweep(block, (zeros, nothing), len(known), how.size)


def _of_first(x: Any, how: _How) -> Any:
    """The arrays on the first device along the axis, and 0 on the others."""
    if how.axis_name is None:
        return x
    first = lax.axis_index(how.axis_name) == 0
    return jax.tree.map(lambda array: jnp.where(first, array, 0), x)
