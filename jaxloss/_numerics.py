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


def times(x: Array, y: Array) -> Array:
    """The product x y in which 0 wins: 0 also when y is infinite or nan."""
    return jnp.where(x == 0, 0, x * y)


@slopes(lambda x, y: 1 / y, lambda x, y: -ratio(ratio(x, y), y))
def ratio(x: Array, y: Array) -> Array:
    """The quotient x / y in which 0 wins: 0 also when y is 0."""
    return jnp.where(x == 0, 0, x / y)


@slopes(jax.nn.softmax)
def logsumexp(x: Array) -> Array:
    """log(sum(exp(x)))."""
    return jax.nn.logsumexp(x)


def logsumexp_where(x: Array, where: Array) -> Array:
    """log(sum(exp(x))) over what is kept; -inf, with derivative 0, when nothing is."""
    some = jnp.any(where)
    x = jnp.where(some, jnp.where(where, x, -jnp.inf), 0)
    return jnp.where(some, logsumexp(x), -jnp.inf)


@slopes(
    lambda x, q: q * power(x, q - 1),
    lambda x, q: times(power(x, q), jnp.log(x)),
)
def power(x: Array, q: Array) -> Array:
    """x ** q for x from 0 on; a slope that is infinite, as at 0 for q < 1, is 0."""
    return jnp.power(x, q)


@slopes(lambda x: unit(x))
def norm(x: Array) -> Array:
    """Euclidean length of a vector, whose square may overflow; its slope at 0 is 0."""
    scale = _scale(x)
    return scale * jnp.sqrt(jnp.sum((x / scale) ** 2))


def minkowski(x: Array, degree: Array) -> Array:
    """The p-norm of a vector for a degree above 0; its slope at 0 is 0."""
    scale = _scale(x)
    share = jnp.sign(x) * x / scale
    return scale * power(jnp.sum(power(share, degree)), 1 / degree)


@slopes(lambda x: jnp.sign(x) * _share_of_largest(x))
def largest(x: Array) -> Array:
    """The largest magnitude in a vector; equals share its slope."""
    return jnp.max(jnp.abs(x), initial=0)


@jax.custom_jvp
def unit(x: Array) -> Array:
    """The vector of length 1 in the direction of x; 0, with derivative 0, for x = 0."""
    x = x / _scale(x)
    square = jnp.sum(x**2)
    return x / jnp.sqrt(jnp.where(square > 0, square, 1))


@unit.defjvp
def _unit_jvp(primals, tangents):
    (x,), (change,) = primals, tangents
    direction, length = unit(x), norm(x)
    across = change - direction * jnp.sum(direction * change)
    some = length > 0
    per_length = ratio(some.astype(x.dtype), jnp.where(some, length, 1))
    return direction, across * per_length


def cosine(a: Array, b: Array) -> Array:
    """Cosine of the angle between two vectors, in [-1, 1]; 0 when one of them is 0."""
    dot = jnp.sum(unit(a) * unit(b))
    return dot + jax.lax.stop_gradient(jnp.clip(dot, -1, 1) - dot)


def _share_of_largest(x: Array) -> Array:
    at_top = (jnp.abs(x) == jnp.max(jnp.abs(x), initial=0)).astype(x.dtype)
    return at_top / jnp.maximum(jnp.sum(at_top), 1)


def _scale(x: Array) -> Array:
    """Largest magnitude in x, above 0 and with a reciprocal that does not vanish."""
    largest = jnp.max(jnp.abs(x), initial=0)
    scale = jnp.where(largest > 0, largest, 1)
    return jax.lax.stop_gradient(jnp.minimum(scale, jnp.finfo(x.dtype).max / 8))


def is_zero(option: float | Array) -> bool:
    """Whether an option is the number 0, so that its term need not be traced."""
    return isinstance(option, (int, float)) and option == 0
