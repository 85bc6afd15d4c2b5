"""Scores and losses of the angle between two vectors."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxloss import _inputs, _numerics


def cosine_similarity(
    prediction: ArrayLike,
    target: ArrayLike,
    /,
    *,
    epsilon: float | Array = 0.0,
) -> Array:
    r"""Cosine of the angle between two vectors: a score, high when they agree.

    .. math:: s(a, b) = \frac{a \cdot b}
        {\max(\lVert a \rVert, \epsilon)\, \max(\lVert b \rVert, \epsilon)}

    The loss that goes with it is `cosine_distance`.

    Args:
        prediction: shape ``(features,)``, floating.
        target: the shape of `prediction`.
        epsilon: floor under both norms.

    Returns:
        The cosine, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong, or `epsilon` is a number below 0.

    Guarantees:
        - Within [-1, 1], for vectors of any finite size.
        - 0 when one of the vectors is 0; with `epsilon` 0 its gradient is then 0.
        - ``nan``, with gradient 0, when an element is not finite.

    Examples:
        >>> cosine_similarity(jnp.array([3.0, 4.0]), jnp.array([4.0, 3.0])).round(4)
        Array(0.96, dtype=float32)

    References:
        Salton, Wong & Yang, *A Vector Space Model for Automatic Indexing*, 1975.
    """
    return cosine(*_vectors(prediction, target, epsilon))


def cosine_distance(
    prediction: ArrayLike,
    target: ArrayLike,
    /,
    *,
    epsilon: float | Array = 0.0,
) -> Array:
    r"""One minus the cosine of the angle between two vectors.

    .. math:: \ell(a, b) = 1 - \frac{a \cdot b}
        {\max(\lVert a \rVert, \epsilon)\, \max(\lVert b \rVert, \epsilon)}
        = \tfrac12 \bigl\lVert \hat a - \hat b \bigr\rVert^2,

    where the second form, with :math:`\hat a` and :math:`\hat b` of length 1, is the
    one that is computed: nothing cancels when the vectors nearly agree.

    Args:
        prediction: shape ``(features,)``, floating.
        target: the shape of `prediction`; it need not have length 1.
        epsilon: floor under both norms.

    Returns:
        The distance, shape ``()``, float32 or wider, in [0, 2].

    Raises:
        ValueError: a shape is wrong, or `epsilon` is a number below 0.

    Guarantees:
        - Accurate for nearly equal vectors: for equal ones it is 0 up to the square of
          a rounding error.
        - 1 when one of the vectors is 0; with `epsilon` 0 its gradient is then 0.
        - ``nan``, with gradient 0, when an element is not finite.

    Examples:
        >>> cosine_distance(jnp.array([3.0, 4.0]), jnp.array([4.0, 3.0])).round(4)
        Array(0.04, dtype=float32)

    References:
        Salton, Wong & Yang, *A Vector Space Model for Automatic Indexing*, 1975.
    """
    return _distance(*_vectors(prediction, target, epsilon))


def _vectors(
    prediction: ArrayLike, target: ArrayLike, epsilon: float | Array
) -> tuple[Array, Array, Array]:
    _inputs.not_negative("epsilon", epsilon)
    a, b = _inputs.event(("features",), prediction=prediction, target=target)
    return a, b, _inputs.option("epsilon", epsilon, (), a)


@jax.custom_jvp
def cosine(a: Array, b: Array, floor: Array) -> Array:
    """`cosine_similarity` of arrays that have been checked."""
    (_, a_held), (_, b_held) = _plain_lengths(a, b, floor)
    plain = jnp.sum(a * b) / a_held / b_held
    similarity = _numerics.refined(
        jnp.isfinite(plain), plain, _cosine_of_units, a, b, floor
    )
    return jnp.clip(similarity, -1, 1)


def _cosine_of_units(a: Array, b: Array, floor: Array) -> Array:
    a_unit, b_unit = _units(a, b, floor)
    return jnp.sum(a_unit() * b_unit())


@jax.custom_jvp
def _distance(a: Array, b: Array, floor: Array) -> Array:
    (a_length, a_held), (b_length, b_held) = _plain_lengths(a, b, floor)
    # One product for each element: the second vector is brought to the first.
    gap = jnp.sum((a + b * (-a_held / b_held)) ** 2) / a_held**2
    missing = _missing(a_length / a_held) + _missing(b_length / b_held)
    plain = 0.5 * (gap + missing)
    distance = _numerics.refined(
        jnp.isfinite(plain), plain, _distance_of_units, a, b, floor
    )
    return jnp.clip(distance, 0, 2)


def _distance_of_units(a: Array, b: Array, floor: Array) -> Array:
    a_unit, b_unit = _units(a, b, floor)
    missing = _missing(a_unit.length) + _missing(b_unit.length)
    return 0.5 * (jnp.sum((a_unit() - b_unit()) ** 2) + missing)


def _missing(length: Array) -> Array:
    return 1 - length**2


def _plain_lengths(
    a: Array, b: Array, floor: Array
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Norms, nan where squares overflow or vanish, and the larger of each and floor."""
    # Hidden, the floor does not change places with the rest: a maximum keeps a nan of
    # its second operand alone.
    floor = jax.lax.optimization_barrier(floor)
    lengths = jnp.sqrt(_numerics.safe_squares(a)), jnp.sqrt(_numerics.safe_squares(b))
    held = jnp.maximum(floor, lengths[0]), jnp.maximum(floor, lengths[1])
    return (lengths[0], held[0]), (lengths[1], held[1])


