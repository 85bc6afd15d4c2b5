"""The losses of tokens from hidden states and the matrix that makes logits of them."""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss.kernels.linear_cross_entropy import chunks, statistics
from jaxloss.kernels.linear_cross_entropy.head import Head, local_labels, read
from jaxloss.kernels.linear_cross_entropy.statistics import Options, Statistics

Implementation = Literal["reference", "chunked"]

#: Up to so many bytes the logits are simply computed.
SMALL = 64 * 2**20


class TokenStatistics(NamedTuple):
    """What a prediction says of a token, beside its loss.

    Attributes:
        log_probs: log-probability of the label, shape ``(tokens,)``, without smoothing.
        entropies: entropy of the prediction in nats, shape ``(tokens,)``.
    """

    log_probs: Array
    entropies: Array


def linear_softmax_cross_entropy(
    hidden: ArrayLike,
    labels: ArrayLike,
    weights: ArrayLike,
    bias: ArrayLike | None = None,
    /,
    *,
    label_smoothing: float | Array = 0.0,
    z_loss: float | Array = 0.0,
    soft_cap: float | None = None,
    chunk_size: int | None = None,
    implementation: Implementation | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Surprise, in nats, at the label of each token, from hidden states.

    `jaxloss.losses.softmax_cross_entropy_with_integer_labels` of the logits

    .. math:: z_n = h_n W + b, \qquad \ell_n = -\log \mathrm{softmax}(z_n)_{y_n},

    which for large vocabularies are the largest array of the training step, and which
    here are never in memory at once: they are made a chunk of classes at a time, and
    once more for the gradient.

    Args:
        hidden: states before the last layer, shape ``(tokens, features)``, floating.
        labels: index of the true class of each token, shape ``(tokens,)``, integer.
        weights: matrix of the last layer, shape ``(features, classes)``, floating.
        bias: its bias, shape ``(classes,)``, floating; none by default. One of ``-inf``
            makes a class impossible.
        label_smoothing: share of the target spread evenly over the possible classes.
        z_loss: factor on the squared log-normaliser.
        soft_cap: logits first become ``soft_cap * tanh(logits / soft_cap)``; a number.
        chunk_size: how many classes at a time. By default so many that a chunk of
            logits takes about 32 MiB in float32, and at least 1024.
        implementation: ``"chunked"``; or ``"reference"``, which computes all logits and
            can be differentiated in every way. By default chunked when the logits
            would take more than 64 MiB.
        axis_name: within `jax.shard_map`, the mesh axis along which `weights` and
            `bias` are split by classes. Labels count through all of them.

    Returns:
        The losses, shape ``(tokens,)``, float32 or wider.

    Raises:
        ValueError: shapes do not fit, or an option is a number outside its range.
        TypeError: `hidden`, `weights` or `bias` are not floating, `labels` are not
            integers, or `soft_cap` is not a number.

    Guarantees:
        - The gradient is exact for every cotangent of the losses, so for any weights.
        - Sums run in float32 or wider, for the gradient of `weights` too; gradients
          have the dtype of what they belong to.
        - ``nan`` for a label outside ``[0, classes)``, ``inf`` for an impossible one. A
          token whose loss is nan has no part in any gradient, unless `weights` hold
          the nan.
        - Memory beyond inputs and results does not grow with the classes.
        - Split by classes, devices send each other a few numbers for each token.
        - The chunked form has derivatives in reverse mode, also of that gradient;
          `jax.jvp` of it is refused by JAX with a `TypeError`.

    Note:
        The gradient of one token with respect to `weights` is the product of its
        ``hidden`` and ``softmax(z) - y``. Those are the factors that
        `jaxloss.gradients` keeps when a loss function asks for the ``"reference"``.

    Examples:
        >>> hidden, weights = jnp.array([[1.0, 0.0], [0.0, 2.0]]), jnp.eye(2, 3)
        >>> linear_softmax_cross_entropy(hidden, jnp.array([0, 2]), weights).round(4)
        Array([0.5514, 2.2395], dtype=float32)

    References:
        Wijmans et al., *Cut Your Losses in Large-Vocabulary Language Models*, 2024.
    """
    losses, _ = _found(
        (hidden, labels, weights, bias),
        Options.read(label_smoothing, z_loss, soft_cap),
        (chunk_size, implementation),
        axis_name,
        entropy=False,
    )
    return losses


def linear_softmax_cross_entropy_with_statistics(
    hidden: ArrayLike,
    labels: ArrayLike,
    weights: ArrayLike,
    bias: ArrayLike | None = None,
    /,
    *,
    label_smoothing: float | Array = 0.0,
    z_loss: float | Array = 0.0,
    soft_cap: float | None = None,
    chunk_size: int | None = None,
    implementation: Implementation | None = None,
    axis_name: str | None = None,
) -> tuple[Array, TokenStatistics]:
    r"""`linear_softmax_cross_entropy`, and what else each prediction says of its token.

    With :math:`p_n = \mathrm{softmax}(z_n)`, the log-probability of the label
    :math:`\log p_n(y_n)` and the entropy :math:`-\sum_c p_n(c) \log p_n(c)`: what a
    policy gradient and its entropy bonus are made of.

    Args:
        hidden: as for `linear_softmax_cross_entropy`, and so are all others.
        labels: index of the true class of each token, shape ``(tokens,)``, integer.
        weights: matrix of the last layer, shape ``(features, classes)``, floating.
        bias: its bias, shape ``(classes,)``, floating; none by default.
        label_smoothing: share of the target spread evenly over the possible classes.
        z_loss: factor on the squared log-normaliser.
        soft_cap: logits first become ``soft_cap * tanh(logits / soft_cap)``; a number.
        chunk_size: how many classes at a time.
        implementation: ``"chunked"``, ``"reference"``, or None for what fits the size.
        axis_name: within `jax.shard_map`, the mesh axis along which `weights` and
            `bias` are split by classes.

    Returns:
        The losses, shape ``(tokens,)``, and `TokenStatistics`. All have gradients.

    Raises:
        ValueError: shapes do not fit, or an option is a number outside its range.
        TypeError: as for `linear_softmax_cross_entropy`.

    Guarantees:
        - Smoothing and z-loss change the losses alone; a soft cap changes the logits.
        - The log-probability is ``nan`` where the loss is for want of a label; the
          entropy is not.

    Examples:
        >>> hidden, weights = jnp.array([[1.0, 0.0]]), jnp.eye(2, 3)
        >>> _, more = linear_softmax_cross_entropy_with_statistics(
        ...     hidden, jnp.array([0]), weights
        ... )
        >>> more.log_probs.round(4), more.entropies.round(4)
        (Array([-0.5514], dtype=float32), Array([0.9753], dtype=float32))

    References:
        Williams, *Simple Statistical Gradient-Following Algorithms*, 1992; Mnih et al.,
        *Asynchronous Methods for Deep Reinforcement Learning*, 2016 (entropy bonus).
    """
    options = Options.read(label_smoothing, z_loss, soft_cap)
    how = chunk_size, implementation
    data = hidden, labels, weights, bias
    losses, found = _found(data, options, how, axis_name, entropy=True)
    known = ~jnp.isnan(losses)
    log_probs = -statistics.losses(found, Options(0.0, 0.0, None))
    entropies = statistics.entropies(found)
    return losses, TokenStatistics(jnp.where(known, log_probs, jnp.nan), entropies)


def _found(
    data: Any, options: Options, how: Any, axis_name: str | None, *, entropy: bool
) -> tuple[Array, Statistics]:
    """The losses, and the statistics of all classes."""
    hidden, labels, weights, bias = data
    head, finite = read(hidden, weights, bias)
    labels, known = local_labels(labels, len(finite), head.classes, axis_name)
    here = part(head, labels, options, *how, entropy=entropy)
    found = statistics.joined(here, axis_name)
    losses = statistics.losses(found, options)
    losses = jnp.where(known & finite, losses, jnp.nan)
    return losses, found._replace(
        label=jnp.where(known, found.label, -jnp.inf),
        entropy=jnp.where(finite, found.entropy, jnp.nan),
    )


def part(
    head: Head,
    labels: Array,
    options: Options,
    chunk_size: int | None,
    implementation: Implementation | None,
    *,
    entropy: bool,
) -> Statistics:
    """The statistics of the classes of this device."""
    tokens, wanted = len(labels), options.wanted(entropy)
    if implementation is None:
        small = tokens * head.classes * head.dtype.itemsize <= SMALL
        implementation = "reference" if small else "chunked"
    if implementation == "reference":
        logits = head.logits(0, head.classes)
        return statistics.of_logits(logits, labels, options.soft_cap, wanted)
    if implementation == "chunked":
        size = _chunk_size(chunk_size, tokens)
        return chunks.statistics(
            chunks.How(size, options.soft_cap, wanted), head, labels
        )
    raise ValueError(
        "`implementation` must be 'reference', 'chunked' or None, got "
        f"{implementation!r}."
    )


def _chunk_size(asked: int | None, tokens: int) -> int:
    if asked is None:
        return max(1024, 2**23 // max(tokens, 1) // 128 * 128)
    if asked < 1:
        raise ValueError(
            f"`chunk_size` must be a number of classes from 1 on, got {asked}."
        )
    return asked
