"""Losses that judge the scores of several classes against the true one."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs, _numerics


def softmax_cross_entropy_with_integer_labels(
    logits: ArrayLike,
    label: ArrayLike,
    /,
    *,
    class_weights: ArrayLike | None = None,
    label_smoothing: float | Array = 0.0,
    z_loss: float | Array = 0.0,
    soft_cap: float | Array | None = None,
) -> Array:
    r"""Surprise, in nats, at the true class when classes follow a softmax.

    With :math:`p = \mathrm{softmax}(z)`, label :math:`y`, class weights :math:`w` (1 by
    default) and smoothing :math:`s`,

    .. math:: \ell(z, y) = -(1 - s)\, w_y \log p_y
        - s \operatorname{mean}_c w_c \log p_c
        + \zeta \left(\log \textstyle\sum_c e^{z_c}\right)^2,

    where the mean runs over the possible classes, those with :math:`z_c > -\infty`.

    Args:
        logits: unnormalised log-probabilities, shape ``(classes,)``, floating. A logit
            of ``-inf`` marks a class as impossible.
        label: index of the true class, shape ``()``, integer of any width.
        class_weights: factor for each class, shape ``(classes,)``.
        label_smoothing: share ``s`` of the target spread evenly over the possible
            classes, the true one included.
        z_loss: the factor :math:`\zeta` on the squared log-normaliser, which keeps
            logits from drifting.
        soft_cap: logits first become ``soft_cap * tanh(logits / soft_cap)``.

    Returns:
        The loss, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong, or an option is a number outside its range.
        TypeError: `logits` are not floating, or `label` is not an integer.

    Guarantees:
        - ``nan`` for a label outside ``[0, classes)``, so also for -1, with gradient 0:
          a wrong label is loud and never charged to another class.
        - ``inf`` when the true class is impossible. Impossible classes get gradient 0.
        - Unchanged when a constant is added to every logit, however large, and
          accurate to the last digits for a nearly certain prediction.
        - Without options the gradient sums to 0 and has norm at most ``sqrt(2)``.

    Examples:
        >>> softmax_cross_entropy_with_integer_labels(jnp.array([1.0, 3.0]), 1).round(4)
        Array(0.1269, dtype=float32)

    References:
        Bridle, *Probabilistic Interpretation of Feedforward Network Outputs*, 1990;
        Szegedy et al., *Rethinking the Inception Architecture*, 2016 (smoothing);
        Chowdhery et al., *PaLM*, 2022, section 5 (z-loss).
    """
    _inputs.share("label_smoothing", label_smoothing)
    (logits,) = _inputs.event(("classes",), logits=logits)
    (classes,) = logits.shape
    label = _inputs.label(label, classes)
    if soft_cap is not None:
        _inputs.positive("soft_cap", soft_cap)
        cap = _inputs.option("soft_cap", soft_cap, (), logits)
        logits = _numerics.soft_cap(logits, cap)

    loss = _numerics.softplus(_numerics.log_odds_against(logits, label))
    known = ~jnp.isnan(loss)
    weights = jnp.ones_like(logits)
    if class_weights is not None:
        weights = _inputs.option("class_weights", class_weights, (classes,), logits)
        hit = jnp.arange(classes, dtype=label.dtype) == label
        loss = loss * jnp.sum(weights, where=hit)
    if not _numerics.is_zero(label_smoothing):
        even = _mean_surprise(jnp.where(known, logits, 0), weights)
        loss = (1 - label_smoothing) * loss + label_smoothing * even
    if not _numerics.is_zero(z_loss):
        normalizer = _numerics.logsumexp(jnp.where(known, logits, 0))
        loss = loss + z_loss * normalizer**2
    return jnp.where(known, loss, jnp.nan)


def softmax_cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    /,
    *,
    class_weights: ArrayLike | None = None,
    label_smoothing: float | Array = 0.0,
) -> Array:
    r"""Cross-entropy, in nats, of a target distribution and a softmax.

    With :math:`p = \mathrm{softmax}(z)`, target :math:`y`, class weights :math:`w` (1
    by default) and smoothing :math:`s` over the :math:`K` possible classes, those with
    :math:`z_c > -\infty`,

    .. math:: \ell(z, y) = -\sum_c w_c
        \bigl((1 - s)\, y_c + \tfrac{s}{K}\bigr) \log p_c, \qquad 0 \log 0 = 0.

    Args:
        logits: unnormalised log-probabilities, shape ``(classes,)``, floating. A logit
            of ``-inf`` marks a class as impossible.
        target: weight of each class, shape ``(classes,)``. It need not sum to 1, and
            takes a gradient of its own; stop that one where it is not wanted.
        class_weights: factor for each class, shape ``(classes,)``.
        label_smoothing: share ``s`` of the target spread evenly over the possible
            classes.

    Returns:
        The loss, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong, or `label_smoothing` is a number outside [0, 1].
        TypeError: `logits` are not floating.

    Guarantees:
        - A target of 0 on an impossible class costs 0; one that can be seen beside 1
          costs ``inf``.
        - Accurate to the last digits for a nearly certain class.
        - The gradient with respect to `logits` is the true one, ``p * sum(y) - y``,
          also for a target that does not sum to 1.
        - No derivative is nan; one that is infinite counts as 0.
        - Unchanged when a constant is added to every logit, however large.

    Examples:
        >>> softmax_cross_entropy(jnp.array([1.0, 3.0]), jnp.array([0.25, 0.75]))
        Array(0.626928, dtype=float32)

    References:
        Bridle, *Probabilistic Interpretation of Feedforward Network Outputs*, 1990.
    """
    _inputs.share("label_smoothing", label_smoothing)
    logits, target = _inputs.event(("classes",), logits=logits, target=target)
    if not _numerics.is_zero(label_smoothing):
        target = _numerics.smooth(target, logits > -jnp.inf, label_smoothing)
    if class_weights is not None:
        target = target * _inputs.option(
            "class_weights", class_weights, logits.shape, logits
        )
    return _numerics.expected_surprise(target, logits)


def safe_softmax_cross_entropy(logits: ArrayLike, target: ArrayLike, /) -> Array:
    """Cross-entropy, in nats, of a target distribution and a softmax.

    The name under which optax keeps the form that takes 0 times infinity for 0. Here
    `softmax_cross_entropy` does so itself, and this is the same function.
    """
    return softmax_cross_entropy(logits, target)


def smooth_labels(
    target: ArrayLike,
    where: ArrayLike | None = None,
    /,
    *,
    alpha: float | Array,
) -> Array:
    r"""A target with a share of it spread evenly over the classes: no loss itself.

    .. math:: y'_c = (1 - \alpha)\, y_c + \tfrac{\alpha}{K}
        \quad\text{on the } K \text{ classes kept, and 0 on the others}

    Args:
        target: weight of each class, shape ``(classes,)``, floating.
        where: boolean, shape ``(classes,)``; the classes that are True are kept.
        alpha: the share, in [0, 1].

    Returns:
        The smoothed target, shape ``(classes,)``, float32 or wider.

    Raises:
        ValueError: a shape is wrong, or `alpha` is a number outside [0, 1].
        TypeError: `target` is not floating: an index must become a one-hot first.

    Guarantees:
        - The sum of a target that is 0 on the classes left out, and 1 in all, stays 1.
        - Classes left out get 0, whatever `target` holds there.

    Examples:
        >>> smooth_labels(jnp.array([1.0, 0.0, 0.0, 0.0]), alpha=0.2)
        Array([0.85, 0.05, 0.05, 0.05], dtype=float32)

    References:
        Szegedy et al., *Rethinking the Inception Architecture*, 2016.
    """
    _inputs.share("alpha", alpha)
    (target,) = _inputs.related((("classes",),), target=target)
    if where is None:
        where = jnp.ones(target.shape, bool)
    where = _inputs.mask("where", where, target.shape)
    return _numerics.smooth(jnp.where(where, target, 0), where, alpha)


@_numerics.slopes(
    lambda z, w: (
        jnp.exp(_numerics.log_softmax(z)) * _mean_possible(z, w) - _share(z) * w
    ),
    lambda z, w: -_numerics.times(_share(z), _numerics.log_softmax(z)),
)
def _mean_surprise(logits: Array, weights: Array) -> Array:
    return -_mean_possible(logits, weights * _numerics.log_softmax(logits))


def _mean_possible(logits: Array, values: Array) -> Array:
    return jnp.sum(_numerics.times(_share(logits), values))


def _share(logits: Array) -> Array:
    """One part of unity for each possible class, 0 for the others."""
    possible = (logits > -jnp.inf).astype(logits.dtype)
    return possible / jnp.maximum(jnp.sum(possible), 1)
