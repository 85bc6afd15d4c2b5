"""Lengths and distances of numbers of any size."""

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss._numerics.arithmetic import power
from jaxloss._numerics.derivatives import no_slope, refined, slopes


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
