"""Losses that want the scores of the right classes ahead of the others by a margin."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs, _numerics


def multiclass_hinge_loss(
    score: ArrayLike,
    label: ArrayLike,
    /,
    *,
    margin: float | Array = 1.0,
) -> Array:
    r"""How far the true class falls short of the margin to its best rival.

    .. math:: \ell(s, y) = \max\bigl(0,\; m + \max_{c \ne y} s_c - s_y\bigr)

    Args:
        score: one for each class, shape ``(classes,)``, floating. A score of ``-inf``
            marks a class as impossible.
        label: index of the true class, shape ``()``, integer of any width.
        margin: the least lead wanted.

    Returns:
        The loss, shape ``()``, float32 or wider, in the unit of `score`.

    Raises:
        ValueError: a shape is wrong.
        TypeError: `score` is not floating, or `label` is not an integer.

    Guarantees:
        - The gradient is 0 at the margin itself; of rivals that tie, the first gets it.
        - ``nan`` for a label outside ``[0, classes)``, with gradient 0.
        - ``inf`` when the true class alone is impossible; impossible rivals are none.

    Examples:
        >>> multiclass_hinge_loss(jnp.array([2.0, 1.5, -3.0]), 0)
        Array(0.5, dtype=float32)

    References:
        Crammer & Singer, *On the Algorithmic Implementation of Multiclass Kernel-based
        Vector Machines*, 2001.
    """
    (score,) = _inputs.event(("classes",), score=score)
    label = _inputs.label(label, score.size)
    margin = _inputs.option("margin", margin, (), score)
    return _ramp(margin + _numerics.behind(score, label))


def multiclass_perceptron_loss(score: ArrayLike, label: ArrayLike, /) -> Array:
    r"""How far the true class is behind the winner.

    .. math:: \ell(s, y) = \max_c s_c - s_y

    Args:
        score: one for each class, shape ``(classes,)``, floating. A score of ``-inf``
            marks a class as impossible.
        label: index of the true class, shape ``()``, integer of any width.

    Returns:
        The loss, shape ``()``, float32 or wider, in the unit of `score`.

    Raises:
        ValueError: a shape is wrong.
        TypeError: `score` is not floating, or `label` is not an integer.

    Guarantees:
        - The gradient is 0 when the true class shares the highest score; of rivals that
          tie, the first gets it.
        - ``nan`` for a label outside ``[0, classes)``, with gradient 0.
        - ``inf`` when the true class alone is impossible; impossible rivals are none.

    Examples:
        >>> multiclass_perceptron_loss(jnp.array([2.0, 1.5, -3.0]), 1)
        Array(0.5, dtype=float32)

    References:
        Collins, *Discriminative Training Methods for Hidden Markov Models: Theory and
        Experiments with Perceptron Algorithms*, 2002.
    """
    (score,) = _inputs.event(("classes",), score=score)
    label = _inputs.label(label, score.size)
    return _ramp(_numerics.behind(score, label))


def multi_margin_loss(
    score: ArrayLike,
    label: ArrayLike,
    /,
    *,
    p: int = 1,
    margin: float | Array = 1.0,
    class_weights: ArrayLike | None = None,
) -> Array:
    r"""How far the true class falls short of the margin to its rivals, in the mean.

    With label :math:`y`, :math:`C` classes and class weights :math:`w` (1 by default),

    .. math:: \ell(s, y) = \frac{w_y}{C} \sum_{c \ne y} \max(0,\; m - s_y + s_c)^p.

    Args:
        score: one for each class, shape ``(classes,)``, floating. A score of ``-inf``
            marks a class as impossible.
        label: index of the true class, shape ``()``, integer of any width.
        p: the power, 1 or 2.
        margin: the least lead wanted.
        class_weights: factor for each class, shape ``(classes,)``.

    Returns:
        The loss, shape ``()``, float32 or wider. The sum over the rivals is divided by
        the number of classes, the true one included.

    Raises:
        ValueError: a shape is wrong, or `p` is neither 1 nor 2.
        TypeError: `score` is not floating, or `label` is not an integer.

    Guarantees:
        - A rival at the margin itself adds nothing to the gradient.
        - ``nan`` for a label outside ``[0, classes)``, with gradient 0.
        - ``inf`` when the true class alone is impossible; impossible rivals are none.

    Examples:
        >>> multi_margin_loss(jnp.array([2.0, 1.5, -3.0]), 0).round(4)
        Array(0.1667, dtype=float32)

    References:
        Weston & Watkins, *Support Vector Machines for Multi-Class Pattern Recognition*,
        1999.
    """
    if p not in (1, 2):
        raise ValueError(f"`p` must be 1 or 2, got {p}.")
    (score,) = _inputs.event(("classes",), score=score)
    label = _inputs.label(label, score.size)
    margin = _inputs.option("margin", margin, (), score)
    if p == 1:
        loss = _shortfall_in_all(score, label, margin) / score.size
    else:
        loss = _half_squares(score, label, margin) / (score.size / 2)
    if class_weights is None:
        return loss
    weights = _inputs.option("class_weights", class_weights, score.shape, score)
    return loss * jnp.where(label >= 0, _numerics.at_label(weights, label), 0)


def categorical_hinge_loss(score: ArrayLike, target: ArrayLike, /) -> Array:
    r"""How far the true class falls short of a margin of 1 to the others, or to 0.

    .. math:: \ell(s, y) = \max\Bigl(0,\; 1 + \max_c\, (1 - y_c)\, s_c
        - \sum_c y_c s_c\Bigr)

    The product with :math:`1 - y` puts a 0 in the place of the true class, so that it
    must be ahead of 0 as well as of its rivals. That is the loss of Keras;
    `multiclass_hinge_loss` compares with the rivals alone, and is the better choice
    where no Keras model has to be matched.

    Args:
        score: one for each class, shape ``(classes,)``, floating. A score of ``-inf``
            marks a class as impossible.
        target: one-hot of the true class, shape ``(classes,)``.

    Returns:
        The loss, shape ``()``, float32 or wider, in the unit of `score`.

    Raises:
        ValueError: a shape is wrong.
        TypeError: `score` is not floating.

    Guarantees:
        - The gradient is 0 at the margin itself; of rivals that tie, the first gets it.
        - Impossible rivals are none.

    Examples:
        >>> categorical_hinge_loss(jnp.array([-1.0, -3.0, -2.0]), jnp.array([1, 0, 0]))
        Array(2., dtype=float32)

    References:
        Chollet et al., *Keras*, 2015: ``keras.losses.categorical_hinge``.
    """
    score, target = _inputs.event(("classes",), score=score, target=target)
    return _categorical_hinge(score, target)


@_numerics.slopes(lambda short: (short > 0).astype(short.dtype))
def _ramp(short: Array) -> Array:
    return jnp.where(short <= 0, 0, short)


def _shortfalls(score: Array, own: Array, margin: Array) -> Array:
    """How far a class of this score falls short of the margin to each class.

    By the second operand, a nan of which is not lost, of a maximum with a hidden 0.
    """
    nothing = 0 * _numerics.hidden_one(score)
    return jnp.maximum(nothing, score + (margin - own))


def _total(
    of: Callable[[Array], Array], score: Array, label: Array, margin: Array
) -> Array:
    """The sum over the rivals, where the label falls short of the margin to itself."""
    own = _numerics.at_label(score, label)

    def each(score: Array, own: Array, margin: Array) -> Array:
        return of(_shortfalls(score, own, margin))

    total = _numerics.sum_of(each, score, own, margin) - each(own, own, margin)
    finite = jnp.isfinite(total)
    careful = partial(_total_at_the_ends, of)
    return _numerics.refined(finite, total, careful, score, label, margin)


def _total_at_the_ends(
    of: Callable[[Array], Array], score: Array, label: Array, margin: Array
) -> Array:
    """Where scores are infinite or nan; impossible rivals are none."""
    held = jnp.maximum(score, jnp.finfo(score.dtype).min)  # -inf - -inf would be nan
    short = jnp.maximum(margin - _numerics.at_label(score, label) + held, 0)
    short = jnp.minimum(short, _numerics.unless_label(score, label))
    return jnp.sum(of(short)) + _numerics.nan_if_any(score)


def _pull(
    total: Callable[..., Array],
    of: Callable[[Array], Array],
    score: Array,
    label: Array,
    margin: Array,
) -> Array:
    """What moves rivals moves the label the other way."""
    sum_of_rivals = total(score, label, margin)
    score, label, margin, sum_of_rivals = jax.lax.optimization_barrier(
        (score, label, margin, sum_of_rivals)
    )
    short = score + (margin - _numerics.at_label(score, label))
    rivals = jnp.where(short > 0, of(short), 0)
    return jnp.where(_numerics.is_label(score, label), -sum_of_rivals, rivals)


@_numerics.slopes(
    lambda s, y, m: jnp.zeros_like(s),
    _numerics.no_slope,
    lambda s, y, m: jnp.zeros_like(m),
)
def _count(score: Array, label: Array, margin: Array) -> Array:
    return _total(jnp.sign, score, label, margin)


@_numerics.slopes(partial(_pull, _count, jnp.sign), _numerics.no_slope, _count)
def _shortfall_in_all(score: Array, label: Array, margin: Array) -> Array:
    return _total(lambda short: short, score, label, margin)


def _half_slope(score: Array, label: Array, margin: Array) -> Array:
    return _pull(_shortfall_in_all, lambda short: short, score, label, margin)


@_numerics.slopes(_half_slope, _numerics.no_slope, _shortfall_in_all)
def _half_squares(score: Array, label: Array, margin: Array) -> Array:
    return _total(jnp.square, score, label, margin) / 2


def _runner_up(score: Array, target: Array) -> tuple[Array, Array]:
    """Place of the best other class, and what the true one lacks to it."""
    others = _numerics.times(1 - target, score)
    best = jnp.arange(score.size) == jnp.argmax(others)
    highest = jnp.max(others)
    return best, 1 + highest - jnp.sum(_numerics.times(target, score))


def _categorical_hinge_score_slope(score: Array, target: Array) -> Array:
    best, short = _runner_up(score, target)
    return jnp.where(short > 0, jnp.where(best, 1 - target, 0) - target, 0)


def _categorical_hinge_target_slope(score: Array, target: Array) -> Array:
    best, short = _runner_up(score, target)
    return jnp.where(short > 0, -jnp.where(best, score, 0) - score, 0)


@_numerics.slopes(_categorical_hinge_score_slope, _categorical_hinge_target_slope)
def _categorical_hinge(score: Array, target: Array) -> Array:
    short = _runner_up(score, target)[1]
    return jnp.where(short <= 0, 0, short) + _numerics.nan_if_any(score)
