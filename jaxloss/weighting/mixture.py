"""Clean or not: the losses of a batch or a dataset as two groups."""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _devices, _inputs

# Variance of a group, at least this share of that of all losses.
_FLOOR = 1e-3


def mixture(
    losses: ArrayLike, *, where: ArrayLike | None = None, steps: int = 50
) -> Array:
    r"""Probability that each example is of the group of low losses.

    .. math:: w_i = \frac{\pi_0\, \mathcal N(\ell_i; \mu_0, v_0)}
        {\sum_k \pi_k\, \mathcal N(\ell_i; \mu_k, v_k)}, \qquad \mu_0 \le \mu_1,

    with two normal distributions fitted to the losses by expectation-maximisation,
    and the loss held between the two means. Early in a training the low group is what
    is rightly labelled. Use it on the losses of all examples, from one epoch or
    averaged (`jaxloss.ledger.loss_mean`); a batch is a small sample.

    Normal distributions rather than beta: they need no losses scaled into (0, 1), where
    the fit of a beta hangs on the extreme values, and they stay sharp when wrong labels
    are not uniform (Li et al., section 3.1).

    Args:
        losses: shape ``(batch,)``, floating.
        where: False for padding, shape ``(batch,)``, boolean.
        steps: steps of expectation-maximisation, always all taken.

    Returns:
        Weights, shape ``(batch,)``, in the dtype of `losses`, float32 or wider; no
        gradient flows through them.

    Raises:
        ValueError: a shape is wrong, or `steps` is not a whole number.
        TypeError: `losses` is not floating, or `where` not boolean.

    Guarantees:
        - In [0, 1]; a larger loss has no larger weight. (Without holding the loss
          between the means, a very low one may be said to be of the high group, when
          that is the wider.)
        - Nothing is random: the start is the split of the sorted losses that leaves
          the least variance within the two groups. The order of the examples does not
          matter, nor does a shift or a scale of all losses.
        - The variance of a group is at least 1/1000 of that of all losses. When all
          losses are equal, or there is one, there is one group, and the weights are 1.
        - Padding, and a loss of nan or inf, has weight 0.

    Examples:
        >>> mixture(jnp.array([0.1, 0.2, 3.0, 0.15, 2.8, jnp.nan])).round(4)
        Array([1., 1., 0., 1., 0., 0.], dtype=float32)

    References:
        Li et al., *DivideMix: Learning with Noisy Labels as Semi-supervised Learning*,
        2020.
        Arazo et al., *Unsupervised Label Noise Modeling and Loss Correction*, 2019
        (the beta mixture).
    """
    _inputs.whole("steps", steps)
    losses, counts = _inputs.batch("losses", losses, where)
    weights = functools.partial(_posterior, steps=steps)
    return _devices.automatic(weights, True, losses)(losses, counts)


def _posterior(losses: Array, counts: Array, steps: int) -> Array:
    """The probability of the group of small losses."""
    small = losses / 16  # so that neither their range nor its inverse overflows
    low = jnp.min(small, where=counts, initial=jnp.inf)
    width = jnp.max(small, where=counts, initial=-jnp.inf) - low
    one_group = ~(width > 0)
    x = (small - low) / jnp.where(one_group, 1, width)
    x = jnp.where(counts & ~one_group, x, 0)
    present = counts.astype(x.dtype)
    floor = _FLOOR * _moments(x, present)[2]

    def step(_, in_low: Array) -> Array:
        return jax.nn.sigmoid(_log_odds(x, *_fit(x, present, in_low, floor)))

    in_low = jax.lax.fori_loop(0, steps, step, _split(x, counts))
    group, other = _fit(x, present, in_low, floor)
    # A group may fade away; what is left is one group again.
    fewest = jnp.finfo(x.dtype).eps * jnp.sum(present)
    one_group |= jnp.minimum(group[0], other[0]) <= fewest
    held = jnp.clip(x, jnp.minimum(group[1], other[1]), jnp.maximum(group[1], other[1]))
    posterior = jax.nn.sigmoid(_log_odds(held, group, other))
    posterior = jnp.where(group[1] <= other[1], posterior, 1 - posterior)
    return jnp.where(counts, jnp.where(one_group, 1, posterior), 0)


def _fit(
    x: Array, present: Array, in_low: Array, floor: Array
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
    """Weight, mean and variance of both groups, given the share of each example."""
    parts = []
    for share in (in_low, 1 - in_low):
        weight, mean, variance = _moments(x, present * share)
        parts.append((weight, mean, jnp.maximum(variance, floor)))
    return parts[0], parts[1]


def _moments(x: Array, weights: Array) -> tuple[Array, Array, Array]:
    tiny = jnp.finfo(x.dtype).tiny
    total = jnp.maximum(jnp.sum(weights), tiny)
    mean = jnp.sum(weights * x) / total
    return total, mean, jnp.sum(weights * (x - mean) ** 2) / total


def _log_odds(x: Array, one: tuple[Array, ...], two: tuple[Array, ...]) -> Array:
    def log_density(part: tuple[Array, ...]) -> Array:
        weight, mean, variance = part
        variance = jnp.maximum(variance, jnp.finfo(x.dtype).tiny)
        return jnp.log(weight) - (jnp.log(variance) + (x - mean) ** 2 / variance) / 2

    return log_density(one) - log_density(two)


def _split(x: Array, counts: Array) -> Array:
    """1 for the lower group of the split with the least variance within, else 0."""
    if x.size == 0:
        return x
    ordered = jnp.sort(jnp.where(counts, x, jnp.inf))
    size = jnp.sum(counts).astype(x.dtype)
    lower = jnp.arange(1, x.size + 1).astype(x.dtype)
    upper = jnp.maximum(size - lower, 0)
    running = jnp.cumsum(jnp.where(jnp.isfinite(ordered), ordered, 0))
    lower_mean = running / lower
    upper_mean = (running[-1] - running) / jnp.maximum(upper, 1)
    between = lower * upper * (upper_mean - lower_mean) ** 2
    cut = jnp.append(ordered[1:], jnp.inf) > ordered  # equal losses stay together
    edge = ordered[jnp.argmax(jnp.where(cut, between, -1))]
    return (x <= edge).astype(x.dtype)
