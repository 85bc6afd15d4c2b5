"""What a linear layer before a softmax is made of, and where on the devices it is."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from jaxloss import _devices, _inputs


class Head(NamedTuple):
    """The layer, or the part of it that belongs to some of the classes."""

    hidden: Array  # [N, D]
    weights: Array  # [D, V]
    bias: Array | None  # [V]

    def logits(self, start: int | Array, size: int) -> Array:
        """Those of the classes from `start` on, float32 or wider."""
        hidden, weights, bias = self
        if size < self.classes:
            weights = lax.dynamic_slice_in_dim(weights, start, size, 1)
            if bias is not None:
                bias = lax.dynamic_slice_in_dim(bias, start, size)
        wide = self.dtype
        if hidden.dtype != weights.dtype:
            hidden, weights = hidden.astype(wide), weights.astype(wide)
        logits = jnp.matmul(hidden, weights, preferred_element_type=wide)
        if bias is not None:
            logits = logits + bias.astype(wide)[None]
        return logits

    @property
    def classes(self) -> int:
        """How many there are in this part."""
        return self.weights.shape[1]

    @property
    def dtype(self) -> jnp.dtype:
        """What logits and sums are computed in."""
        wide = any(x.dtype == jnp.float64 for x in self if x is not None)
        return jnp.dtype(jnp.float64 if wide else jnp.float32)


def read(
    hidden: ArrayLike, weights: ArrayLike, bias: ArrayLike | None
) -> tuple[Head, Array]:
    """Checks the layer; returns it, and which tokens have a finite hidden state.

    The others are 0 there: a nan of theirs would reach every weight of the layer.
    """
    hidden = matrix("hidden", hidden, "(tokens, features)")
    weights = matrix("weights", weights, "(features, classes)")
    if hidden.shape[1] != weights.shape[0]:
        cure = ""
        if hidden.shape[1] == weights.shape[1]:
            cure = " Transpose them: `weights.T`."
        raise ValueError(
            f"`weights` must have shape ({hidden.shape[1]}, classes), one row for each "
            f"feature of `hidden`, got {weights.shape}.{cure}"
        )
    parts: list[Array] = [hidden, weights]
    if bias is not None:
        bias = jnp.asarray(bias)
        _require_floating("bias", bias)
        if bias.shape != (weights.shape[1],):
            raise ValueError(
                f"`bias` must have shape ({weights.shape[1]},), one number for each "
                f"class of `weights`, got {bias.shape}."
            )
        parts.append(bias)
    finite = jnp.all(jnp.isfinite(hidden), axis=1)
    parts[0] = jnp.where(finite[:, None], hidden, 0)
    head = Head(*parts, *([None] * (bias is None)))
    return _devices.varying_as(head, head), finite


def local_labels(
    labels: ArrayLike, tokens: int, classes: int, axis_name: str | None
) -> tuple[Array, Array]:
    """The index of each label in this part, -1 for those of others; and which exist."""
    labels = jnp.asarray(labels)
    if labels.ndim != 1 or len(labels) != tokens:
        raise ValueError(
            f"`labels` must have shape ({tokens},), one index for each token, got "
            f"{labels.shape}."
        )
    parts = 1 if axis_name is None else lax.axis_size(axis_name)
    first = 0 if axis_name is None else lax.axis_index(axis_name) * classes
    labels = _inputs.labels("labels", labels, (tokens,), parts * classes)
    local = labels - first
    inside = (labels >= 0) & (local >= 0) & (local < classes)
    return jnp.where(inside, local, -1).astype(jnp.int32), labels >= 0


def matrix(name: str, value: ArrayLike, shape: str) -> Array:
    array = jnp.asarray(value)
    if array.ndim != 2:
        raise ValueError(
            f"`{name}` must have shape {shape}, got {array.shape}. Fold further axes "
            f"into one, as in `{name}.reshape(-1, {name}.shape[-1])`."
        )
    _require_floating(name, array)
    return array


def _require_floating(name: str, array: Array) -> None:
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"`{name}` must be floating, got {array.dtype}. Convert it, as in "
            f"`{name}.astype(jnp.float32)`."
        )


def product_of_tokens(met: Array, slope: Array) -> Array:
    """The gradient of a matrix: what it met times the slope of what it gave."""
    return lax.dot_general(met, slope, (((0,), (0,)), ((), ())))


def sum_of_tokens(slope: Array) -> Array:
    """The gradient of a bias; as a product, which is faster than a sum of rows."""
    ones = jnp.ones_like(slope, shape=slope.shape[:1])
    return jnp.matmul(ones, slope, precision=lax.Precision.HIGHEST)


def sweep(
    body: Callable[[Any, Array | int, int], Any], start: Any, length: int, size: int
) -> Any:
    """Folds over parts of this size; the last is smaller where they do not divide."""
    size = max(min(size, length), 1)
    full = length // size
    result = start
    if full:
        starts = size * jnp.arange(full, dtype=jnp.int32)
        result, _ = lax.scan(lambda x, i: (body(x, i, size), None), start, starts)
    rest = length - full * size
    return body(result, full * size, rest) if rest else result
