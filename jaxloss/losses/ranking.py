"""Losses that judge the scores of the items of one list."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs
from jaxloss.losses.classification import softmax_cross_entropy


def ranking_softmax_loss(
    logits: ArrayLike, target: ArrayLike, where: ArrayLike | None = None, /
) -> Array:
    r"""Surprise, in nats, at the relevant items when one is drawn by its score.

    .. math:: \ell(z, y) = -\sum_i y_i \log \frac{e^{z_i}}{\sum_j e^{z_j}},
        \qquad 0 \log 0 = 0

    Args:
        logits: score of each item of one list, shape ``(items,)``, floating.
        target: relevance of each item, shape ``(items,)``, not normalised: a list with
            more relevance weighs more. For a weight on each item multiply it in here.
        where: boolean, shape ``(items,)``; only items that are True are in the list.

    Returns:
        The loss, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong.
        TypeError: `logits` are not floating, or `where` is not boolean.

    Guarantees:
        - Unchanged when a constant is added to every score, however large.
        - 0, with gradient 0, for a list in which nothing is relevant, or with no items.
        - Items left out reach neither value nor gradient, whatever they hold.
        - The gradient with respect to `logits` is ``softmax * sum(y) - y``.

    Examples:
        >>> ranking_softmax_loss(jnp.array([2.0, 1.0, 3.0]), jnp.array([1, 0, 0]))
        Array(1.407606, dtype=float32)

    References:
        Cao et al., *Learning to Rank: From Pairwise Approach to Listwise Approach*,
        2007 (ListNet with the top-one probability).
    """
    logits, target = _inputs.related((("items",),) * 2, logits=logits, target=target)
    if where is not None:
        where = _inputs.mask("where", where, logits.shape)
        some = jnp.any(where)  # with no item left there is no softmax to speak of
        logits = jnp.where(where, logits, jnp.where(some, -jnp.inf, 0))
        target = jnp.where(where, target, 0)
    return softmax_cross_entropy(logits, target)
