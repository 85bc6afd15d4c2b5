"""Losses that judge the probabilities of several classes against the true one."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs, _numerics


def categorical_cross_entropy(
    probability: ArrayLike,
    target: ArrayLike,
    /,
    *,
    normalize: bool = False,
    clip: float = 0.0,
    label_smoothing: float | Array = 0.0,
) -> Array:
    r"""Cross-entropy, in nats, of a target distribution and given probabilities.

    With smoothing :math:`s` over the :math:`C` classes,

    .. math:: \ell(p, y) = -\sum_c \bigl((1 - s)\, y_c + \tfrac{s}{C}\bigr) \log p_c,
        \qquad 0 \log 0 = 0.

    From logits use `softmax_cross_entropy`, which keeps the digits that a probability
    near 1 has lost.

    Args:
        probability: probability of each class, shape ``(classes,)``, floating, in
            [0, 1].
        target: weight of each class, shape ``(classes,)``.
        normalize: divide `probability` by its sum first.
        clip: probabilities are first held in ``[clip, 1 - clip]``. Beyond it the
            derivative is 0, exactly where the example is worst; for migration only.
        label_smoothing: share ``s`` of the target spread evenly over the classes.

    Returns:
        The loss, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong, or an option is a number outside [0, 1].
        TypeError: `probability` is not floating.

    Guarantees:
        - ``inf`` when a class of probability 0 has a target that can be seen beside 1.
        - ``nan`` when a probability is outside [0, 1], or when all are 0 and
          `normalize` is on.
        - No derivative is nan; one that is infinite counts as 0.

    Examples:
        >>> categorical_cross_entropy(jnp.array([0.1, 0.8, 0.1]), jnp.array([0, 1, 0]))
        Array(0.223144, dtype=float32)

    References:
        Good, *Rational Decisions*, 1952.
    """
    _inputs.share("clip", clip)
    _inputs.share("label_smoothing", label_smoothing)
    probability, target = _inputs.event(
        ("classes",), probability=probability, target=target
    )
    probability, valid = _prepared(probability, normalize, clip)
    if not _numerics.is_zero(label_smoothing):
        target = (1 - label_smoothing) * target + label_smoothing / target.size
    return jnp.where(valid, _expected_surprise(probability, target), jnp.nan)


def sparse_categorical_cross_entropy(
    probability: ArrayLike,
    label: ArrayLike,
    /,
    *,
    normalize: bool = False,
    clip: float = 0.0,
) -> Array:
    r"""Surprise, in nats, at the true class when classes have these probabilities.

    .. math:: \ell(p, y) = -\log p_y

    From logits use `softmax_cross_entropy_with_integer_labels`, which keeps the digits
    that a probability near 1 has lost.

    Args:
        probability: probability of each class, shape ``(classes,)``, floating, in
            [0, 1].
        label: index of the true class, shape ``()``, integer of any width.
        normalize: divide `probability` by its sum first.
        clip: probabilities are first held in ``[clip, 1 - clip]``. Beyond it the
            derivative is 0, exactly where the example is worst; for migration only.

    Returns:
        The loss, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong, or `clip` is a number outside [0, 1].
        TypeError: `probability` is not floating, or `label` is not an integer.

    Guarantees:
        - ``nan`` for a label outside ``[0, classes)``, with gradient 0.
        - ``inf`` when the true class has probability 0.
        - ``nan`` when a probability is outside [0, 1], or when all are 0 and
          `normalize` is on.
        - No derivative is nan; one that is infinite counts as 0.

    Examples:
        >>> sparse_categorical_cross_entropy(jnp.array([0.1, 0.8, 0.1]), 1)
        Array(0.223144, dtype=float32)

    References:
        Good, *Rational Decisions*, 1952.
    """
    _inputs.share("clip", clip)
    (probability,) = _inputs.event(("classes",), probability=probability)
    label = _inputs.label(label, probability.size)
    probability, valid = _prepared(probability, normalize, clip)
    loss = _surprise(_numerics.at_label(probability, label))
    return jnp.where(valid, loss, jnp.nan)


def nll_loss(
    log_prob: ArrayLike,
    label: ArrayLike,
    /,
    *,
    class_weights: ArrayLike | None = None,
) -> Array:
    r"""Surprise, in nats, at the true class when classes have these log-probabilities.

    With label :math:`y` and class weights :math:`w` (1 by default),

    .. math:: \ell(\lambda, y) = -w_y \lambda_y.

    Args:
        log_prob: log-probability of each class, shape ``(classes,)``, floating. Whether
            they are normalised is not asked: from logits use
            `softmax_cross_entropy_with_integer_labels`.
        label: index of the true class, shape ``()``, integer of any width.
        class_weights: factor for each class, shape ``(classes,)``.

    Returns:
        The loss, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong.
        TypeError: `log_prob` is not floating, or `label` is not an integer.

    Guarantees:
        - ``nan`` for a label outside ``[0, classes)``, with gradient 0.
        - ``inf`` when the true class is impossible, 0 if its weight is 0.
        - The other classes are not read.

    Examples:
        >>> nll_loss(jnp.log(jnp.array([0.1, 0.8, 0.1])), 1)
        Array(0.223144, dtype=float32)

    References:
        Good, *Rational Decisions*, 1952.
    """
    (log_prob,) = _inputs.event(("classes",), log_prob=log_prob)
    label = _inputs.label(label, log_prob.size)
    own = _numerics.at_label(log_prob, label)
    if class_weights is None:
        return -own
    weights = _inputs.option("class_weights", class_weights, log_prob.shape, log_prob)
    loss = _numerics.times(_numerics.at_label(weights, label), -own)
    return jnp.where(jnp.isnan(own), jnp.nan, loss)


def _prepared(probability: Array, normalize: bool, clip: float) -> tuple[Array, Array]:
    """Probabilities as the options want them, and whether they are any."""
    possible = (probability >= 0) & (probability <= 1)
    _inputs.require(possible, "probability", "in [0, 1]", probability)
    valid = _numerics.within(probability, 0, 1)
    if normalize:
        total = jnp.sum(probability)
        valid &= total > 0
        probability = probability / jnp.where(valid, total, 1)
    if clip:
        probability = jnp.clip(probability, clip, 1 - clip)
    return probability, valid


@_numerics.slopes(lambda p, t: -_numerics.ratio(t, p), lambda p, t: -jnp.log(p))
def _expected_surprise(probability: Array, target: Array) -> Array:
    return _numerics.expectation(target, -jnp.log(probability))


@_numerics.slopes(lambda p: -1 / p)
def _surprise(probability: Array) -> Array:
    return -jnp.log(probability)
