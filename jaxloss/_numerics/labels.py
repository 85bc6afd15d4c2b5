"""One class against the others."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxloss._numerics.arithmetic import (
    exponential,
    nan_if_any,
)
from jaxloss._numerics.derivatives import FEW, no_slope, refined, slopes
from jaxloss._numerics.softmax import finite, shares_below, top
from jaxloss._numerics.sums import (
    FEW_CLASSES,
    ONE_BY_ONE,
    highest_of,
    once,
    sum_of,
    sum_of_classes,
)

#: How an element is looked up, or set, at a label that may be none.
_IF_THERE: Any = {"mode": "drop", "wrap_negative_indices": False}


@jax.custom_jvp
def log_odds_against(logits: Array, label: Array) -> Array:
    """Log-odds of the other classes against the label, nan for a label below 0.

    Softplus of it is the cross-entropy, sigmoid of it the probability of being wrong.
    Nothing cancels on the way, neither for logits far from 0 nor for a nearly certain
    label; where the odds are below the smallest positive number it is -inf.
    """
    if logits.size > FEW_CLASSES:
        on_cpu = _odds_below_label
    else:
        on_cpu = _odds_of_few if logits.size else _odds_below_highest
    return jax.lax.platform_dependent(
        logits, label, cpu=on_cpu, default=_odds_below_highest
    )


@log_odds_against.defjvp
def _log_odds_against_jvp(primals, tangents):
    log_odds, others, shares = _odds_and_shares(*primals)
    return log_odds, _changes(log_odds, others, shares, primals[1], tangents[0])[0]


@jax.custom_jvp
def _odds_and_shares(logits: Array, label: Array) -> tuple[Array, Array, Array]:
    """Log-odds, and the others' exponentials below the highest: their sum, and each.

    On the CPU a gradient takes these from memory, for to make them again takes longer.
    """
    many = logits.size > FEW_CLASSES
    reference = once(top(logits)) if many else top(logits)

    def kept(logits: Array, label: Array, reference: Array) -> tuple[Array, Array]:
        if many:
            shares = shares_below(reference, logits).at[label].set(0, **_IF_THERE)
        else:
            shares = _shares_of_others(logits, label, reference)
        shares = jax.lax.optimization_barrier(shares)
        return jnp.sum(shares), shares

    def made_again(*operands: Array) -> tuple[Array, Array]:
        again = jax.lax.optimization_barrier(operands)
        return jnp.sum(_shares_of_others(*operands)), _shares_of_others(*again)

    others, shares = jax.lax.platform_dependent(
        logits, label, reference, cpu=kept, default=made_again
    )
    log_odds = once(_odds(others, _highest(logits), at_label(logits, label)))
    return log_odds, others, shares


@_odds_and_shares.defjvp
def _odds_and_shares_jvp(primals, tangents):
    value = _odds_and_shares(*primals)
    return value, _changes(*value, primals[1], tangents[0])


def _changes(
    log_odds: Array, others: Array, shares: Array, label: Array, change: Array
) -> tuple[Array, Array, Array]:
    """Of the log-odds, the sum and the shares; none where the log-odds are nan."""
    defined = (others > 0) & ~jnp.isnan(log_odds)
    whole, fall = jnp.where(defined, others, jnp.inf), jnp.where(defined, -others, 0)
    shares = jnp.where(shares >= 0, shares, 0)

    def by_selection(change: Array, shares: Array, fall: Array, label: Array) -> Array:
        return jnp.sum(jnp.where(is_label(change, label), fall, shares) * change)

    def by_look_up(change: Array, shares: Array, fall: Array, label: Array) -> Array:
        own = change.at[label].get(**_IF_THERE, fill_value=0)
        return fall * own + jnp.sum(shares * change)

    pull = jax.lax.platform_dependent(
        *(change, shares, fall, label),
        cpu=by_look_up if shares.size > FEW_CLASSES else by_selection,
        default=by_selection,
    )
    rises = shares * change
    return pull / whole, jnp.sum(rises), rises


def _shares_of_others(logits: Array, label: Array, reference: Array) -> Array:
    return jnp.where(is_label(logits, label), 0, shares_below(reference, logits))


def _odds_of_few(logits: Array, label: Array) -> Array:
    """One by one, of which the compiler makes one loop over the examples."""
    highest = functools.reduce(jnp.maximum, logits)
    own = jnp.full((), jnp.nan, logits.dtype)
    for i in range(logits.size):
        own = jnp.where(label == i, logits[i], own)
    reference = finite(highest)
    classes, place = _indices(logits, label)
    operands = (logits, classes, place, reference)
    others = sum_of_classes(_share_unless_label, *operands)
    return _odds(others, highest, own)


def _odds_below_label(logits: Array, label: Array) -> Array:
    """In one pass, but where the label is so improbable that it might overflow."""
    own = at_label(logits, label)
    # Whole numbers: of indices in floating ones XLA makes more than one loop.
    classes = jnp.arange(logits.size, dtype=jnp.int32)
    operands = (logits, classes, label.astype(jnp.int32), own)
    others = sum_of(_share_of_other, *operands, written=True)
    known = (others < 2.0**64) | (label < 0)
    return refined(known, jnp.log(others), _odds_below_highest, logits, label)


def _share_of_other(logits: Array, classes: Array, label: Array, own: Array) -> Array:
    return jnp.where(classes == label, 0, exponential(logits - own))


def _odds_below_highest(logits: Array, label: Array) -> Array:
    """For all logits, by their highest, and without a selection."""
    reference = top(logits)
    classes, place = _indices(logits, label)
    classes = _kept(classes) if logits.size > ONE_BY_ONE else classes
    operands = (logits, classes, place, reference)
    others = once(sum_of(_share_unless_label, *operands, cheap=True))
    return _odds(others, _highest(logits), at_label(logits, label))


def _highest(logits: Array) -> Array:
    return jax.lax.stop_gradient(jnp.max(logits, initial=-jnp.inf))


def _odds(others: Array, highest: Array, own: Array) -> Array:
    alone = (others == 0) & (own > -jnp.inf)
    log_others = jnp.log(jnp.where(alone, 1, others))
    certain = alone | ((own == jnp.inf) & (others < 1))
    return jnp.where(certain, -jnp.inf, (highest - own) + log_others)


def _share_unless_label(
    logits: Array, classes: Array, label: Array, highest: Array
) -> Array:
    """The share, or 0 for the label's own.

    None is above 1, so that the distance cuts off the label's own alone. A sum takes
    a minimum into its pass over the batch, and a selection it does not. The second
    operand of that minimum may be nan; of the first it would be lost on some backends.
    """
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

    Counted in floating numbers where these are exact, as the shares they are beside.
    Not for a pass over a batch: without AVX-512 XLA converts them one by one there.
    """
    exact = logits.size <= 1 / jnp.finfo(logits.dtype).eps
    dtype = logits.dtype if exact else label.dtype
    return _counted(logits.size, dtype), label.astype(dtype)


