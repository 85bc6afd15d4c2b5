"""One class against the others."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss._numerics.arithmetic import nan_if_any
from jaxloss._numerics.derivatives import FEW, no_slope, slopes
from jaxloss._numerics.softmax import top
from jaxloss._numerics.sums import sum_of


@jax.custom_jvp
def log_odds_against(logits: Array, label: Array) -> Array:
    """Log-odds of the other classes against the label, nan for a label below 0.

    Softplus of it is the cross-entropy, sigmoid of it the probability of being wrong.
    Nothing cancels on the way, neither for logits far from 0 nor for a nearly certain
    label; where the odds are below the smallest positive number it is -inf.
    """
    return _odds_against(logits, label)[0]


@log_odds_against.defjvp
def _log_odds_against_jvp(primals, tangents):
    log_odds, highest, others = _odds_against(*primals)
    logits, label, highest = jax.lax.optimization_barrier((*primals, highest))
    others = jnp.where(jnp.isnan(log_odds), 0, others)
    slope = jnp.where(is_label(logits, label), -others, jnp.exp(logits - highest))
    slope = jnp.where(slope <= 1, slope, 0)  # inf and nan count as 0
    # A division is done once for each example, and all before it: the compiler takes
    # what is cheaper into the pass over the classes, and computes it for each of them.
    whole = jnp.where(others > 0, others, jnp.inf)
    return log_odds, jnp.sum(slope * tangents[0]) / whole


def _odds_against(logits: Array, label: Array) -> tuple[Array, Array, Array]:
    """Log-odds, highest finite logit, sum of exponentials of the others below it."""
    highest = top(logits)
    others = _sum_of_others(logits, highest, label)
    own = at_label(logits, label)
    alone = (others == 0) & (own > -jnp.inf)
    log_others = jnp.log(jnp.where(alone, 1, others))
    certain = alone | ((own == jnp.inf) & (others < 1))
    behind = jax.lax.stop_gradient(jnp.max(logits, initial=-jnp.inf)) - own
    log_odds = jnp.where(certain, -jnp.inf, behind + log_others)
    return log_odds, highest, others


def _slope_of_others(logits: Array, highest: Array, label: Array) -> Array:
    return jnp.where(is_label(logits, label), 0, jnp.exp(logits - highest))


@slopes(_slope_of_others, no_slope, no_slope)
def _sum_of_others(logits: Array, highest: Array, label: Array) -> Array:
    """The sum of exponentials below the highest without the label's own.

    None is above 1, so that the distance cuts off the label's own alone. A sum takes
    a minimum into its pass over the batch, and a selection it does not. The second
    operand of that minimum may be nan; of the first it would be lost on some backends.
    """
    classes, label = _indices(logits, label)
    return sum_of(_share_unless_label, logits, _kept(classes), highest, label)


def _share_unless_label(
    logits: Array, classes: Array, highest: Array, label: Array
) -> Array:
    share = jnp.exp(logits - highest)
    return jnp.minimum(_squared_gap(classes, label, share.dtype), share)


def _distance(logits: Array, label: Array) -> Array:
    """How far each class index is from the label, squared."""
    classes, label = _indices(logits, label)
    return _squared_gap(_kept(classes), label, logits.dtype)


def _squared_gap(classes: Array, label: Array, dtype: Any) -> Array:
    return jnp.square(classes - label).astype(dtype)


def _indices(logits: Array, label: Array) -> tuple[Array, Array]:
    """All class indices, and the label as one of them.

    Counted in floating numbers where these are exact: they compile to faster programs.
    """
    exact = logits.size <= 1 / jnp.finfo(logits.dtype).eps
    dtype = logits.dtype if exact else label.dtype
    return jnp.arange(logits.size, dtype=dtype), label.astype(dtype)


def _kept(classes: Array) -> Array:
    """All class indices, for a sum, a minimum or a maximum: an array of the program.

    Of indices that the compiler makes within a reduction, XLA on the CPU keeps those of
    the first program for any number of classes below 16, and lets later programs for
    more classes read beyond their end (seen in JAX 0.12.0.1, not in 0.10.2).
    """
    return jax.lax.optimization_barrier(classes)


@slopes(lambda x, y: is_label(x, y).astype(x.dtype), no_slope)
def at_label(x: Array, label: Array) -> Array:
    """The element at the label, nan for a label below 0."""
    return x.at[label].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)


def is_label(x: Array, label: Array) -> Array:
    """Whether a class is the label."""
    classes, label = _indices(x, label)
    return classes == label


def unless_label(x: Array, label: Array) -> Array:
    """0 at the label, infinity elsewhere."""
    distance = _distance(x, label)
    return distance / jnp.maximum(1 - distance, 0)


def _behind_slope(x: Array, label: Array) -> Array:
    rival = _place_of_highest_other(x, label)
    x, label, rival = jax.lax.optimization_barrier((x, label, rival))
    return is_label(x, rival).astype(x.dtype) - is_label(x, label).astype(x.dtype)


@slopes(_behind_slope, no_slope)
def behind(x: Array, label: Array) -> Array:
    """How far the label's element is behind the highest other one.

    nan for a label below 0 and where an element is nan. Of rivals that tie, the first
    has the slope.
    """
    return _highest_other(x, label) - at_label(x, label) + nan_if_any(x)


def _highest_other(x: Array, label: Array) -> Array:
    if x.size < FEW:  # a selection, which is written to memory, is soon made
        return jnp.max(jnp.where(is_label(x, label), -jnp.inf, x))
    # As in `hidden_one`, but for constants that the compiler would find again.
    one = 1 + jnp.minimum(jnp.square(label.astype(x.dtype)), 0)
    edge = _distance(x, label) - one / 2
    return jnp.max(jnp.minimum(x, edge * (one * jnp.inf)))


def _place_of_highest_other(x: Array, label: Array) -> Array:
    highest = _highest_other(x, label)
    x, label, highest = jax.lax.optimization_barrier((x, label, highest))
    classes = _kept(_indices(x, label)[0])
    below = jnp.minimum((highest - x) / jnp.finfo(x.dtype).tiny, 1)
    last = jnp.maximum(below, 1 - _distance(x, label))
    return jnp.min(classes.astype(x.dtype) + x.size * last).astype(label.dtype)
