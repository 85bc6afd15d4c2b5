"""Sums of exponentials, and the probabilities that they make."""

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss._numerics.arithmetic import (
    decay,
    expectation,
    finite_exponential,
    log1p_of_share,
    nan_if_any,
)
from jaxloss._numerics.derivatives import no_slope, refined, slopes
from jaxloss._numerics.sums import ONE_BY_ONE, sum_of


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


def expected_surprise(weights: Array, logits: Array) -> Array:
    """The sum of -weight log-probability.

    A weight of 0 wins, as in `expectation`; nan where no probability is defined. Its
    slopes are the true ones, in a pass of their own.
    """
    return _expected_surprise(weights, logits)[0]


@jax.custom_jvp
def _expected_surprise(weights: Array, logits: Array) -> tuple[Array, Array]:
    """With `log_total`."""
    operands = jax.lax.optimization_barrier((weights, logits, top(logits)))
    few = logits.size <= ONE_BY_ONE
    shares, costs, weight = sum_of(_few_parts if few else _parts, *operands, cheap=few)
    _, logits, highest = operands
    total = _log_of_total(shares, logits, highest)
    loss = costs + weight * total
    known = jnp.isfinite(loss) & jnp.isfinite(total)
    careful = _expected_surprise_at_the_ends
    return refined(known, (loss, total), careful, *operands, total)


def _parts(weight: Array, logit: Array, highest: Array) -> tuple[Array, Array, Array]:
    return decay(highest - logit), weight * (highest - logit), weight


def _few_parts(
    weight: Array, logit: Array, highest: Array
) -> tuple[Array, Array, Array]:
    return jnp.exp(logit - highest), weight * (highest - logit), weight


@_expected_surprise.defjvp
def _expected_surprise_jvp(primals, tangents):
    loss, total = _expected_surprise(*primals)
    (weights, logits), (weights_change, change) = primals, tangents
    weights, logits, highest, total = jax.lax.optimization_barrier(
        (weights, logits, top(logits), total)
    )
    # Of an infinite logit it is all, of nan nothing.
    share = finite_exponential(jnp.minimum(0, logits - highest - total))
    # Divisions are done once for each example, and not for each of its classes. The
    # selection keeps the compiler from taking the sum into the pass over these.
    known = jnp.where(jnp.isnan(loss), jnp.inf, 1)
    whole = jnp.where(known == 1, jnp.sum(weights), 0) / known
    slope = share * whole - weights * (1 / known)
    cost = (highest - logits + total) * (1 / known)
    pull = jnp.sum(jnp.where(jnp.isfinite(slope), slope, 0) * change)
    pull += jnp.sum(jnp.where(jnp.isfinite(cost), cost, 0) * weights_change)
    return (loss, total), (pull, jnp.sum(share * change) / known)


def _expected_surprise_at_the_ends(
    weights: Array, logits: Array, highest: Array, total: Array
) -> tuple[Array, Array]:
    at_the_ends = _log_total_at_the_ends(logits, highest)
    total = jnp.where(jnp.isfinite(total), total, at_the_ends)
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
    apart from the others, and in a pass of their own: a sum takes one use of an
    exponential into its pass over the batch, and no selection.
    """
    others = sum_of(_share_below_1, x, top, cheap=True)
    x, top, others = jax.lax.optimization_barrier((x, top, others))
    ones = sum_of(_is_1, x, top, cheap=True)
    endless = (top == jnp.finfo(x.dtype).max) & jnp.isnan(others) & (ones == 1)
    total = jnp.where(endless, 0, others + (ones - 1))
    return jnp.where(ones > 0, jnp.log1p(total), jnp.nan)


def _log_of_total(total: Array, x: Array, top: Array) -> Array:
    """Finite, if neither all elements are impossible nor one is infinite or nan."""
    # Beyond a share of 8/9 the last digits of the total are no longer those of its log.
    large, value = total > 9 / 8, jnp.log(total)
    if x.size <= ONE_BY_ONE:
        value = jnp.where(large, value, _log_total_near_0(x, top))
    else:
        value = refined(large, value, _log_total_near_0, x, top)
    return jnp.where(total > 0, value, jnp.nan)


def _log_total_near_0(x: Array, top: Array) -> Array:
    """Where one exponential is 1, it is left out of the sum."""
    x, top = jax.lax.optimization_barrier((x, top))
    return jnp.log1p(sum_of(_share_below_1, x, top, cheap=True))


def _log_total_at_the_ends(x: Array, top: Array) -> Array:
    """0 where one element is infinite and has all, nan elsewhere."""
    x, top = jax.lax.optimization_barrier((x, top))
    ones = sum_of(_is_1, x, top, cheap=True) + nan_if_any(x)
    return jnp.where((top == jnp.finfo(x.dtype).max) & (ones == 1), 0, jnp.nan)


def _share_below_1(x: Array, top: Array) -> Array:
    """The exponential, but 0 where it is 1."""
    return jnp.exp(x - top) - jnp.floor(jnp.exp(x - top))


def _is_1(x: Array, top: Array) -> Array:
    """1 where the exponential is 1 or infinite, else 0."""
    return jnp.minimum(jnp.floor(jnp.exp(x - top)), 1)


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