def _cosine_jvp(primals, tangents):
    similarity = cosine(*primals)
    return similarity, -_change_of_distance(1 - similarity, primals, tangents)


def _distance_jvp(primals, tangents):
    distance = _distance(*primals)
    return distance, _change_of_distance(distance, primals, tangents)


cosine.defjvp(_cosine_jvp, symbolic_zeros=True)
_distance.defjvp(_distance_jvp, symbolic_zeros=True)


class _Unit(NamedTuple):
    """A vector over its norm, or over the floor: a product still to be made.

    In two factors, so that neither overflows; each pass over a batch makes the product
    for itself, which is cheaper than to write it down.
    """

    vector: Array
    down: Array
    inverse: Array
    length: Array  # of the product: 1 above the floor

    def __call__(self) -> Array:
        return self.shrink(self.vector)

    def shrink(self, x: Array) -> Array:
        return x * self.down * self.inverse


def _units(a: Array, b: Array, floor: Array) -> tuple[_Unit, _Unit]:
    parts = (a, *_numerics.factors(a, floor)), (b, *_numerics.factors(b, floor))
    a_parts, b_parts = jax.lax.optimization_barrier(parts)
    return _Unit(*a_parts), _Unit(*b_parts)


def _change_of_distance(distance, primals, tangents):
    a, b, floor = primals
    a_change, b_change, floor_change = tangents
    a_unit, b_unit = _units(a, b, floor)
    change = jnp.zeros_like(distance)
    for own, other, own_change in (
        (a_unit, b_unit, a_change),
        (b_unit, a_unit, b_change),
    ):
        if not isinstance(own_change, SymbolicZero):
            # Above the floor only what is across the vector turns it.
            along = jnp.where(own.length < 1, 1, distance)
            slope = own.shrink((own() - other()) - along * own())
            slope = jnp.where(jnp.isfinite(slope), slope, 0)
            change = change + jnp.sum(slope * own_change)
        if not isinstance(floor_change, SymbolicZero):
            held = (own.length < 1) & (floor > 0)
            slope = jnp.where(held, 1 - distance, 0) / jnp.where(held, floor, 1)
            change = change + slope * floor_change
    return change / jnp.where(jnp.isnan(distance), jnp.inf, 1)
