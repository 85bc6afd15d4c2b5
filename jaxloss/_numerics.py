"""The few primitives that losses share, safe where the plain ones are not."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike


def slopes(*slope_fns: Callable[..., Array]) -> Callable[[Callable], Callable]:
    """Gives a function its derivatives in closed form, one for each argument.

    A function with an array value is taken as elementwise, one with a scalar value
    as a function of whole arrays. A slope that is not finite counts as 0: a loss of
    nan is seen in its value, and a weight of 0 really keeps it out of a gradient.

    Value and slopes share no intermediate (the barrier keeps the compiler from joining
    them again), so each of them fuses into one pass over the inputs.
    """

    def decorate(function: Callable[..., Array]) -> Callable[..., Array]:
        with_slopes = jax.custom_jvp(function)

        def rule(primals, tangents):
            value = with_slopes(*primals)
            change = jnp.zeros_like(value)
            primals = jax.lax.optimization_barrier(primals)
            for slope_fn, tangent in zip(slope_fns, tangents, strict=True):
                if isinstance(tangent, SymbolicZero):
                    continue
                slope = slope_fn(*primals)
                term = jnp.where(jnp.isfinite(slope), slope, 0) * tangent
                change = change + (jnp.sum(term) if value.ndim == 0 else term)
            return value, change

        with_slopes.defjvp(rule, symbolic_zeros=True)
        return functools.wraps(function)(with_slopes)

    return decorate


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

    By neither a select nor a constant, which would keep the compiler from fusing it
    into a reduction.
    """
    return jnp.sign(jnp.sqrt(x)) - jnp.sign(x)


@slopes(lambda x, y: y, lambda x, y: x)
def times(x: Array, y: Array) -> Array:
    """The product x y in which 0 wins: 0 also when y is infinite or nan."""
    return jnp.where(x == 0, 0, x * y)


@slopes(lambda x, y: 1 / y, lambda x, y: jnp.where(x == 0, 0, -x / y**2))
def ratio(x: Array, y: Array) -> Array:
    """The quotient x / y in which 0 wins: 0 also when y is 0."""
    return jnp.where(x == 0, 0, x / y)


@jax.custom_jvp
def unit(x: Array, floor: Array) -> Array:
    """x over its norm, or over `floor` where that is larger; 0 for 0.

    No square overflows or vanishes. Without a floor the derivative at 0 counts as 0.
    """
    largest, scaled, length = _scaled(x)
    return scaled / jnp.where(length == 0, 1, jnp.maximum(length, floor / largest))


@unit.defjvp
def _unit_jvp(primals, tangents):
    x, floor = primals
    change, floor_change = tangents
    direction, length = unit(x, floor), norm(x)
    floored = length < floor
    divisor = jnp.maximum(length, floor)
    inverse = jnp.where(divisor == 0, 0, 1 / jnp.where(divisor == 0, 1, divisor))
    stretch = jnp.where(floored, floor_change, jnp.sum(direction * change))
    return direction, (change - direction * stretch) * inverse


@slopes(lambda x: unit(x, jnp.zeros((), x.dtype)))
def norm(x: Array) -> Array:
    """The Euclidean norm of numbers of any size; its derivative at 0 is 0."""
    largest, _, length = _scaled(x)
    return largest * length


def _scaled(x: Array) -> tuple[Array, Array, Array]:
    """About the largest size in x, or 1 when all is 0; x over it; and its norm."""
    largest = jnp.max(jnp.abs(x), initial=0)
    # The compiler divides by way of the reciprocal, which must not be subnormal.
    largest = jnp.minimum(largest, jnp.finfo(x.dtype).max / 8)
    largest = jnp.where(largest == 0, 1, largest)
    scaled = x / largest
    return largest, scaled, jnp.sqrt(jnp.sum(scaled**2))


@slopes(jax.nn.softmax)
def logsumexp(x: Array) -> Array:
    """log(sum(exp(x)))."""
    return jax.nn.logsumexp(x)


def is_zero(option: float | Array) -> bool:
    """Whether an option is the number 0, so that its term need not be traced."""
    return isinstance(option, (int, float)) and option == 0
