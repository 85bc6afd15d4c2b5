"""The few primitives that losses share, safe where the plain ones are not."""

import functools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike


def slopes(*slope_fns: Callable[..., Array]) -> Callable[[Callable], Callable]:
    """Gives a function its derivatives in closed form, one for each argument.

    A function with an array value is taken as elementwise, one with a scalar value
    as a function of whole arrays. A slope that is not finite counts as 0, and so do all
    of a scalar that is nan: a loss of nan is seen in its value, and a weight of 0
    really keeps it out of a gradient.

    Value and slopes share no intermediate (the barrier keeps the compiler from joining
    them again), so each of them fuses into one pass over the inputs.
    """

    def decorate(function: Callable[..., Array]) -> Callable[..., Array]:
        with_slopes = jax.custom_jvp(function)

        def rule(primals, tangents):
            value = with_slopes(*primals)
            change = jnp.zeros_like(value)
            known = jnp.where(jnp.isnan(value), jnp.inf, 1)
            primals = jax.lax.optimization_barrier(primals)
            for slope_fn, tangent in zip(slope_fns, tangents, strict=True):
                if isinstance(tangent, SymbolicZero):
                    continue
                slope = slope_fn(*primals)
                term = jnp.where(jnp.isfinite(slope), slope, 0) * tangent
                change = change + (jnp.sum(term) / known if value.ndim == 0 else term)
            return value, change

        with_slopes.defjvp(rule, symbolic_zeros=True)
        return functools.wraps(function)(with_slopes)

    return decorate


def no_slope(*primals: Any) -> Any:
    """In the place of a slope for an argument that takes no derivative, as a label."""
    raise TypeError("There is no derivative with respect to this argument.")


def mean(values: Array, where: ArrayLike | None = None) -> Array:
    """Averages over the elements kept by `where`; 0 when there are none."""
    if where is None:
        return jnp.sum(values) / max(values.size, 1)
    where = jnp.asarray(where)
    count = jnp.maximum(jnp.sum(where, dtype=jnp.int32), 1)
    return jnp.sum(jnp.where(where, values, 0)) / count.astype(values.dtype)


@slopes(jax.nn.sigmoid)
def softplus(x: Array) -> Array:
    """log(1 + exp(x)), exact in both tails and at the infinities."""
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@slopes(jnp.zeros_like)
def nan_if_negative(x: Array) -> Array:
    """A term of 0, or of nan where x is below 0.

    By neither a selection nor a constant, which would keep the compiler from fusing it
    into a sum.
    """
    return jnp.sign(jnp.sqrt(x)) - jnp.sign(x)


@slopes(lambda x, y: y, lambda x, y: x)
def times(x: Array, y: Array) -> Array:
    """The product x y in which 0 wins: 0 also when y is infinite or nan."""
    return jnp.where(x == 0, 0, x * y)


#: Of fewer elements the careful form takes no longer than the branch around it.
FEW = 64


def refined(good: Array, value: Any, better: Callable[..., Any], *args: Array) -> Any:
    """The value where it is good, and `better(*args)` where it is not.

    A value may be a tuple of numbers.

    On the CPU a batch whose values are all good never computes the better ones; what an
    example gets does not depend on the others. Elsewhere both are computed, for a
    branch on the data is a wait there, or a message between devices. No derivative is
    defined: use it inside a function whose slopes are known.
    """

    def both(good, value, *args):
        return jax.tree.map(partial(jnp.where, good), value, better(*args))

    def only_if_needed(good, value, *args):
        def keep(good, value, *args):
            return value

        return jax.lax.cond(jnp.all(good), keep, both, good, value, *args)

    @jax.custom_batching.custom_vmap
    def chosen(*operands):
        return jax.lax.platform_dependent(*operands, cpu=only_if_needed, default=both)

    @chosen.def_vmap
    def _batched(size, in_batched, *operands):
        def batched(x, already):
            return x if already else jnp.broadcast_to(x, (size, *x.shape))

        good, value, *args = operands
        good, value = jax.tree.map(batched, (good, value), tuple(in_batched[:2]))
        axes = [0 if already else None for already in in_batched[2:]]
        lifted = jax.vmap(better, axes, axis_size=size)
        result = refined(good, value, lifted, *args)
        return result, jax.tree.map(lambda _: True, result)

    choose = jax.custom_jvp(chosen)
    choose.defjvp(no_slope)  # JAX would follow a derivative without an end
    return choose(good, value, *args)


