"""Losses that want the scores of all classes present ahead of those of all others."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs, _numerics


def multilabel_margin_loss(score: ArrayLike, target: ArrayLike, /) -> Array:
    r"""How far the classes present fall short of a margin of 1 to those that are not.

    With :math:`C` classes, of which those with :math:`y_c > 0` are present,

    .. math:: \ell(s, y) = \frac1C \sum_{j} y_j \sum_{i:\, y_i = 0}
        \max(0,\; 1 - s_j + s_i).

    Args:
        score: one for each class, shape ``(classes,)``, floating. A score of ``-inf``
            marks a class as impossible.
        target: 1 for each class present and 0 for the others, shape ``(classes,)``;
            booleans are welcome.

    Returns:
        The loss, shape ``()``, float32 or wider. The sum over pairs is divided by the
        number of classes.

    Raises:
        ValueError: a shape is wrong.
        TypeError: `score` is not floating.

    Guarantees:
        - 0 when no class is present, or all are.
        - A pair at the margin itself adds nothing to the gradient.
        - The target takes no gradient.

    Examples:
        >>> score, target = jnp.array([0.1, 0.2, 0.4, 0.8]), jnp.array([1, 0, 0, 1])
        >>> multilabel_margin_loss(score, target)
        Array(0.85, dtype=float32)

    References:
        Zhang & Zhou, *Multilabel Neural Networks with Applications to Functional
        Genomics and Text Categorization*, 2006, compare such pairs.
    """
    score, target = _inputs.event(("classes",), score=score, target=target)
    return _pairs(score, jax.lax.stop_gradient(target))


def multilabel_margin_loss_with_integer_labels(
    score: ArrayLike, labels: ArrayLike, /
) -> Array:
    r"""How far the labels fall short of a margin of 1 to all other classes.

    With :math:`C` classes and the set :math:`Y` of the labels before the first -1,

    .. math:: \ell(s, Y) = \frac1C \sum_{j \in Y} \sum_{i \notin Y}
        \max(0,\; 1 - s_j + s_i),

    where a label that is listed twice counts twice.

    Args:
        score: one for each class, shape ``(classes,)``, floating. A score of ``-inf``
            marks a class as impossible.
        labels: indices of the classes present, then -1 and anything after it, shape
            ``(classes,)``, integer.

    Returns:
        The loss, shape ``()``, float32 or wider. The sum over pairs is divided by the
        number of classes.

    Raises:
        ValueError: a shape is wrong.
        TypeError: `score` is not floating, or `labels` are not integers.

    Guarantees:
        - What follows the first -1 changes nothing.
        - ``nan`` when something else than a class stands before it, with gradient 0.

    Examples:
        >>> score, labels = jnp.array([0.1, 0.2, 0.4, 0.8]), jnp.array([3, 0, -1, 1])
        >>> multilabel_margin_loss_with_integer_labels(score, labels)
        Array(0.85, dtype=float32)

    References:
        Collobert, Kavukcuoglu & Farabet, *Torch7*, 2011: ``MultiLabelMarginCriterion``.
    """
    (score,) = _inputs.event(("classes",), score=score)
    labels = _inputs.integers("labels", labels, score.shape)
    ends = labels < 0
    ended = jnp.cumsum(ends, dtype=jnp.int32)
    listed = ended == 0
    first_end = ends & (ended == 1)
    valid = jnp.where(listed, labels < score.size, ~first_end | (labels + 1 >= 0))
    _inputs.require(valid, "labels", f"in [-1, {score.size})", labels)
    index = jnp.arange(score.size, dtype=labels.dtype)
    hits = (labels[:, None] == index[None, :]) & listed[:, None]
    loss = _pairs(score, jnp.sum(hits, axis=0).astype(score.dtype))
    return jnp.where(jnp.all(valid), loss, jnp.nan)


def _shortfalls(score: Array, target: Array) -> Array:
    """Of every pair of a class present and one that is not, shape (present, other)."""
    short = 1 - score[:, None] + score[None, :]
    pair = (target[:, None] > 0) & (target[None, :] == 0) & (score > -jnp.inf)[None, :]
    return jnp.where(pair & ~(short <= 0), short, 0)


def _pairs_slope(score: Array, target: Array) -> Array:
    steps = target[:, None] * jnp.sign(_shortfalls(score, target))
    pull = (jnp.sum(steps, axis=0) - jnp.sum(steps, axis=1)) / score.size
    return jnp.where(jnp.any(jnp.isnan(score)), jnp.nan, pull)


@_numerics.slopes(_pairs_slope, _numerics.no_slope)
def _pairs(score: Array, target: Array) -> Array:
    total = jnp.sum(_numerics.times(target[:, None], _shortfalls(score, target)))
    known = ~jnp.any(jnp.isnan(score) | jnp.isnan(target))
    return jnp.where(known, total / score.size, jnp.nan)
