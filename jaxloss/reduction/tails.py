"""Means that look more at one end of the batch: its worst losses, or all but those."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _devices, _inputs
from jaxloss.reduction.means import Total


def tail_mean(
    losses: ArrayLike,
    alpha: float | Array,
    drop: float | Array = 0.0,
    *,
    weights: ArrayLike | None = None,
) -> Array:
    r"""Mean of the worst share of the losses: the conditional value at risk (CVaR).

    .. math:: \min_\eta\; \eta + \frac{1}{\alpha W} \sum_i w_i\, (\ell_i - \eta)_+,
        \qquad W = \sum_i w_i,

    over what is left when the share `drop` of the largest losses is taken away first
    (DORO: the worst losses may be outliers, and a tail without them is not led by
    wrong labels). It divides by the weight of the tail, ``alpha (1 - drop) W``.

    Args:
        losses: shape ``(batch,)`` or any other, floating.
        alpha: share of the tail, in [0, 1]: 1 for the mean, 0 for the largest loss.
            May be traced.
        drop: share of the largest losses that do not count, in [0, 1]. May be traced.
        weights: the shape of `losses`, not negative; False or 0 for padding. None for
            all 1.

    Returns:
        Shape ``()``, in the dtype of `losses`, float32 or wider.

    Raises:
        ValueError: shapes differ, or a share is a number outside [0, 1].

    Guarantees:
        - Equal to the minimum above also when the tail ends within an example, which
          then counts in part.
        - The gradient is not 0 for the examples of the tail only; of equal losses the
          first by index is in the tail.
        - A loss of weight 0 reaches neither value nor gradient, even if it is nan or
          inf. A loss of nan that has a weight, or a weight below 0, gives nan.
        - When the weights sum to 0 it is 0, with gradient 0.

    Examples:
        >>> losses = jnp.array([1.0, 4.0, 2.0, 3.0])
        >>> tail_mean(losses, 0.5)
        Array(3.5, dtype=float32)
        >>> tail_mean(losses, 0.5, drop=0.25).round(4)  # (3 + 2 / 2) / 1.5
        Array(2.6667, dtype=float32)

    References:
        Rockafellar and Uryasev, *Optimization of Conditional Value-at-Risk*, 2000.
        Zhai et al., *DORO: Distributional and Outlier Robust Optimization*, 2021.
    """
    _inputs.share("alpha", alpha)
    _inputs.share("drop", drop)
    return _mean_between(losses, weights, drop, drop + alpha * (1 - drop))


def trimmed_mean(
    losses: ArrayLike, share: float | Array, *, weights: ArrayLike | None = None
) -> Array:
    r"""Mean of the losses without a share of the largest and as much of the smallest.

    .. math:: \frac{1}{1 - 2s} \int_s^{1 - s} F^{-1}(u)\, du,

    where :math:`F^{-1}` gives the weighted quantiles of the losses. It divides by the
    weight of what is left, ``(1 - 2 share) W``. To drop the largest only, which is what
    wrong labels ask for, use ``tail_mean(losses, 1, drop=share)``.

    Args:
        losses: shape ``(batch,)`` or any other, floating.
        share: share dropped at each end, in [0, 0.5). May be traced.
        weights: the shape of `losses`, not negative; False or 0 for padding. None for
            all 1.

    Returns:
        Shape ``()``, in the dtype of `losses`, float32 or wider.

    Raises:
        ValueError: shapes differ, or `share` is a number outside [0, 0.5).

    Guarantees:
        - An example on the edge counts in part, so that the mean is continuous in
          `share`; where no example is, it is the mean of whole examples.
        - An example that is dropped has gradient 0; of equal losses the first by
          index counts as the larger.
        - A loss of weight 0 reaches neither value nor gradient, even if it is nan or
          inf. A loss of nan that has a weight, or a weight below 0, gives nan.
        - When the weights sum to 0 it is 0, with gradient 0.

    Examples:
        >>> trimmed_mean(jnp.array([1.0, 100.0, 2.0, 3.0]), 0.25)
        Array(2.5, dtype=float32)

    References:
        Tukey, *The Future of Data Analysis*, 1962.
    """
    if isinstance(share, (int, float)) and not 0 <= share < 0.5:
        raise ValueError(f"`share` must be in [0, 0.5), got {share}.")
    return _mean_between(losses, weights, share, 1 - share)


def top_k_mean(
    losses: ArrayLike, k: int | Array, *, weights: ArrayLike | None = None
) -> Array:
    r"""Mean of the k largest losses that have a weight (average top-k).

    .. math:: \frac{\sum_{i \in T} w_i \ell_i}{\sum_{i \in T} w_i},
        \qquad T \text{ the } k \text{ largest with } w_i > 0

    Args:
        losses: shape ``(batch,)`` or any other, floating.
        k: how many, not negative. May be traced.
        weights: the shape of `losses`, not negative; False or 0 for padding. None for
            all 1.

    Returns:
        Shape ``()``, in the dtype of `losses`, float32 or wider.

    Raises:
        ValueError: shapes differ, or `k` is a number below 0.

    Guarantees:
        - Where fewer than k have a weight, the mean of those; 0 for none or for k of
          0, with gradient 0.
        - Of equal losses the first by index is chosen; an example that is not has
          gradient 0.
        - A loss of weight 0 reaches neither value nor gradient, even if it is nan or
          inf. A loss of nan that has a weight, or a weight below 0, gives nan.

    Examples:
        >>> top_k_mean(jnp.array([1.0, 4.0, 2.0, jnp.nan]), 2, weights=[1, 1, 1, 0])
        Array(3., dtype=float32)

    References:
        Fan et al., *Learning with Average Top-k Loss*, 2017.
    """
    _inputs.not_negative("k", k)
    losses, weights = _inputs.weighted(losses, weights)
    there = (weights != 0).astype(losses.dtype)
    part = _parts_between(losses, there, 0, jnp.asarray(k, losses.dtype))
    return Total.of(losses, part * weights).mean() + _nan_if_bad(losses, weights)


def tilted_mean(
    losses: ArrayLike, t: float | Array, *, weights: ArrayLike | None = None
) -> Array:
    r"""A mean between the smallest and the largest loss, as it is tilted (TERM).

    .. math:: \frac1t \log \frac{\sum_i w_i\, e^{t \ell_i}}{\sum_i w_i}

    Args:
        losses: shape ``(batch,)`` or any other, floating.
        t: the tilt: 0 for the mean, above 0 towards the largest loss, below 0 towards
            the smallest, which makes outliers count less. May be traced.
        weights: the shape of `losses`, not negative; False or 0 for padding. None for
            all 1.

    Returns:
        Shape ``()``, in the dtype of `losses`, float32 or wider.

    Raises:
        ValueError: shapes differ.

    Guarantees:
        - No overflow: any t and any finite losses give a number between the smallest
          and the largest loss, up to rounding, and it does not fall as t rises.
        - Accurate for small t as well, where the formula divides 0 by 0.
        - The gradient is not negative and sums to 1, unless losses differ by less than
          1e-20 or more than 1e30, where it may underflow.
        - A loss of weight 0 reaches neither value nor gradient, even if it is nan or
          inf. One that is not finite and has a weight gives what it gives in the
          weighted mean; a weight below 0 gives nan.
        - When the weights sum to 0 it is 0, with gradient 0.

    Examples:
        >>> losses = jnp.array([1.0, 2.0, 6.0])
        >>> tilted_mean(losses, 0.0), tilted_mean(losses, 1e9)
        (Array(3., dtype=float32), Array(6., dtype=float32))

    References:
        Li et al., *Tilted Empirical Risk Minimization*, 2021.
    """
    losses, weights = _inputs.weighted(losses, weights)
    largest = jnp.finfo(losses.dtype).max
    t = jnp.clip(jnp.asarray(t, losses.dtype), -largest, largest)
    counts, finite = weights != 0, jnp.isfinite(losses)
    loud = jnp.sum(jax.lax.stop_gradient(jnp.where(finite, 0, losses)))
    losses = jnp.where(finite & counts, losses, 0)
    total = jnp.sum(weights)
    share = weights / jnp.where(total == 0, 1, total)
    low = jnp.min(losses, where=counts, initial=largest)
    high = jnp.max(losses, where=counts, initial=-largest)
    low, high = jax.lax.stop_gradient((jnp.minimum(low, high), high))
    # In units of the width, which may itself overflow, so half of it is kept; and from
    # the end that t tilts towards, so that no exponent is above 0.
    half = high / 2 - low / 2
    half = jnp.where(half > 0, half, 1)
    end = jnp.where(jnp.any(counts), jnp.where(t >= 0, high, low), 0)
    x = jnp.where(counts, (losses / 2 - end / 2) / half, 0)
    # Beyond this tilt only the end is left, to the last digit.
    eps = jnp.finfo(x.dtype).eps
    tilt = jnp.clip(t * half * 2, -1e3 / eps, 1e3 / eps)
    flat = jnp.abs(tilt) < jnp.sqrt(eps)
    steep = jnp.where(flat, jnp.where(t >= 0, 1, -1), tilt)
    mean = jnp.sum(share * x)
    # The first two terms of the series around a tilt of 0.
    flat_mean = mean + tilt / 2 * jnp.sum(share * (x - mean) ** 2)
    steep_mean = _log_mean_exp(steep * x, share) / steep
    off = half * jnp.where(flat, flat_mean, steep_mean)
    return end + off + off + loud + _nan_if_bad(losses, weights)


def _log_mean_exp(x: Array, share: Array) -> Array:
    """Log of the mean of exp(x) for x up to 0, exact also when it is nearly 0."""
    below_1 = jnp.sum(share * jnp.expm1(x))
    small = below_1 > -0.5
    mean = jnp.where(small, 1, jnp.sum(share * jnp.exp(x)))
    return jnp.where(small, jnp.log1p(jnp.where(small, below_1, 0)), jnp.log(mean))


def _mean_between(
    losses: ArrayLike,
    weights: ArrayLike | None,
    low: float | Array,
    high: float | Array,
) -> Array:
    """Mean of the losses between two shares of the weight, the largest loss first.

    A band without width gives the loss that it points at.
    """
    losses, weights = _inputs.weighted(losses, weights)
    eps = jnp.finfo(losses.dtype).eps
    low = jnp.clip(jnp.asarray(low, losses.dtype), 0, 1 - eps)
    high = jnp.clip(jnp.asarray(high, losses.dtype), low + eps, 1)
    total = jnp.sum(weights)
    part = _parts_between(losses, weights, low * total, high * total)
    return Total.of(losses, part).mean() + _nan_if_bad(losses, weights)


def _parts_between(
    losses: ArrayLike, weights: Array, low: float | Array, high: float | Array
) -> Array:
    """The part of each weight that lies between two levels of their running sum.

    The sum runs from the largest loss to the smallest, ties by index.
    """

    def parts(
        losses: ArrayLike, weights: Array, low: float | Array, high: float | Array
    ) -> Array:
        order = jnp.argsort(-jnp.ravel(losses), stable=True)
        weight = weights.ravel()[order]
        after = jnp.cumsum(weight)
        before = jnp.concatenate([jnp.zeros_like(after[:1]), after[:-1]])
        part = jnp.minimum(after, high) - jnp.maximum(before, low)
        # The compiler may sum in another order at every place, so that 0 adds a little.
        part = jnp.clip(part, 0, weight)
        return jnp.zeros_like(weight).at[order].set(part).reshape(weights.shape)

    return _devices.automatic(parts, True, losses)(losses, weights, low, high)


def _nan_if_bad(losses: Array, weights: Array) -> Array:
    """A term of nan when a loss that counts is nan or a weight below 0, else of 0."""
    bad = jnp.isnan(losses) | ~(weights >= 0)
    return jnp.where(jnp.any(bad), jnp.nan, jnp.zeros((), losses.dtype))