def nan_if_any(x: Array) -> Array:
    """0, or nan if an element is nan; without derivatives.

    A maximum or minimum, inside a sum or as the whole of a pass over a batch, loses a
    nan on some backends. A loss made of them adds this.
    """
    return 0 * jnp.sum(jnp.sign(jax.lax.stop_gradient(x)))


def expectation(weights: Array, costs: Array) -> Array:
    """The sum of products in which a weight of 0 wins, also over an infinite cost.

    An infinite cost is inf unless its weight is 0, or too small to be seen beside 1. A
    sum takes a minimum and a product into its pass over the batch, and a selection it
    does not. Whether a cost is nan must be asked elsewhere (`nan_if_any`).
    """
    bound = jnp.finfo(costs.dtype).max
    total = jnp.sum(weights * jnp.minimum(costs, bound))
    return jnp.where(total > bound * jnp.finfo(costs.dtype).eps / 2, jnp.inf, total)


@slopes(lambda x, y: 1 / y, lambda x, y: jnp.where(x == 0, 0, -(x / y) / y))
def ratio(x: Array, y: Array) -> Array:
    """The quotient x / y in which 0 wins: 0 also when y is 0."""
    return jnp.where(x == 0, 0, x / y)


def factors(x: Array, floor: Array) -> tuple[Array, Array, Array]:
    """Two factors that bring x to length 1, and the length that this gives.

    Where the norm is below the floor they divide by the floor, and the length is below
    1. No square overflows or vanishes. The factors may be differentiated; those of a 0
    without a floor are constants, of which the second is 0.
    """
    down, length = _lengths(x, jnp.zeros((), x.dtype))
    floor = floor * down
    short = (length == 0) | (length < floor)
    divisor = jnp.where(short, jnp.where(floor > 0, floor, jnp.inf), length)
    return down, 1 / divisor, jnp.where(length == 0, 0, length / divisor)


def direction(x: Array) -> Array:
    """x over its norm; 0, with derivative 0, for 0."""
    return _toward(x, jnp.zeros((), x.dtype))


def norm(x: Array) -> Array:
    """The Euclidean norm of numbers of any size; its derivative at 0 is 0."""
    return distance(x, jnp.zeros((), x.dtype))


def _toward(x: Array, y: Array) -> Array:
    down, length = _lengths(x, y)
    inverse = jnp.where(length == 0, 0, 1 / jnp.where(length == 0, 1, length))
    # Each pass over a batch makes the difference for itself.
    x, y, down, inverse = jax.lax.optimization_barrier((x, y, down, inverse))
    return (x - y) * down * inverse


@slopes(_toward, lambda x, y: _toward(y, x))
def distance(x: Array, y: Array) -> Array:
    """`norm` of the difference, which is written down nowhere."""
    rough, length = _rough_length(x, y)
    return length / rough


def _lengths(x: Array, y: Array) -> tuple[Array, Array]:
    """The factor that brings a difference to length 1, or near it, and this length.

    The factor is a constant for derivatives, of which none then overflows on its way.
    """
    rough, length = _rough_length(*jax.lax.stop_gradient((x, y)))
    info = jnp.finfo(x.dtype)
    norm = jnp.where(length == 0, 1, length / rough)
    down = 1 / jnp.clip(norm, info.tiny, info.max / 8)
    return down, _length(x, y, down, length * (down / rough))


@slopes(
    lambda x, y, down, length: _toward(x, y) * down,
    lambda x, y, down, length: _toward(y, x) * down,
    no_slope,
    no_slope,
)
def _length(x: Array, y: Array, down: Array, length: Array) -> Array:
    """The length that is given, with the derivatives that it has."""
    return length