def _counted(classes: int, dtype: Any) -> Array:
    """All indices; of few a constant, which is no loop of the program as others are."""
    few = classes <= ONE_BY_ONE
    return (
        jnp.asarray(np.arange(classes), dtype)
        if few
        else jnp.arange(classes, dtype=dtype)
    )


def _kept(classes: Array) -> Array:
    """Indices, of all classes or of a row, as an array of the program.

    Of those that the compiler makes within a sum, a minimum or a maximum, XLA on the
    CPU keeps those of the first program for any number below 16, and lets later
    programs for more of them read beyond their end (seen in JAX 0.12.0.1, not in
    0.10.2).
    """
    return jax.lax.optimization_barrier(classes)


@slopes(lambda x, y: is_label(x, y).astype(x.dtype), no_slope)
def at_label(x: Array, label: Array) -> Array:
    """The element at the label, nan for a label below 0."""
    return x.at[label].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)


def is_label(x: Array, label: Array) -> Array:
    """Whether a class is the label."""
    return jnp.arange(x.size, dtype=jnp.int32) == label.astype(jnp.int32)


def unless_label(x: Array, label: Array) -> Array:
    """0 at the label, infinity elsewhere."""
    distance = _distance(x, label)
    return distance / jnp.maximum(1 - distance, 0)


