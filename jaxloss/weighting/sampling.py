"""Choosing examples at random, the harder ones more often."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs


def keep_by_rank(
    key: Array,
    losses: ArrayLike,
    history: ArrayLike,
    power: float | Array = 1.0,
    *,
    where: ArrayLike | None = None,
) -> Array:
    r"""Weight 1 with a chance that grows with the rank of the loss, else 0.

    .. math:: P(w_i = 1) = \hat F(\ell_i)^{\beta}, \qquad
        \hat F(\ell) = \frac{|\{j : h_j \le \ell\}|}{|\{j : h_j \text{ finite}\}|},

    the share of earlier losses that were not larger. Selective backprop: what the model
    already knows is mostly skipped, and every example keeps a chance. The weights do
    not undo the choice, so the mean of what is kept is not the mean of the batch; for
    that see `importance`. What is said of wrong labels in `keep_large` holds here.

    Args:
        key: from `jax.random.key`; another one for every step.
        losses: shape ``(batch,)``, floating.
        history: losses of earlier steps, shape ``(history,)``; nan for places not yet
            filled. Keep the latest as ``jnp.concatenate([history, losses])[-size:]``.
        power: how strongly large losses are preferred, not negative; 0 keeps all. May
            be traced.
        where: False for padding, shape ``(batch,)``, boolean.

    Returns:
        Weights, shape ``(batch,)``, in the dtype of `losses`, float32 or wider; no
        gradient flows through them.

    Raises:
        ValueError: a shape is wrong, or `power` is a number below 0.
        TypeError: `losses` or `history` is not floating, or `where` not boolean.

    Guarantees:
        - A loss not below any in the history is kept, one below all of them is not,
          unless `power` is 0. With no history all are kept.
        - Padding, and a loss of nan or inf, has weight 0; in the history it does not
          count.

    Examples:
        >>> history = jnp.array([0.1, 0.2, 0.3, 0.4, jnp.nan])
        >>> losses = jnp.array([0.05, 0.4, 3.0, jnp.nan])
        >>> keep_by_rank(jax.random.key(0), losses, history, 2.0)
        Array([0., 1., 1., 0.], dtype=float32)

    References:
        Jiang et al., *Accelerating Deep Learning by Focusing on the Biggest Losers*,
        2019 (selective backprop).
        Loshchilov and Hutter, *Online Batch Selection for Faster Training of Neural
        Networks*, 2015 (chances by rank, which no scale of the losses can change).
    """
    _inputs.not_negative("power", power)
    losses, counts = _inputs.batch("losses", losses, where)
    history, known = _inputs.batch("history", history, None)
    history = jnp.sort(jnp.where(known, history, jnp.inf)).astype(losses.dtype)
    not_larger = jnp.searchsorted(history, losses, side="right")
    size = jnp.sum(known)
    share = not_larger.astype(losses.dtype) / jnp.maximum(size, 1).astype(losses.dtype)
    chance = jnp.where(size == 0, 1, share) ** jnp.asarray(power, losses.dtype)
    draw = jax.random.uniform(key, losses.shape, losses.dtype)
    kept = jax.lax.stop_gradient((draw < chance) & counts)
    return kept.astype(losses.dtype)


def importance(
    key: Array, scores: ArrayLike, k: int, *, where: ArrayLike | None = None
) -> tuple[Array, Array, Array]:
    r"""Draws k examples by score, with the weights that keep the mean unbiased.

    .. math:: i \sim p_i = \frac{s_i}{\sum_j s_j}, \qquad w = \frac{1}{n p_i}, \qquad
        \tau = \sqrt{n \sum_i p_i^2}

    The draws are independent, with replacement. Scores near the norm of the gradient
    (`jaxloss.losses.error_norm`, which bounds it, or the loss) make the variance of the
    mean gradient small. The gain tells whether it is worth the extra pass: at 1 the
    scores are all alike and uniform batches do as well.

    Args:
        key: from `jax.random.key`; another one for every step.
        scores: shape ``(batch,)``, floating, not negative.
        k: how many to draw; the shape depends on it, so it cannot be traced. May exceed
            the batch.
        where: False for padding, shape ``(batch,)``, boolean.

    Returns:
        Indices, shape ``(k,)``, int32; their weights, shape ``(k,)``, for a mean that
        divides by k (`jaxloss.reduction.batch_mean`); and the gain, shape ``()``. No
        gradient flows through them.

    Raises:
        ValueError: a shape is wrong, or `k` is not a whole number, or above 0 for an
            empty batch.
        TypeError: `scores` is not floating, or `where` not boolean.

    Guarantees:
        - ``batch_mean(losses[indices], weights)`` is, in the mean over keys, the mean
          of the losses that count, those of score 0 taken as 0.
        - The gain is at least 1. Its square is how many times smaller the second moment
          of a weighted score is than that of a score drawn uniformly.
        - Padding, and a score of 0, nan, inf or below 0, is never drawn. A score that
          is not above about 1e-7 of their mean is taken as 0: a random number of 32
          bits cannot draw it as rarely as it should be.
        - When all that counts has score 0, it is drawn uniformly; when nothing counts,
          all weights are 0.

    Examples:
        >>> scores = jnp.array([0.0, 1.0, 3.0, jnp.nan])
        >>> indices, weights, gain = importance(jax.random.key(2), scores, 4)
        >>> indices, weights, gain
        (Array([2, 2, 1, 2], dtype=int32),
         Array([0.4444, 0.4444, 1.3333 , 0.4444], dtype=float32),
         Array(1.3693, dtype=float32))

    References:
        Katharopoulos and Fleuret, *Not All Samples Are Created Equal: Deep Learning
        with Importance Sampling*, 2018.
    """
    scores, counts = _inputs.batch("scores", scores, where)
    _inputs.whole("k", k, None if scores.size else 0)
    counts &= scores >= 0
    size = jnp.sum(counts).astype(scores.dtype)
    scores = jnp.where(counts, scores, 0)
    highest = jnp.max(scores, initial=0)
    scores = jnp.where(highest == 0, counts.astype(scores.dtype), scores)
    scores = scores / jnp.where(highest == 0, 1, highest)
    total = jnp.sum(scores)
    p = scores / jnp.where(total == 0, 1, total)
    gain = jnp.sqrt(jnp.maximum(size * jnp.sum(p**2), 1))
    if k == 0:
        return jnp.zeros(0, jnp.int32), jnp.zeros(0, p.dtype), gain
    # Only what can be drawn is laid out, so that rounding cannot hit the rest.
    drawable = size * p > jnp.finfo(p.dtype).eps
    order = jnp.argsort(~drawable, stable=True).astype(jnp.int32)
    edges = jax.lax.cummax(jnp.cumsum(jnp.where(drawable, p, 0)[order]))
    level = jax.random.uniform(key, (k,), p.dtype) * edges[-1]
    last = jnp.maximum(jnp.sum(drawable) - 1, 0)
    place = jnp.minimum(jnp.searchsorted(edges, level, side="right"), last)
    indices = order[place]
    chance = size * p[indices]
    weights = jnp.where(chance > 0, 1 / jnp.where(chance > 0, chance, 1), 0)
    return indices, weights, gain
