"""Scores and losses of the angle between two vectors."""

import jax
import jax.numpy as jnp
from jax import Array
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
    a, b, epsilon, finite = _vectors(prediction, target, epsilon)
    cosine = jnp.sum(_numerics.unit(a, epsilon) * _numerics.unit(b, epsilon))
    # Rounding may pass 1; the derivative stays that of the cosine.
    beyond = jax.lax.stop_gradient(cosine - jnp.clip(cosine, -1, 1))
    return jnp.where(finite, cosine - beyond, jnp.nan)


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
    a, b, epsilon, finite = _vectors(prediction, target, epsilon)
    gap = _numerics.unit(a, epsilon) - _numerics.unit(b, epsilon)
    distance = 0.5 * (jnp.sum(gap**2) + _shortfall(a, epsilon) + _shortfall(b, epsilon))
    beyond = jax.lax.stop_gradient(distance - jnp.clip(distance, 0, 2))
    return jnp.where(finite, distance - beyond, jnp.nan)


def _vectors(
    prediction: ArrayLike, target: ArrayLike, epsilon: float | Array
) -> tuple[Array, Array, Array, Array]:
    """The two vectors and the floor, and whether all is finite; else zeros."""
    _inputs.not_negative("epsilon", epsilon)
    a, b = _inputs.event(("features",), prediction=prediction, target=target)
    epsilon = _inputs.option("epsilon", epsilon, (), a)
    finite = jnp.all(jnp.isfinite(a) & jnp.isfinite(b))
    return jnp.where(finite, a, 0), jnp.where(finite, b, 0), epsilon, finite


def _shortfall(x: Array, floor: Array) -> Array:
    """How much the squared length of `unit(x, floor)` falls short of 1."""
    length = _numerics.norm(x)
    short = (length < floor) | (length == 0)
    share = jnp.where(short, length, 0) / jnp.where(floor == 0, 1, floor)
    return jnp.where(short, 1 - share**2, 0)
