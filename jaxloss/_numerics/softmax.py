"""Sums of exponentials, and the probabilities that they make."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxloss._numerics.arithmetic import (
    decay,
    expectation,
    log1p_of_share,
)
from jaxloss._numerics.derivatives import no_slope, refined, slopes
from jaxloss._numerics.sums import (
    FEW_CLASSES,
    column_sums,
    sum_of_classes,
    sum_of_column,
)

#: Classes up to which one more sum costs less than a column that is made again: of a
#: trained network some example of a batch is nearly certain.
COUNTED_CLASSES = 512

#: Classes up to which shares are the compiler's own exponentials: of more operations it
#: gives half of a batch to a second thread, and waits for it longer than that takes.
SHORT = 256


@slopes(jax.nn.softmax)
def logsumexp(x: Array) -> Array:
    """log(sum(exp(x)))."""
    return jax.nn.logsumexp(x)


def logsumexp_where(x: Array, where: Array) -> Array:
    """log(sum(exp(x))) over what is kept; -inf, with derivative 0, when nothing is."""
    some = jnp.any(where)
    x = jnp.where(some, jnp.where(where, x, -jnp.inf), 0)
    return jnp.where(some, logsumexp(x), -jnp.inf)


def soft_cap(logits: Array, cap: Array) -> Array:
    """Logits bent into (-cap, cap), but for those of impossible classes, -inf."""
    impossible = logits == -jnp.inf
    return jnp.where(impossible, -jnp.inf, _bent(jnp.where(impossible, 0, logits), cap))


@slopes(
    lambda z, cap: 1 - jnp.tanh(z / cap) ** 2,
    lambda z, cap: jnp.tanh(z / cap) - z / cap * (1 - jnp.tanh(z / cap) ** 2),
)
def _bent(logits: Array, cap: Array) -> Array:
    return cap * jnp.tanh(logits / cap)


def log_odds(x: Array, y: Array) -> Array:
    """x - y, how much likelier the first is in logarithms; 0 when both are -inf."""
    return jnp.where(jnp.maximum(x, y) > -jnp.inf, x - y, 0)


def share_of_sum(x: Array, y: Array) -> Array:
    """exp(x) / (exp(x) + exp(y)), one half when both are 0."""
    return jax.nn.sigmoid(log_odds(x, y))


@slopes(share_of_sum, lambda x, y: share_of_sum(y, x))
def log_sum(x: Array, y: Array) -> Array:
    """log(exp(x) + exp(y)), -inf when both are."""
    return jnp.maximum(x, y) + log1p_of_share(jnp.exp(-jnp.abs(log_odds(x, y))))


def top(x: Array) -> Array:
    """The highest element, held finite, and a constant for derivatives."""
    return jax.lax.stop_gradient(finite(jnp.max(x, initial=-jnp.inf)))


def finite(x: Array) -> Array:
    """The nearest finite number."""
    bound = jnp.finfo(x.dtype).max
    return jnp.clip(x, -bound, bound)


@jax.custom_jvp
def expected_surprise(weights: Array, logits: Array) -> Array:
    """The sum of -weight log-probability.

    A weight of 0 wins, as in `expectation`; nan where no probability is defined. Its
    slopes are the true ones, in a pass of their own.
    """
    operands = jax.lax.optimization_barrier((weights, logits, top(logits)))
    return _surprise_and_total(*operands)[0]


@expected_surprise.defjvp
def _expected_surprise_jvp(primals, tangents):
    value = _surprise_and_shares(*primals)
    return value[0], _changes(value, primals, tangents)[0]


@jax.custom_jvp
def _surprise_and_shares(weights: Array, logits: Array) -> tuple[Array, Array, Array]:
    """With the surprise, `log_total` and the exponentials that it is made of.

    On the CPU a gradient takes those of few classes from memory, for to make them again
    takes longer.
    """

    def kept(weights: Array, logits: Array, highest: Array) -> Any:
        shares = jax.lax.optimization_barrier(shares_below(highest, logits))
        return *_surprise_and_total(weights, logits, highest, shares), shares

    def made_again(*operands: Array) -> Any:
        _, logits, highest = jax.lax.optimization_barrier(operands)
        return *_surprise_and_total(*operands), shares_below(highest, logits)

    operands = jax.lax.optimization_barrier((weights, logits, top(logits)))
    fastest = kept if logits.size <= SHORT else made_again
    return jax.lax.platform_dependent(*operands, cpu=fastest, default=made_again)


@_surprise_and_shares.defjvp
def _surprise_and_shares_jvp(primals, tangents):
    value = _surprise_and_shares(*primals)
    return value, _changes(value, primals, tangents)


def _changes(value, primals, tangents) -> tuple[Array, Array, Array]:
    """Of the surprise, the total and the shares; none where the surprise is nan."""
    (loss, total, shares), (weights_change, change) = value, tangents
    weights, logits, highest, total = jax.lax.optimization_barrier(
        (*primals, top(primals[1]), total)
    )
    # Divisions are done once for each example, and not for each of its classes. The
    # selection keeps the compiler from taking the sum into the pass over these.
    known = jnp.where(jnp.isnan(loss), jnp.inf, 1)
    whole = jnp.where(known == 1, jnp.sum(weights), 0)
    least = jnp.exp(-total)  # the share of the highest
    slope = shares * (whole * least / known) - weights * (1 / known)
    cost = (highest - logits + total) * (1 / known)
    pull = jnp.sum(jnp.where(jnp.isfinite(slope), slope, 0) * change)
    pull += jnp.sum(jnp.where(jnp.isfinite(cost), cost, 0) * weights_change)
    rises = shares * change
    return pull, jnp.sum(rises) * (least / known), rises


def shares_below(highest: Array, logit: Array) -> Array:
    """Exponentials below the highest: of an infinite logit 1, of nan nan."""
    gap = jnp.maximum(0, highest - logit)
    return jnp.exp(-gap) if logit.size <= SHORT else decay(gap)


def _surprise_and_total(
    weights: Array, logits: Array, highest: Array, *shares: Array
) -> tuple[Array, Array]:
    operands = (weights, logits, highest)
    if shares or logits.size <= COUNTED_CLASSES:
        each = partial(_counted_parts, of_few=logits.size <= FEW_CLASSES)
        ones, below, costs, weight = sum_of_classes(each, *operands, *shares)
        total = jnp.log1p(below + (ones - 1))
    else:
        total, costs, weight = jax.lax.platform_dependent(
            *operands, cpu=_sums_by_columns, default=_sums
        )
    loss = costs + weight * total
    careful = _expected_surprise_at_the_ends
    return refined(jnp.isfinite(loss), (loss, total), careful, *operands)


def _sums(weights: Array, logits: Array, highest: Array) -> tuple[Array, Array, Array]:
    sums, costs, weight = (jnp.sum(x) for x in _parts(weights, logits, highest))
    return _log_of(sums, log_total, logits, highest), costs, weight


def _sums_by_columns(
    weights: Array, logits: Array, highest: Array
) -> tuple[Array, Array, Array]:
    columns = column_sums(_parts, weights, logits, highest)
    sums, costs, weight = jnp.sum(columns, -1)
    careful = _log_total_of_columns
    return _log_of(sums, careful, columns, logits, highest), costs, weight


def _log_of(sums: Array, careful: Callable[..., Array], *operands: Array) -> Array:
    """Beyond a share of 8/9 the last digits of a sum are not those of its logarithm."""
    return refined(sums > 9 / 8, jnp.log(sums), careful, *operands)


def _log_total_of_columns(columns: Array, logits: Array, highest: Array) -> Array:
    """`log_total` where one class has most: of its column alone the sum is made again.

    Of a trained network some example of a batch is like that, and a pass over all
    classes would take as long as the first.
    """
    shares = columns.ravel()[: columns.shape[1]]
    places = jnp.asarray(np.arange(shares.size), shares.dtype)
    others, place = sum_of_classes(_unless_most, shares, places)
    below, ones = sum_of_column(
        _shares_below_1_and_ones,
        *(logits, highest),
        place=place.astype(int),
        columns=shares.size,
    )
    return jnp.where(ones > 0, jnp.log1p(others + below + (ones - 1)), jnp.nan)


def _unless_most(share: Array, place: Array) -> tuple[Array, Array]:
    """The share of a column, but the place of the one that has most of 9/8 at most."""
    most = jnp.floor(share)
    return share * (1 - most), place * most


def _parts(weight: Array, logit: Array, highest: Array) -> tuple[Array, ...]:
    gap = highest - logit
    return decay(gap), weight * gap, weight


def _counted_parts(
    weight: Array, logit: Array, highest: Array, *share: Array, of_few: bool
) -> tuple[Array, ...]:
    """The exponentials that are 1 are counted apart, as in `log_total`.

    A nan is kept by the costs alone, for to keep it in the count too takes longer.
    """
    gap = highest - logit
    at_top = gap == 0
    exponential = share[0] if share else jnp.exp(-gap) if of_few else decay(gap)
    below = jnp.where(at_top, 0, exponential)
    return at_top.astype(gap.dtype), below, weight * gap, weight


def _expected_surprise_at_the_ends(
    weights: Array, logits: Array, highest: Array
) -> tuple[Array, Array]:
    total = log_total(logits, highest)
    loss = expectation(weights, jnp.maximum(highest - logits, -0.0) + total)
    unknown = jnp.isnan(total) & (logits.size > 0)
    return jnp.where(unknown, jnp.nan, loss), total


def _share_of_total(x: Array, top: Array) -> Array:
    top = jax.lax.stop_gradient(top)
    return jnp.exp(x - top - log_total(x, top))


@slopes(_share_of_total, no_slope)
def log_total(x: Array, top: Array) -> Array:
    """log(sum(exp(x - top))), exact also where one element outweighs all others.

    nan when no share of the total is defined. The exponentials that are 1 are counted
    apart from the others.
    """
    others, ones = sum_of_classes(_shares_below_1_and_ones, x, top)
    endless = (top == jnp.finfo(x.dtype).max) & ~jnp.isfinite(others) & (ones == 1)
    total = jnp.where(endless, 0, others + (ones - 1))
    return jnp.where(ones > 0, jnp.log1p(total), jnp.nan)


def _shares_below_1_and_ones(x: Array, top: Array) -> tuple[Array, Array]:
    """The share of an infinite element is not finite, and it counts; nan is both."""
    gap = top - x
    below = jnp.where(gap == 0, 0, decay(gap))
    return below, jnp.where(gap > 0, 0, 1 + jnp.maximum(0, gap))


@jax.custom_jvp
def log_softmax(logits: Array) -> Array:
    """Log-probabilities that are accurate also next to 0, nan when none is defined."""
    highest = jnp.max(logits, initial=-jnp.inf)
    at_top = logits == highest
    tops = jnp.sum(at_top).astype(logits.dtype)
    below = jnp.where(at_top, 0, logits - jnp.where(at_top, 0, highest))
    rest = jnp.sum(jnp.exp(below), where=~at_top) + (tops - 1)
    undefined = (highest == -jnp.inf) | ((highest == jnp.inf) & (tops > 1))
    return below - jnp.log1p(rest) + jnp.where(undefined, jnp.nan, 0)


@log_softmax.defjvp
def _log_softmax_jvp(primals, tangents):
    log_p = log_softmax(*primals)
    return log_p, tangents[0] - jnp.sum(jnp.exp(log_p) * tangents[0])


def smooth(target: Array, kept: Array, share: float | Array) -> Array:
    """Takes a share of a target and spreads it evenly over the classes kept."""
    count = jnp.maximum(jnp.sum(kept), 1).astype(target.dtype)
    return (1 - share) * target + jnp.where(kept, share / count, 0)
