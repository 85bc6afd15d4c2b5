"""Losses that want a score to be on its side of a margin."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs, _numerics


def hinge_loss(
    score: ArrayLike,
    target: ArrayLike,
    where: ArrayLike | None = None,
    /,
    *,
    margin: float | Array = 1.0,
) -> Array:
    r"""How far a score falls short of the margin on its own side of zero.

    .. math:: \ell(s, y) = \operatorname{mean}_i\, \max(0,\; m - y_i s_i),
        \qquad y_i \in \{-1, 1\}

    Args:
        score: any shape, floating.
        target: the side, -1 or 1, the shape of `score`. Labels in {0, 1} become sides
            with ``2 * label - 1``.
        where: boolean, the shape of `score`; only elements that are True count.
        margin: the least score wanted on the right side.

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider, in the
        unit of `score`.

    Raises:
        ValueError: shapes differ.
        TypeError: `score` is not floating, or `where` is not boolean.

    Guarantees:
        - The derivative is 0 at the margin itself.
        - ``nan`` for a target of 0, which is on no side: labels in {0, 1} are not
          taken for sides silently.
        - Elements left out reach neither value nor gradient, whatever they hold; with
          none left the value is 0 and the gradient 0.

    Examples:
        >>> hinge_loss(jnp.array([0.4, 3.0]), jnp.array([1, 1])).round(4)
        Array(0.3, dtype=float32)

    References:
        Cortes & Vapnik, *Support-Vector Networks*, 1995.
    """
    score, target = _sided(where, score, target)
    margin = _inputs.option("margin", margin, (), score)
    return _numerics.mean_of(_shortfall, score, target, margin, where=where)


def squared_hinge_loss(
    score: ArrayLike,
    target: ArrayLike,
    where: ArrayLike | None = None,
    /,
    *,
    margin: float | Array = 1.0,
) -> Array:
    r"""Square of what a score falls short of the margin on its own side of zero.

    .. math:: \ell(s, y) = \operatorname{mean}_i\, \max(0,\; m - y_i s_i)^2,
        \qquad y_i \in \{-1, 1\}

    Args:
        score: any shape, floating.
        target: the side, -1 or 1, the shape of `score`. Labels in {0, 1} become sides
            with ``2 * label - 1``.
        where: boolean, the shape of `score`; only elements that are True count.
        margin: the least score wanted on the right side.

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider, in the
        squared unit of `score`.

    Raises:
        ValueError: shapes differ.
        TypeError: `score` is not floating, or `where` is not boolean.

    Guarantees:
        - The derivative is continuous, and 0 at the margin.
        - ``nan`` for a target of 0, which is on no side: labels in {0, 1} are not
          taken for sides silently.
        - Elements left out reach neither value nor gradient, whatever they hold; with
          none left the value is 0 and the gradient 0.

    Examples:
        >>> squared_hinge_loss(jnp.array([0.4, 3.0]), jnp.array([1, 1])).round(4)
        Array(0.18, dtype=float32)

    References:
        Lee & Mangasarian, *SSVM: A Smooth Support Vector Machine*, 2001.
    """
    score, target = _sided(where, score, target)
    margin = _inputs.option("margin", margin, (), score)
    return _numerics.mean_of(_squared_hinge, score, target, margin, where=where)


def perceptron_loss(
    score: ArrayLike, target: ArrayLike, where: ArrayLike | None = None, /
) -> Array:
    r"""How far a score is on the wrong side of zero.

    .. math:: \ell(s, y) = \operatorname{mean}_i\, \max(0,\; -y_i s_i),
        \qquad y_i \in \{-1, 1\}

    Args:
        score: any shape, floating.
        target: the side, -1 or 1, the shape of `score`. Labels in {0, 1} become sides
            with ``2 * label - 1``.
        where: boolean, the shape of `score`; only elements that are True count.

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider, in the
        unit of `score`.

    Raises:
        ValueError: shapes differ.
        TypeError: `score` is not floating, or `where` is not boolean.

    Guarantees:
        - The derivative is 0 for a score of 0, and the loss too: scores that are all 0
          are a minimum, which `hinge_loss` does not have.
        - ``nan`` for a target of 0, which is on no side: labels in {0, 1} are not
          taken for sides silently.
        - Elements left out reach neither value nor gradient, whatever they hold; with
          none left the value is 0 and the gradient 0.

    Examples:
        >>> perceptron_loss(jnp.array([-0.4, 3.0]), jnp.array([1, 1])).round(4)
        Array(0.2, dtype=float32)

    References:
        Rosenblatt, *The Perceptron*, 1958.
    """
    score, target = _sided(where, score, target)
    none = jnp.zeros((), score.dtype)
    return _numerics.mean_of(_shortfall, score, target, none, where=where)


def _sided(
    where: ArrayLike | None, score: ArrayLike, target: ArrayLike
) -> tuple[Array, Array]:
    score, target = _inputs.elementwise(where, score=score, target=target)
    _inputs.require(jnp.abs(target) == 1, "target", "-1 or 1", target, where)
    return score, target


@_numerics.slopes(
    lambda s, y, m: jnp.where(y * s < m, -y, 0),
    lambda s, y, m: jnp.where(y * s < m, -s, 0),
    lambda s, y, m: jnp.where(y * s < m, jnp.ones_like(s), 0),
)
def _shortfall(score: Array, target: Array, margin: Array) -> Array:
    """What the score on its side is short of the margin; nan for a target of 0."""
    # Hidden, the bound does not change places with the rest: a maximum keeps a nan of
    # its second operand alone.
    bound, margin = jax.lax.optimization_barrier((jnp.zeros_like(margin), margin))
    return jnp.maximum(bound, target * (margin / target - score))


@_numerics.slopes(
    lambda s, y, m: -2 * y * jnp.maximum(m - y * s, 0),
    lambda s, y, m: -2 * s * jnp.maximum(m - y * s, 0),
    lambda s, y, m: 2 * jnp.maximum(m - y * s, 0),
)
def _squared_hinge(score: Array, target: Array, margin: Array) -> Array:
    return _shortfall(score, target, margin) ** 2
