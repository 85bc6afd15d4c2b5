"""Losses made from a regularised maximum: sparse where a softmax is dense."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs, _numerics


def sparsemax_loss(
    logits: ArrayLike, target: ArrayLike, where: ArrayLike | None = None, /
) -> Array:
    r"""How far independent answers are from certain and right, with an end to caution.

    .. math:: \ell(z, y) = \operatorname{mean}_i\; (1 - y_i)\, h(z_i) + y_i\, h(-z_i),
        \qquad h(z) = \begin{cases} 0 & z \le -1 \\ \tfrac14 (z + 1)^2 & |z| < 1 \\
        z & z \ge 1 \end{cases}

    As `sigmoid_binary_cross_entropy`, with :math:`h` in the place of softplus: beyond 1
    on the right side an answer costs nothing.

    Args:
        logits: any shape, floating.
        target: "yes" as 1 or "no" as 0, or a probability of "yes" between them, the
            shape of `logits`.
        where: boolean, the shape of `logits`; only elements that are True count.

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider.

    Raises:
        ValueError: shapes differ.
        TypeError: `logits` are not floating, or `where` is not boolean.

    Guarantees:
        - The derivative is ``clip((logit + 1) / 2, 0, 1) - target``, within [-1, 1].
        - Elements left out reach neither value nor gradient, whatever they hold; with
          none left the value is 0 and the gradient 0.
        - An element that is nan makes the value nan, and has gradient 0.

    Examples:
        >>> sparsemax_loss(jnp.array([-2.0, 0.5]), jnp.array([1, 1]))
        Array(1.03125, dtype=float32)

    References:
        Blondel, Martins & Niculae, *Learning with Fenchel-Young Losses*, 2020,
        section 4.4.
    """
    logits, target = _inputs.elementwise(where, logits=logits, target=target)
    _inputs.require((target >= 0) & (target <= 1), "target", "in [0, 1]", target, where)
    return _numerics.mean_of(_sparse, logits, target, where=where)


def multiclass_sparsemax_loss(score: ArrayLike, label: ArrayLike, /) -> Array:
    r"""How far classes that follow a sparsemax are from the true one being certain.

    With :math:`p` the point of the probability simplex that is nearest to :math:`s`,

    .. math:: \ell(s, y) = \tfrac12 - \tfrac12 \lVert p \rVert^2
        + \sum_c p_c\, (s_c - s_y).

    Args:
        score: one for each class, shape ``(classes,)``, floating. A score of ``-inf``
            marks a class as impossible.
        label: index of the true class, shape ``()``, integer of any width.

    Returns:
        The loss, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong.
        TypeError: `score` is not floating, or `label` is not an integer.

    Guarantees:
        - 0 as soon as the true class is 1 ahead of every other, and never below.
        - The gradient is :math:`p` minus the one-hot of the label: it is exactly 0 for
          the classes that :math:`p` leaves out.
        - Unchanged when a constant is added to every score, however large.
        - ``nan`` for a label outside ``[0, classes)``, with gradient 0.
        - ``inf`` when the true class is impossible.

    Examples:
        >>> multiclass_sparsemax_loss(jnp.array([1.0, 0.5, -3.0]), 0)
        Array(0.0625, dtype=float32)

    References:
        Martins & Astudillo, *From Softmax to Sparsemax*, 2016.
    """
    (score,) = _inputs.event(("classes",), score=score)
    return _multiclass_sparse(score, _inputs.label(label, score.size))


def make_fenchel_young_loss(
    max_fun: Callable[[Array], Array], /
) -> Callable[[ArrayLike, ArrayLike], Array]:
    r"""Makes the loss that a maximum function belongs to.

    With a (regularised) maximum :math:`\Omega^*(s) = \max_y \langle y, s \rangle
    - \Omega(y)` given by `max_fun`,

    .. math:: \ell(s, y) = \Omega^*(s) - \langle y, s \rangle.

    The term :math:`\Omega(y)`, which does not depend on the scores, is left out, so
    that the least value of the loss need not be 0.

    Args:
        max_fun: function of the scores of one example, shape ``(classes,)``, with a
            scalar value. Its gradient must be the maximiser, as that of a maximum is.

    Returns:
        A loss ``loss(score, target)`` of one example, both of shape ``(classes,)``. Its
        gradient with respect to the scores is the maximiser minus the target.

    Examples:
        >>> loss = make_fenchel_young_loss(jax.nn.logsumexp)  # that is cross-entropy
        >>> loss(jnp.array([1.0, 3.0]), jnp.array([0.25, 0.75]))
        Array(0.626928, dtype=float32)

    References:
        Blondel, Martins & Niculae, *Learning with Fenchel-Young Losses*, 2020.
    """

    def fenchel_young_loss(score: ArrayLike, target: ArrayLike, /) -> Array:
        score, target = _inputs.event(("classes",), score=score, target=target)
        known = ~jnp.any(jnp.isnan(score) | jnp.isnan(target))
        score, target = jnp.where(known, score, 0), jnp.where(known, target, 0)
        loss = max_fun(score) - jnp.sum(_numerics.times(target, score))
        return jnp.where(known, loss, jnp.nan)

    return fenchel_young_loss


def _sparse_slope(z: Array, y: Array) -> Array:
    one = _numerics.hidden_one(z)
    return jnp.clip((z + one) * (one / 2), one - one, one) - y


@_numerics.slopes(_sparse_slope, lambda z, y: -z)
def _sparse(logits: Array, target: Array) -> Array:
    distance = jnp.abs(logits)
    finite = jnp.minimum(distance, jnp.finfo(logits.dtype).max)
    wrong_share = 0.5 + (0.5 - target) * jnp.sign(logits)  # 1 - y above 0, y below
    near = 1 - distance
    near = 0.5 * (near + jnp.abs(near))
    return finite * wrong_share + (0.5 * near) ** 2


def _multiclass_sparse_slope(score: Array, label: Array) -> Array:
    probability, _ = _sparsemax(score)
    hit = jnp.arange(score.size, dtype=label.dtype) == label
    wrong = jnp.sum(probability, where=~hit)
    slope = jnp.where(hit, -wrong, probability)
    return jnp.where(label >= 0, slope, jnp.nan)


@_numerics.slopes(_multiclass_sparse_slope, _numerics.no_slope)
def _multiclass_sparse(score: Array, label: Array) -> Array:
    # Half the squared distance from p to the one-hot, and what the score of the label
    # lacks to the threshold: both are 0 or above, and nothing cancels.
    probability, below = _sparsemax(score)
    hit = jnp.arange(score.size, dtype=label.dtype) == label
    wrong = jnp.sum(probability, where=~hit)
    squares = wrong**2 + jnp.sum(probability**2, where=~hit)
    outside = jnp.sum(below, where=hit)
    return jnp.where(label >= 0, 0.5 * squares + outside, jnp.nan)


def _sparsemax(score: Array) -> tuple[Array, Array]:
    """The nearest point of the simplex, and how far each score is below its edge."""
    highest = jnp.max(score)
    at_top = score == highest
    score = jnp.where(at_top, 0, score - jnp.where(at_top, 0, highest))
    known = ~jnp.isnan(_numerics.nan_if_any(score)) & (highest > -jnp.inf)
    score = jnp.where(known, score, jnp.nan)
    ranked = -jnp.sort(-jax.lax.stop_gradient(score))
    rank = jnp.arange(1, score.size + 1, dtype=score.dtype)
    kept = jnp.sum(1 + rank * ranked > jnp.cumsum(ranked))
    lowest = jnp.max(ranked, where=jnp.arange(score.size) == kept - 1, initial=-jnp.inf)
    inside = score >= lowest
    count = jnp.sum(inside).astype(score.dtype)
    edge = (jnp.sum(score, where=inside) - 1) / count
    return jnp.where(inside, score - edge, 0), jnp.where(inside, 0, edge - score)
