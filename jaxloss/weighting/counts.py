"""Weights of classes, from how many examples each has."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs


def class_balanced(counts: ArrayLike, beta: float | Array = 0.999) -> Array:
    r"""Weights of classes by their effective number of examples.

    .. math:: w_c \propto \frac{1 - \beta}{1 - \beta^{n_c}}

    Every further example of a class tells less: the n-th adds :math:`\beta^{n - 1}` of
    an example. Take the weight of each example's class, ``weights[labels]``.

    Args:
        counts: examples of each class, shape ``(classes,)``, integer or floating, not
            negative.
        beta: how much is new in each further example, in [0, 1]: 0 weights all classes
            alike, 1 by the inverse of their frequency. May be traced.

    Returns:
        Shape ``(classes,)``, float32 or wider; no gradient flows through it.

    Raises:
        ValueError: `counts` is not a vector, or `beta` a number outside [0, 1].

    Guarantees:
        - The weights sum to the number of classes that occur, so that their mean is 1.
        - A class that does not occur has weight 0. A count that is nan or below 0
          does not occur.
        - Accurate for beta near 1, where both sides of the fraction vanish.

    Examples:
        >>> class_balanced(jnp.array([1, 10, 100, 0]), 0.9).round(4)
        Array([2.3932, 0.3674, 0.2393, 0.    ], dtype=float32)

    References:
        Cui et al., *Class-Balanced Loss Based on Effective Number of Samples*, 2019.
    """
    _inputs.share("beta", beta)
    counts, there = _occurring(counts)
    rest = jnp.asarray(1 - beta, counts.dtype)
    limit = rest == 0
    rest = jnp.where(limit, 0.5, rest)
    effective = jnp.expm1(counts * jnp.log1p(-rest)) / -rest
    return _normalised(jnp.where(limit, counts, effective), there)


def inverse_frequency(counts: ArrayLike) -> Array:
    r"""Weights of classes by the inverse of how often they occur.

    .. math:: w_c \propto \frac1{n_c}

    Weighted so, all classes have the same say. Take the weight of each example's
    class, ``weights[labels]``.

    Args:
        counts: examples of each class, shape ``(classes,)``, integer or floating, not
            negative.

    Returns:
        Shape ``(classes,)``, float32 or wider; no gradient flows through it.

    Raises:
        ValueError: `counts` is not a vector.

    Guarantees:
        - The weights sum to the number of classes that occur, so that their mean is 1.
        - A class that does not occur has weight 0. A count that is nan or below 0
          does not occur.

    Examples:
        >>> inverse_frequency(jnp.array([10, 30, 0]))
        Array([1.5, 0.5, 0. ], dtype=float32)
    """
    return _normalised(*_occurring(counts))


def _occurring(counts: ArrayLike) -> tuple[Array, Array]:
    """The counts as floating, 1 for what does not occur, and what occurs."""
    counts = jnp.asarray(counts)
    if counts.ndim != 1:
        raise ValueError(f"`counts` must have shape (classes,), got {counts.shape}.")
    wide = counts.dtype == jnp.float64
    counts = jax.lax.stop_gradient(counts.astype(jnp.float64 if wide else jnp.float32))
    there = (counts > 0) & jnp.isfinite(counts)
    return jnp.where(there, counts, 1), there


def _normalised(sizes: Array, there: Array) -> Array:
    """Inverse sizes, 0 for what is not there, with mean 1 over what is."""
    # Relative to the smallest, so that nothing overflows.
    least = jnp.min(sizes, where=there, initial=jnp.inf)
    weights = jnp.where(there, least / sizes, 0)
    mean = jnp.sum(weights) / jnp.maximum(jnp.sum(there), 1).astype(weights.dtype)
    return jax.lax.stop_gradient(weights / jnp.where(mean == 0, 1, mean))
