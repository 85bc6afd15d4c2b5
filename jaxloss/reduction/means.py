"""Sums and means of the losses of a batch, each of which says what it divides by."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs


def weighted_sum(losses: ArrayLike, weights: ArrayLike) -> Array:
    r"""Sum of the losses, each times its weight.

    .. math:: \sum_i w_i \ell_i

    Args:
        losses: shape ``(batch,)`` or any other, floating.
        weights: the shape of `losses`; float, integer or boolean, of any sign.

    Returns:
        Shape ``()``, in the dtype of `losses`, float32 or wider.

    Raises:
        ValueError: shapes differ.
        TypeError: `losses` are not floating.

    Guarantees:
        - A loss of weight 0 reaches neither value nor gradient, even if it is nan or
          inf.

    Examples:
        >>> weighted_sum(jnp.array([1.0, 2.0, jnp.nan]), jnp.array([1.0, 0.5, 0.0]))
        Array(2., dtype=float32)
    """
    return Total.of(losses, weights).sum


def weighted_mean(losses: ArrayLike, weights: ArrayLike) -> Array:
    r"""Mean of the losses, divided by the sum of the weights.

    .. math:: \frac{\sum_i w_i \ell_i}{\sum_i w_i}

    Args:
        losses: shape ``(batch,)`` or any other, floating.
        weights: the shape of `losses`; float, integer or boolean.

    Returns:
        Shape ``()``, in the dtype of `losses`, float32 or wider.

    Raises:
        ValueError: shapes differ.
        TypeError: `losses` are not floating.

    Guarantees:
        - A loss of weight 0 reaches neither value nor gradient, even if it is nan or
          inf.
        - When the weights sum to 0 the mean is 0, with gradient 0.

    Examples:
        >>> weighted_mean(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([1.0, 1.0, 0.0]))
        Array(2., dtype=float32)
    """
    return Total.of(losses, weights).mean()


def batch_mean(losses: ArrayLike, weights: ArrayLike | None = None) -> Array:
    r"""Sum of the weighted losses, divided by the number of examples.

    .. math:: \frac1B \sum_i w_i \ell_i

    Args:
        losses: shape ``(batch,)`` or any other, floating.
        weights: the shape of `losses`; None for all 1.

    Returns:
        Shape ``()``, in the dtype of `losses`, float32 or wider. The mean of an empty
        batch is 0.

    Raises:
        ValueError: shapes differ.
        TypeError: `losses` are not floating.

    Guarantees:
        - A loss of weight 0 reaches neither value nor gradient, even if it is nan or
          inf; it still counts as an example.

    Examples:
        >>> batch_mean(jnp.array([1.0, 3.0, jnp.nan, 4.0]), jnp.array([1, 1, 0, 0]))
        Array(1., dtype=float32)
    """
    return Total.of(losses, weights).sum / max(jnp.size(losses), 1)


class Total(NamedTuple):
    """A weighted sum and its weight, which add up exactly and are divided once.

    A mean of means is wrong as soon as two batches differ in weight. Totals of
    micro-batches, devices and steps add with ``+``, with `jax.lax.psum`, or leaf by
    leaf as the pytree that they are; ``mean()`` comes last.

    Attributes:
        sum: sum of the losses, each times its weight, shape ``()``, or one for each
            group.
        weight: sum of the weights, in the shape of ``sum``.

    Examples:
        >>> first = Total.of(jnp.array([1.0, 2.0, 3.0]), jnp.ones(3))
        >>> last = Total.of(jnp.array([10.0]), jnp.ones(1))
        >>> (first + last).mean()
        Array(4., dtype=float32)
    """

    sum: Array
    weight: Array

    @classmethod
    def of(cls, losses: ArrayLike, weights: ArrayLike | None = None) -> Total:
        """Adds up a batch; weights of None are 1. Shapes that differ are refused."""
        losses, weights = _inputs.weighted(losses, weights)
        return cls(jnp.sum(weights * losses), jnp.sum(weights))

    @classmethod
    def zero(cls) -> Total:
        """The total of nothing, to start from."""
        return cls(jnp.zeros(()), jnp.zeros(()))

    def __add__(self, other: Total) -> Total:  # pyright: ignore[reportIncompatibleMethodOverride] (not concatenation)
        return Total(self.sum + other.sum, self.weight + other.weight)

    def mean(self) -> Array:
        """The sum divided by the weight; 0, with gradient 0, when the weight is 0."""
        empty = self.weight == 0
        return jnp.where(empty, 0, self.sum / jnp.where(empty, 1, self.weight))
