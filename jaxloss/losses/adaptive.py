"""Softmax losses for so many classes that the rare ones get fewer features."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs, _numerics


def adaptive_log_softmax_loss(
    hidden: ArrayLike,
    label: ArrayLike,
    head: ArrayLike,
    tails: Sequence[tuple[ArrayLike, ArrayLike]],
    head_bias: ArrayLike | None = None,
    /,
) -> Array:
    r"""Surprise, in nats, at the true class, by its cluster and then within it.

    The classes are sorted by falling frequency: the first :math:`S` are scored one by
    one, the others in clusters. With :math:`h` the features, :math:`W` the head and
    :math:`(P_k, V_k)` the tail of cluster :math:`k`, which starts at class :math:`s_k`,

    .. math:: \ell(h, y) = \begin{cases}
        -\log \mathrm{softmax}(h W + b)_y & y < S \\
        -\log \mathrm{softmax}(h W + b)_{S + k}
        - \log \mathrm{softmax}(h P_k V_k)_{y - s_k} & y \text{ in cluster } k.
        \end{cases}

    The parameters are shared by all examples of a batch:
    ``per_sample(adaptive_log_softmax_loss, in_axes=(0, 0, None, None, None))``.

    Args:
        hidden: features of the example, shape ``(features,)``, floating.
        label: index of the true class, shape ``()``, integer.
        head: scores of the frequent classes and then of the clusters, shape
            ``(features, S + clusters)``.
        tails: for each cluster a pair: a projection, shape ``(features, narrow)``, and
            the scores of its classes, shape ``(narrow, classes)``. The shapes say where
            each cluster starts and ends (PyTorch's ``cutoffs``; its matrices are the
            transposes of these).
        head_bias: shape ``(S + clusters,)``, or None for none. One of ``-inf`` marks a
            class, or a cluster, as impossible.

    Returns:
        The loss, shape ``()``, float32 or wider; PyTorch's ``-output``.

    Raises:
        ValueError: a shape is wrong, or does not fit the others.
        TypeError: `hidden` is not floating, or `label` is not an integer.

    Guarantees:
        - ``nan`` for a label outside all classes, with gradient 0.
        - The probabilities of all classes sum to 1.
        - The tail of a cluster gets a gradient from its own labels only.
        - ``nan`` when a feature is nan or infinite, with gradient 0.

    Examples:
        >>> hidden, head = jnp.array([1.0, 0.0]), jnp.zeros((2, 3))  # 2 classes, then
        >>> tails = [(jnp.ones((2, 1)), jnp.zeros((1, 4)))]  # a cluster of 4
        >>> jnp.exp(-adaptive_log_softmax_loss(hidden, 5, head, tails)).round(4)
        Array(0.0833, dtype=float32)

    References:
        Grave et al., *Efficient softmax approximation for GPUs*, 2017.
    """
    inputs = {"hidden": hidden, "head": head}
    shapes = [("features",), ("features", "outputs")]
    if head_bias is not None:
        inputs["head_bias"] = head_bias
        shapes += [("outputs",)]
    for k, (projection, weights) in enumerate(tails):
        inputs |= {f"tails[{k}][0]": projection, f"tails[{k}][1]": weights}
        shapes += [("features", f"narrow_{k}"), (f"narrow_{k}", f"classes_{k}")]
    hidden, head, *parts = _inputs.matching(shapes, **inputs)
    bias = parts.pop(0) if head_bias is not None else None
    frequent = head.shape[1] - len(tails)
    if frequent < 0:
        raise ValueError(
            f"`head` must have at least one output for each of {len(tails)} tails, got "
            f"{head.shape[1]}."
        )
    sizes = [weights.shape[1] for weights in parts[1::2]]
    label = _inputs.label(label, frequent + sum(sizes))

    known = jnp.all(jnp.isfinite(hidden))
    hidden = jnp.where(known, hidden, 0)
    output, loss, start = label, jnp.zeros_like(hidden, shape=()), frequent
    for k, size in enumerate(sizes):
        inside = (label >= start) & (label < start + size)
        scores = hidden @ parts[2 * k] @ parts[2 * k + 1]
        rare = _surprise(scores, jnp.where(inside, label - start, 0))
        output = jnp.where(inside, frequent + k, output)
        loss = loss + jnp.where(inside, rare, 0)
        start += size
    scores = hidden @ head
    loss = loss + _surprise(scores if bias is None else scores + bias, output)
    return jnp.where(known, loss, jnp.nan)


def _surprise(scores: Array, label: Array) -> Array:
    return _numerics.softplus(_numerics.log_odds_against(scores, label))
