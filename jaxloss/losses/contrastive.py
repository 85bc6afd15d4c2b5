"""Losses that judge one anchor embedding against the others of its batch.

The anchor is the example; the others are ``keys``, which a batch shares. Two masks say
what each key is to the anchor; a key that is neither (the anchor itself, padding) does
not count. The keys take a gradient too: where one example must not move the others, as
in per-example gradients, pass ``jax.lax.stop_gradient(keys)``.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs, _numerics


def ntxent(
    anchor: ArrayLike,
    keys: ArrayLike,
    positive: ArrayLike,
    negative: ArrayLike,
    /,
    *,
    temperature: float | Array = 0.07,
) -> Array:
    r"""Surprise, in nats, at finding a like among the unlike by similarity.

    With the cosines :math:`s_j` of the anchor and the keys, positive keys :math:`P` and
    negative keys :math:`N`,

    .. math:: \ell = \operatorname{mean}_{p \in P} -\log \frac{e^{s_p / \tau}}
        {e^{s_p / \tau} + \sum_{n \in N} e^{s_n / \tau}}.

    Other positives are not among what a positive competes with.

    Args:
        anchor: embedding, shape ``(features,)``, floating.
        keys: other embeddings, shape ``(keys, features)``.
        positive: boolean, which keys belong to the anchor, shape ``(keys,)``.
        negative: boolean, which do not, shape ``(keys,)``.
        temperature: unit of the similarities, above 0.

    Returns:
        The loss, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong, or `temperature` is a number not above 0.
        TypeError: `anchor` is not floating, or a mask is not boolean.

    Guarantees:
        - 0, with gradient 0, without a positive or without a negative key.
        - The mean over a batch, weighted by the number of positives, is that of
          `optax.losses.ntxent`.
        - A zero vector has cosine 0 with every other, and gradient 0.
        - Keys that are neither reach neither value nor gradient, whatever they hold.
        - ``nan``, with gradient 0, for an embedding that counts and is not finite.

    Examples:
        A batch whose labels say what belongs together, every example an anchor:

        >>> from jaxloss import per_sample, reduction
        >>> batch = jnp.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
        >>> labels = jnp.array([0, 0, 1, 1])
        >>> same = labels[:, None] == labels[None]
        >>> positive = same & ~jnp.eye(4, dtype=bool)
        >>> kernel = per_sample(ntxent, in_axes=(0, None, 0, 0), temperature=1.0)
        >>> losses = kernel(batch, batch, positive, ~same)
        >>> losses.round(4)
        Array([0.5282, 0.8189, 0.8189, 0.5282], dtype=float32)
        >>> reduction.weighted_mean(losses, positive.sum(1)).round(4)
        Array(0.6736, dtype=float32)

    References:
        Sohn, *Improved Deep Metric Learning with Multi-class N-pair Loss Objective*,
        2016; Chen et al., *A Simple Framework for Contrastive Learning of Visual
        Representations*, 2020.
    """
    _inputs.positive("temperature", temperature)
    valid, cosines, positive, negative = _compare(anchor, keys, positive, negative)
    logits = cosines / _inputs.option("temperature", temperature, (), cosines)
    against = _numerics.logsumexp_where(logits, negative)
    loss = _numerics.mean(_numerics.softplus(against - logits), positive)
    return jnp.where(valid, loss, jnp.nan)


def circle_loss(
    anchor: ArrayLike,
    keys: ArrayLike,
    positive: ArrayLike,
    negative: ArrayLike,
    /,
    *,
    gamma: float | Array = 80.0,
    margin: float | Array = 0.4,
    detach_weights: bool = False,
) -> Array:
    r"""How far like and unlike are from being told apart, the worst counting most.

    With the cosines :math:`s_j` of the anchor and the keys, positive keys :math:`P` and
    negative keys :math:`N`,

    .. math:: \ell = \log\Bigl(1 +
        \sum_{n \in N} e^{\gamma\, [s_n + m]_+ (s_n - m)}
        \sum_{p \in P} e^{-\gamma\, [1 + m - s_p]_+ (s_p - 1 + m)}\Bigr).

    Args:
        anchor: embedding, shape ``(features,)``, floating.
        keys: other embeddings, shape ``(keys, features)``.
        positive: boolean, which keys belong to the anchor, shape ``(keys,)``.
        negative: boolean, which do not, shape ``(keys,)``.
        gamma: scale of the similarities, above 0.
        margin: the ``m`` above: positives should reach ``1 - m``, negatives stay
            below ``m``.
        detach_weights: take the two factors in brackets as constants in the gradient,
            as in the authors' code.

    Returns:
        The loss, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong, or `gamma` is a number not above 0.
        TypeError: `anchor` is not floating, or a mask is not boolean.

    Guarantees:
        - 0, with gradient 0, without a positive or without a negative key.
        - Finite, with a finite gradient, for any finite embeddings.
        - A zero vector has cosine 0 with every other, and gradient 0.
        - Keys that are neither reach neither value nor gradient, whatever they hold.
        - ``nan``, with gradient 0, for an embedding that counts and is not finite.

    Examples:
        A batch whose labels say what belongs together, every example an anchor:

        >>> from jaxloss import per_sample
        >>> batch = jnp.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
        >>> labels = jnp.array([0, 0, 1, 1])
        >>> same = labels[:, None] == labels[None]
        >>> positive = same & ~jnp.eye(4, dtype=bool)
        >>> kernel = per_sample(circle_loss, in_axes=(0, None, 0, 0), gamma=10.0)
        >>> kernel(batch, batch, positive, ~same).round(4)
        Array([0.309 , 1.1898, 1.1898, 0.309 ], dtype=float32)

    References:
        Sun et al., *Circle Loss: A Unified Perspective of Pair Similarity
        Optimization*, 2020, equation 6 with the margins of equation 8.
    """
    _inputs.positive("gamma", gamma)
    valid, cosines, positive, negative = _compare(anchor, keys, positive, negative)
    gamma = _inputs.option("gamma", gamma, (), cosines)
    margin = _inputs.option("margin", margin, (), cosines)
    pull = jax.nn.relu(1 + margin - cosines)
    push = jax.nn.relu(cosines + margin)
    if detach_weights:
        pull, push = jax.lax.stop_gradient((pull, push))
    near = _numerics.logsumexp_where(-gamma * pull * (cosines - 1 + margin), positive)
    far = _numerics.logsumexp_where(gamma * push * (cosines - margin), negative)
    return jnp.where(valid, _numerics.softplus(near + far), jnp.nan)


def _compare(
    anchor: ArrayLike, keys: ArrayLike, positive: ArrayLike, negative: ArrayLike
) -> tuple[Array, Array, Array, Array]:
    """Whether all that counts is finite, the cosines with the keys, and the masks."""
    anchor, keys = _inputs.related(
        (("features",), ("keys", "features")), anchor=anchor, keys=keys
    )
    positive = _inputs.mask("positive", positive, keys.shape[:1])
    negative = _inputs.mask("negative", negative, keys.shape[:1])
    counts = positive | negative
    _inputs.require(~jnp.isnan(anchor), "anchor", "a number", anchor)
    _inputs.require(~jnp.isnan(keys) | ~counts[:, None], "keys", "numbers", keys)

    # Keys are cleaned without regard to the masks: what depends on the keys alone is
    # computed once for all anchors of a batch.
    sound = jnp.all(jnp.isfinite(keys), axis=1)
    keys = jnp.where(sound[:, None], keys, 0)
    finite = jnp.all(jnp.isfinite(anchor))
    anchor = jnp.where(finite, anchor, 0)
    valid = finite & jnp.all(sound | ~counts)
    cosines = jax.vmap(_numerics.direction)(keys) @ _numerics.direction(anchor)
    return valid, jnp.where(valid, cosines, 0), positive, negative
