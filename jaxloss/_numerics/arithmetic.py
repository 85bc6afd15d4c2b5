"""Arithmetic with a meaning at its ends: where 0 wins, and where nan is not lost."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss._numerics.derivatives import FEW, hidden_one, refined, slopes


@slopes(jax.nn.sigmoid)
def softplus(x: Array) -> Array:
    """log(1 + exp(x)), exact in both tails and at the infinities."""
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@jax.custom_jvp
def exponential(x: Array) -> Array:
    """exp(x), by operations that XLA on the CPU makes a faster loop of than of its own.

    A plain sum over it is slower there: use `sum_of`. On the CPU and in float32 what is
    below 2^-125.5 is 0.
    """
    if x.dtype != jnp.float32:
        return jnp.exp(x)

    def on_cpu(x: Array) -> Array:
        held = jnp.where(x > 89, 89, x)
        held = jnp.where(held < -87.3, -87.3, held).astype(x.dtype)
        return _exp_within_88(held, halvings=1)

    return jax.lax.platform_dependent(x, cpu=on_cpu, default=jnp.exp)


exponential.defjvps(lambda change, value, x: change * value)


@jax.custom_jvp
def decay(x: Array) -> Array:
    """exp(-x) for x from 0 on, and not finite at -inf: `exponential`, held on one side.

    On the CPU and in float32 what is below 2^-126 is 0.
    """
    if x.dtype != jnp.float32:
        return jnp.exp(-x)

    def on_cpu(x: Array) -> Array:
        return _exp_within_88(-jnp.where(x > 88, 88, x).astype(x.dtype))

    return jax.lax.platform_dependent(x, cpu=on_cpu, default=lambda x: jnp.exp(-x))


decay.defjvps(lambda change, value, x: -change * value)

#: (exp(r) - 1 - r) / r^2, the largest error of exp(r) least for |r| <= log(2) / 2.
_EXP_SERIES = (0.49999994, 0.16666521, 0.04166839, 0.008368711, 0.001381461)


def _exp_within_88(x: Array, halvings: int = 0) -> Array:
    """By Cody and Waite, *Software Manual for the Elementary Functions*, 1980, ch. 6.

    exp(x) is 2^n exp(r). Added to a number of this size, x / log(2) is rounded to n,
    which then stands in the last bits, 127 more, as in the exponent of 2^n. That is no
    number for n = 128: the half of it is, and twice exp(r).
    """
    large = jnp.float32(1.5 * 2**23 + 127 - halvings)
    bits = jax.lax.bitcast_convert_type(x * jnp.float32(1 / math.log(2)) + large, "i4")
    n = (bits - jax.lax.bitcast_convert_type(large, "i4")).astype(x.dtype)
    r = x - n * 0.693359375 - n * -2.1219444e-4  # log(2), of which few bits at first
    power = jax.lax.bitcast_convert_type(jax.lax.shift_left(bits, 23), x.dtype)
    return polynomial(r, *(c * 2**halvings for c in (1, 1, *_EXP_SERIES))) * power


@jax.custom_jvp
def logarithm(x: Array) -> Array:
    """log(x), by operations that XLA on the CPU makes a faster loop of than of its own.

    On the CPU and in float32 what is below 2^-126 counts as 0. Of a single number, as
    a sum of few adds them, it is the compiler's own: of more operations XLA on the CPU
    gives half of a small batch to a second thread, and waits for it longer than for all
    else.
    """
    if x.dtype != jnp.float32 or x.ndim == 0:
        return jnp.log(x)

    def on_cpu(x: Array) -> Array:
        return jnp.where(x <= jnp.finfo(x.dtype).max, _log_on_cpu(x), x)

    return jax.lax.platform_dependent(x, cpu=on_cpu, default=jnp.log)


logarithm.defjvps(lambda change, value, x: change / x)


@jax.custom_jvp
def log_of_share(x: Array) -> Array:
    """`logarithm` of x in [0, 1], and nan below; above 1 only a finite one is right."""
    if x.dtype != jnp.float32 or x.ndim == 0:
        return jnp.log(x)
    return jax.lax.platform_dependent(x, cpu=_log_on_cpu, default=jnp.log)


log_of_share.defjvps(lambda change, value, x: change / x)

#: (log(1 + x) - x) / x^2, the largest error nearly the least for 1/2 <= (1 + x)^2 < 2.
_LOG_SERIES = (
    *(-0.49999997, 0.333333313, -0.250007808, 0.200012341, -0.166266456),
    *(0.142048553, -0.13127555, 0.12722674, -0.0767364278),
)


def _log_on_cpu(x: Array) -> Array:
    """log(2^n m) is n log(2) + log(m), with m from the square root of a half on.

    In the bits of a number n stands above m: less those of the root, they hold n whole
    in the upper ones, and by how much m exceeds the root in the 23 others.
    """
    root = jnp.int32(0x3F3504F3)
    above = jax.lax.bitcast_convert_type(x, jnp.int32) - root
    n = jax.lax.shift_right_arithmetic(above, 23).astype(x.dtype)
    m = jax.lax.bitcast_convert_type((above & 0x7FFFFF) + root, x.dtype)
    r = m - 1
    value = n * math.log(2) + (r + r * r * polynomial(r, *_LOG_SERIES))
    at_0 = jnp.where(x >= 0, -jnp.inf, jnp.nan)
    return jnp.where(x >= jnp.finfo(x.dtype).tiny, value, at_0)


def polynomial(x: Array, *coefficients: float) -> Array:
    """The sum of coefficients times powers of x, from the 0th on, by Horner."""
    value = jnp.full((), coefficients[-1], x.dtype)
    for coefficient in coefficients[-2::-1]:
        value = value * x + jnp.full((), coefficient, x.dtype)
    return value


#: log(1 + x) / x, the largest error nearly the least for x in [0, 1].
_LOG1P_SERIES = (
    1,
    -0.499998927,
    0.333297104,
    -0.249516159,
    0.196632743,
    -0.152696669,
    0.105436236,
    -0.0563736111,
    0.0195425265,
    -0.00317605701,
)


def log1p_of_share(x: Array) -> Array:
    """log(1 + x) for x in [0, 1], where that of the compiler takes thrice the time."""
    if x.dtype == jnp.float64:
        return twice_artanh(x, 2 + x)
    return x * polynomial(x, *_LOG1P_SERIES)


def twice_artanh(x: Array, y: Array) -> Array:
    """2 artanh(x / y) for x / y in [0, 1/3], where each term of the series is a digit.

    For double precision; in single a polynomial takes less. A division comes last, for
    the compiler computes what is cheaper once for each use.
    """
    square = (x / y) ** 2
    return x * polynomial(square, *(2 / (2 * k + 1) for k in range(16))) / y


def log_complement(x: Array) -> Array:
    """log(1 - x) for x in [0, 1], and nan above; below 0 only a finite one is right.

    By Kahan: the logarithm of the rounded 1 - x, and the share of it that is lacking.
    That is nothing from x = 1/2 on; of less, 1 + x is near enough to 1 / (1 - x), for
    the product is a digit of the result if x is small, and else of no digit more. Of
    the compiler's own log1p a logarithm is the smaller part. It would take a known 1
    and its negative for nothing.
    """
    one = hidden_one(x)
    rounded = one - x
    lacks = (rounded - one) + x
    return log_of_share(rounded) - lacks * (1 + x)


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


def nan_if_any(x: Array) -> Array:
    """0, or nan if an element is nan; without derivatives.

    A maximum or minimum, inside a sum or as the whole of a pass over a batch, loses a
    nan on some backends. A loss made of them adds this.
    """
    x = jax.lax.stop_gradient(x)
    if x.size < FEW:
        return jnp.where(jnp.any(jnp.isnan(x)), jnp.nan, jnp.zeros((), x.dtype))
    # Only where it is finite does a sum tell that there is no nan.
    total = jnp.sum(x)
    return refined(jnp.isfinite(total), jnp.zeros_like(total), _nan_if_any, x)


def _nan_if_any(x: Array) -> Array:
    return 0 * jnp.sum(jnp.sign(x))


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


def _power_slope(x: Array, q: Array) -> Array:
    return q * power(x, q - 1)


def _power_exponent_slope(x: Array, q: Array) -> Array:
    return times(power(x, q), jnp.log(x))


@slopes(_power_slope, _power_exponent_slope)
def power(x: Array, q: Array) -> Array:
    """x ** q for x from 0 on; a slope that is infinite, as at 0 for q < 1, is 0."""
    return jnp.power(x, q)


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


def is_zero(option: float | Array) -> bool:
    """Whether an option is the number 0, so that its term need not be traced."""
    return isinstance(option, (int, float)) and option == 0