def _rough_length(x: Array, y: Array) -> tuple[Array, Array]:
    """A power of two, and the norm of the difference times it.

    It is 1 unless squares are all very small, or one of them very large: then it is one
    with which no square overflows or vanishes.
    """
    squares, edge = _sum_of_squares(x, y), _edge(x)
    up = jnp.where(squares < 1 / edge, edge, 1)
    rough = jnp.where(squares > edge, 1 / edge, up).astype(x.dtype)
    squares = refined(rough == 1, squares, _sum_of_squares, x, y, rough)
    return rough, jnp.sqrt(squares)


def _edge(x: Array) -> float:
    """Sums of squares between 1 / edge and edge are as exact as any other sum."""
    return 2.0 ** (jnp.finfo(x.dtype).maxexp * 3 // 4)


def _sum_of_squares(x: Array, y: Array, down: float | Array = 1) -> Array:
    return jnp.sum(((x - y) * down) ** 2)


def safe_squares(x: Array) -> Array:
    """The sum of the squares, nan where they overflow or vanish on the way to it.

    Not by a selection, so that it stays in one pass with the sums it goes into.
    """
    squares, edge = jnp.sum(x**2), _edge(x)
    return squares + 0 * (jnp.sqrt(squares - 1 / edge) + jnp.sqrt(edge - squares))


@slopes(jax.nn.softmax)
def logsumexp(x: Array) -> Array:
    """log(sum(exp(x)))."""
    return jax.nn.logsumexp(x)


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


def logsumexp_where(x: Array, where: Array) -> Array:
    """log(sum(exp(x))) over what is kept; -inf, with derivative 0, when nothing is."""
    some = jnp.any(where)
    x = jnp.where(some, jnp.where(where, x, -jnp.inf), 0)
    return jnp.where(some, logsumexp(x), -jnp.inf)


def log_odds(x: Array, y: Array) -> Array:
    """x - y, how much likelier the first is in logarithms; 0 when both are -inf."""
    return jnp.where(jnp.maximum(x, y) > -jnp.inf, x - y, 0)


def share_of_sum(x: Array, y: Array) -> Array:
    """exp(x) / (exp(x) + exp(y)), one half when both are 0."""
    return jax.nn.sigmoid(log_odds(x, y))


@slopes(share_of_sum, lambda x, y: share_of_sum(y, x))
def log_sum(x: Array, y: Array) -> Array:
    """log(exp(x) + exp(y)), -inf when both are."""
    return jnp.maximum(x, y) + _log1p(jnp.exp(-jnp.abs(log_odds(x, y))))


def _log1p(x: Array) -> Array:
    """log(1 + x) for x in [0, 1], where that of the compiler takes thrice the time.

    It is 2 artanh(s) with s = x / (2 + x), at most 1/3: each term of the series brings
    a digit. A division comes last, for the compiler computes what is cheaper once for
    each use.
    """
    square = (x / (2 + x)) ** 2
    terms = 16 if x.dtype == jnp.float64 else 7
    series = jnp.zeros_like(x)
    for k in reversed(range(terms)):
        series = series * square + 2 / (2 * k + 1)
    return x * series / (2 + x)


def _power_slope(x: Array, q: Array) -> Array:
    return q * power(x, q - 1)


def _power_exponent_slope(x: Array, q: Array) -> Array:
    return times(power(x, q), jnp.log(x))


@slopes(_power_slope, _power_exponent_slope)
def power(x: Array, q: Array) -> Array:
    """x ** q for x from 0 on; a slope that is infinite, as at 0 for q < 1, is 0."""
    return jnp.power(x, q)


def top(x: Array) -> Array:
    """The highest element, held finite, and a constant for derivatives."""
    bound = jnp.finfo(x.dtype).max
    return jax.lax.stop_gradient(jnp.clip(jnp.max(x, initial=-jnp.inf), -bound, bound))


def expected_surprise(weights: Array, logits: Array) -> Array:
    """The sum of -weight log-probability.

    A weight of 0 wins, as in `expectation`; nan where no probability is defined. Its
    slopes are the true ones, in a pass of their own.
    """
    return _expected_surprise(weights, logits)[0]


@jax.custom_jvp
def _expected_surprise(weights: Array, logits: Array) -> tuple[Array, Array]:
    """With `log_total`."""
    highest = top(logits)
    total = _log_total_between(logits, highest)
    operands = jax.lax.optimization_barrier((weights, logits, highest, total))
    weights, logits, highest, total = operands
    loss = jnp.sum(weights * ((highest - logits) + total))
    known = jnp.isfinite(loss) & jnp.isfinite(total)
    careful = _expected_surprise_at_the_ends
    return refined(known, (loss, total), careful, *operands)


@_expected_surprise.defjvp
def _expected_surprise_jvp(primals, tangents):
    loss, total = _expected_surprise(*primals)
    (weights, logits), (weights_change, change) = primals, tangents
    weights, logits, highest, total = jax.lax.optimization_barrier(
        (weights, logits, top(logits), total)
    )
    share = jnp.exp(logits - highest - total)
    share = jnp.where(share >= 0, jnp.minimum(share, 1), 0)  # inf is all, nan nothing
    slope = share * jnp.sum(weights) - weights
    cost = highest - logits + total
    pull = jnp.sum(jnp.where(jnp.isfinite(slope), slope, 0) * change)
    pull += jnp.sum(jnp.where(jnp.isfinite(cost), cost, 0) * weights_change)
    # A division is done once for each example, and not for each of its classes.
    known = jnp.where(jnp.isnan(loss), jnp.inf, 1)
    return (loss, total), (pull / known, jnp.sum(share * change) / known)


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

    nan when no share of the total is defined.
    """
    total = _log_total_between(x, top)
    return refined(jnp.isfinite(total), total, _log_total_at_the_ends, x, top)


def _log_total_between(x: Array, top: Array) -> Array:
    """Finite, if neither all elements are impossible nor one is infinite or nan."""
    total = jnp.sum(jnp.exp(x - top))
    # Beyond a share of 8/9 the last digits of the total are no longer those of its log.
    large, value = total > 9 / 8, jnp.log(total)
    if x.size < FEW:
        value = jnp.where(large, value, _log_total_near_0(x, top))
    else:
        value = refined(large, value, _log_total_near_0, x, top)
    return jnp.where(total > 0, value, jnp.nan)


def _log_total_near_0(x: Array, top: Array) -> Array:
    """Where one exponential is 1, it is left out of the sum."""
    x, top = jax.lax.optimization_barrier((x, top))
    exponentials = jnp.exp(x - top)
    return jnp.log1p(jnp.sum(exponentials - jnp.floor(exponentials)))


def _log_total_at_the_ends(x: Array, top: Array) -> Array:
    """0 where one element is infinite and has all, nan elsewhere."""
    x, top = jax.lax.optimization_barrier((x, top))
    ones = jnp.sum(jnp.minimum(jnp.floor(jnp.exp(x - top)), 1)) + nan_if_any(x)
    return jnp.where((top == jnp.finfo(x.dtype).max) & (ones == 1), 0, jnp.nan)


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
    share = jnp.exp(logits - highest)
    return jnp.sum(jnp.minimum(_distance(logits, label), share))


def _distance(logits: Array, label: Array) -> Array:
    """How far each class index is from the label, squared."""
    classes, label = _indices(logits, label)
    return jnp.square(classes - label).astype(logits.dtype)


def _indices(logits: Array, label: Array) -> tuple[Array, Array]:
    """All class indices, and the label as one of them.

    Counted in floating numbers where these are exact: they compile to faster programs.
    """
    exact = logits.size <= 1 / jnp.finfo(logits.dtype).eps
    dtype = logits.dtype if exact else label.dtype
    return jnp.arange(logits.size, dtype=dtype), label.astype(dtype)


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
    # As in `hidden_one`, but for constants that the compiler would find again.
    one = 1 + jnp.minimum(jnp.square(label.astype(x.dtype)), 0)
    edge = _distance(x, label) - one / 2
    return jnp.max(jnp.minimum(x, edge * (one * jnp.inf)))


def _place_of_highest_other(x: Array, label: Array) -> Array:
    highest = _highest_other(x, label)
    x, label, highest = jax.lax.optimization_barrier((x, label, highest))
    classes, _ = _indices(x, label)
    below = jnp.minimum((highest - x) / jnp.finfo(x.dtype).tiny, 1)
    last = jnp.maximum(below, 1 - _distance(x, label))
    return jnp.min(classes.astype(x.dtype) + x.size * last).astype(label.dtype)


def within(x: Array, least: float, most: float) -> Array:
    """Whether all is within these bounds; what is nan is not."""
    x = jax.lax.stop_gradient(x)
    # Hidden, as constants that a loss beside it may have too (`hidden_one`).
    bounds = jnp.asarray(least, x.dtype), jnp.asarray(most, x.dtype)
    low, high = jax.lax.optimization_barrier(bounds)
    return ~jnp.isnan(jnp.sum(jnp.sqrt((x - low) * (high - x))))


#: W(x) in powers of q = sqrt(2 (e x + 1)), around the branch point x = -1/e.
_LAMBERT_SERIES = (
    -1.0,
    1.0,
    -1 / 3,
    11 / 72,
    -43 / 540,
    769 / 17280,
    -221 / 8505,
    680863 / 43545600,
)


def lambert_w(x: Array) -> Array:
    """W with W exp(W) = x, the branch from -1 up; -1 where x is below -1/e.

    No derivative is defined. Halley's steps start within 2 % and triple the digits.
    """
    highest = jnp.finfo(x.dtype).max
    x = jnp.minimum(x, highest)
    # 1/e in two parts, so that the difference to it is exact. Without the barrier the
    # compiler would add up the parts first.
    tail = -1.2428753672788363e-17 if x.dtype == jnp.float64 else -9.149755188170101e-9
    apart = jax.lax.optimization_barrier(x + 1 / math.e) + tail
    q = jnp.sqrt(2 * math.e * jnp.maximum(apart, 0))
    series = jnp.polyval(jnp.asarray(_LAMBERT_SERIES[::-1], x.dtype), q)
    above = jnp.log1p(jnp.maximum(x, -0.5))
    w = above * (1 - jnp.log1p(jnp.maximum(above, 0)) / (2 + above))
    w = jnp.where(x < -0.1, series, w)
    for _ in range(5):
        # Divided by exp(w), the textbook step does not overflow.
        off = w - x * jnp.exp(-w)
        w = w - off / ((w + 1) - (w + 2) * off / (2 * w + 2))
    near = q < jnp.finfo(x.dtype).eps ** 0.125  # where the steps would divide 0 by 0
    return jnp.where(near, series, w)


def smooth(target: Array, kept: Array, share: float | Array) -> Array:
    """Takes a share of a target and spreads it evenly over the classes kept."""
    count = jnp.maximum(jnp.sum(kept), 1).astype(target.dtype)
    return (1 - share) * target + jnp.where(kept, share / count, 0)


def hidden_one(like: Array) -> Array:
    """A 1 of this dtype that the compiler does not see through.

    A constant in the value and again in a slope is one constant with two consumers, and
    is written to memory in the shape of the batch. Slopes build theirs from this one.
    """
    return jax.lax.optimization_barrier(jnp.ones((), like.dtype))


def minkowski(x: Array, degree: Array) -> Array:
    """The p-norm of a vector for a degree above 0; its slope at 0 is 0."""
    scale = _scale(x)
    share = jnp.sign(x) * x / scale
    return scale * power(jnp.sum(power(share, degree)), 1 / degree)


@slopes(lambda x: jnp.sign(x) * _share_of_largest(x))
def largest(x: Array) -> Array:
    """The largest magnitude in a vector; equals share its slope."""
    return jnp.max(jnp.abs(x), initial=0)


def _share_of_largest(x: Array) -> Array:
    at_top = (jnp.abs(x) == jnp.max(jnp.abs(x), initial=0)).astype(x.dtype)
    return at_top / jnp.maximum(jnp.sum(at_top), 1)


def _scale(x: Array) -> Array:
    """Largest magnitude in x, above 0 and with a reciprocal that is a normal number."""
    largest = jnp.max(jnp.abs(x), initial=0)
    scale = jnp.where(largest > 0, largest, 1)
    info = jnp.finfo(x.dtype)
    return jax.lax.stop_gradient(jnp.clip(scale, info.tiny, info.max / 8))


def is_zero(option: float | Array) -> bool:
    """Whether an option is the number 0, so that its term need not be traced."""
    return isinstance(option, (int, float)) and option == 0