@jax.custom_jvp
def behind(x: Array, label: Array) -> Array:
    """How far the label's element is behind the highest other one.

    nan for a label below 0 and where an element is nan. Of rivals that tie, the first
    has the slope.
    """
    return _rival(x, label)[0] - at_label(x, label)


@behind.defjvp
def _behind_jvp(primals, tangents):
    x, label = primals
    value = behind(x, label)
    x, label = jax.lax.optimization_barrier((jax.lax.stop_gradient(x), label))
    place = _rival(x, label)[1]
    operands = (tangents[0], *jax.lax.optimization_barrier((place, label)))

    def by_look_up(change: Array, place: Array, label: Array) -> Array:
        pair = change.at[jnp.stack([place, label])]
        lead = pair.get(mode="fill", fill_value=0, wrap_negative_indices=False)
        return lead[0] - lead[1]

    def by_product(change: Array, place: Array, label: Array) -> Array:
        rises = is_label(change, place).astype(change.dtype)
        return jnp.sum((rises - is_label(change, label).astype(change.dtype)) * change)

    fastest = by_product if x.size < FEW else by_look_up
    change = jax.lax.platform_dependent(*operands, cpu=fastest, default=by_product)
    return value, jnp.where(jnp.isnan(value), 0, change)


def _rival(x: Array, label: Array) -> tuple[Array, Array]:
    """The highest element that is not the label's, and the first place that has it.

    nan if an element is nan, at the label perhaps not. The place is of no use where all
    others are -inf.
    """

    def by_columns(x: Array, label: Array) -> tuple[Array, Array]:
        classes = _counted(x.size, jnp.int32)
        highest = highest_of(_unless_own, x, classes, label.astype(jnp.int32))
        operands = (x, classes, label.astype(jnp.int32), highest)
        place = -highest_of(_place_if_highest, *operands)
        return highest, jnp.minimum(place, x.size).astype(label.dtype)

    def in_one(x: Array, label: Array) -> tuple[Array, Array]:
        highest = _highest_other(x, label)
        place = _place_of_highest_other(x, label, highest)
        return highest + nan_if_any(x), place

    if x.size == 0:
        return in_one(x, label)
    return jax.lax.platform_dependent(x, label, cpu=by_columns, default=in_one)


def _unless_own(x: Array, place: Array, label: Array) -> Array:
    return jnp.where(place == label, -jnp.inf, x)


def _place_if_highest(x: Array, place: Array, label: Array, highest: Array) -> Array:
    hit = (x == highest) & (place != label)
    return jnp.where(hit, -place.astype(x.dtype), -jnp.inf)


def _highest_other(x: Array, label: Array) -> Array:
    if x.size < FEW:  # a selection, which is written to memory, is soon made
        return jnp.max(jnp.where(is_label(x, label), -jnp.inf, x))
    # As in `hidden_one`, but for constants that the compiler would find again.
    one = 1 + jnp.minimum(jnp.square(label.astype(x.dtype)), 0)
    edge = _distance(x, label) - one / 2
    return jnp.max(jnp.minimum(x, edge * (one * jnp.inf)))


def _place_of_highest_other(x: Array, label: Array, highest: Array) -> Array:
    x, label, highest = jax.lax.optimization_barrier((x, label, highest))
    classes = _kept(_indices(x, label)[0])
    below = jnp.minimum((highest - x) / jnp.finfo(x.dtype).tiny, 1)
    last = jnp.maximum(below, 1 - _distance(x, label))
    return jnp.min(classes.astype(x.dtype) + x.size * last).astype(label.dtype)
