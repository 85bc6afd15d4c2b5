"""Scores of one example that are not losses: what an audit or a weighting looks at."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs, _numerics


def error_norm(logits: ArrayLike, label: ArrayLike, /) -> Array:
    r"""How wrong the predicted probabilities are: a score, not a loss (EL2N).

    .. math:: e(z, y) = \lVert p - \mathrm{onehot}(y) \rVert_2,
        \qquad p = \mathrm{softmax}(z)

    It is the norm of the derivative of the cross-entropy with respect to the logits,
    and so a bound, up to a factor that all examples share, on the norm of the gradient
    of the example: what to prune by early in training (Paul et al.), and what to
    sample by (`jaxloss.weighting.importance`).

    Args:
        logits: unnormalised log-probabilities, shape ``(classes,)``, floating. A logit
            of ``-inf`` marks a class as impossible.
        label: index of the given class, shape ``()``, integer.

    Returns:
        The norm, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong.

    Guarantees:
        - In [0, sqrt(2)], and unchanged when a constant is added to every logit.
        - Accurate also for a nearly certain label, where it is about the probability
          of being wrong.
        - ``nan`` for a label outside ``[0, classes)`` and where the largest logit is
          not finite, with gradient 0.

    Examples:
        >>> error_norm(jnp.log(jnp.array([0.5, 0.25, 0.25])), 0).round(4)
        Array(0.6124, dtype=float32)

    References:
        Paul et al., *Deep Learning on a Data Diet: Finding Important Examples Early in
        Training*, 2021.
        Katharopoulos and Fleuret, *Not All Samples Are Created Equal: Deep Learning
        with Importance Sampling*, 2018 (the bound on the norm of the gradient).
    """
    (logits,) = _inputs.event(("classes",), logits=logits)
    (classes,) = logits.shape
    label = _inputs.label(label, classes)
    valid = (label >= 0) & _has_probabilities(logits)
    logits = jnp.where(valid, logits, 0)
    p = jnp.exp(_numerics.log_softmax(logits))
    wrong = jax.nn.sigmoid(_numerics.log_odds_against(logits, label))  # exact 1 - p_y
    hit = jnp.arange(classes, dtype=label.dtype) == label
    return jnp.where(valid, _numerics.norm(jnp.where(hit, wrong, p)), jnp.nan)


def margin(
    logits: ArrayLike,
    label: ArrayLike,
    /,
    *,
    temperature: float | Array | None = None,
) -> Array:
    r"""How far the given class is ahead of the best other one: a score, not a loss.

    .. math:: m(z, y) = z_y - \max_{c \ne y} z_c
        \qquad\text{or}\qquad p_y - \max_{c \ne y} p_c,
        \quad p = \mathrm{softmax}(z / \tau)

    The second form, taken when a temperature is given, is bounded; averaged over the
    epochs of a training it ranks mislabelled examples (`jaxloss.audit`).

    Args:
        logits: unnormalised log-probabilities, shape ``(classes,)``, floating, at least
            two classes. A logit of ``-inf`` marks a class as impossible.
        label: index of the given class, shape ``()``, integer.
        temperature: None for the margin of the logits; else the margin of the
            probabilities at this temperature, above 0.

    Returns:
        The margin, shape ``()``, float32 or wider; above 0 when the given class wins.

    Raises:
        ValueError: a shape is wrong, there are fewer than two classes, or
            `temperature` is a number not above 0.

    Guarantees:
        - ``nan`` for a label outside ``[0, classes)`` and where the largest logit is
          not finite, with gradient 0.
        - Without a temperature it is inf when no other class is possible, -inf when
          the label is on an impossible class.
        - With a temperature it lies in [-1, 1], for logits of any size.

    Examples:
        >>> margin(jnp.array([2.0, 0.5, 1.5]), 0)
        Array(0.5, dtype=float32)
        >>> margin(jnp.array([2.0, 0.5, 1.5]), 0, temperature=2.0).round(4)
        Array(0.0983, dtype=float32)

    References:
        Pleiss et al., *Identifying Mislabeled Data using the Area Under the Margin
        Ranking*, 2020.
    """
    (logits,) = _inputs.event(("classes",), logits=logits)
    (classes,) = logits.shape
    if classes < 2:
        raise ValueError(f"`logits` must have at least two classes, got {classes}.")
    label = _inputs.label(label, classes)
    valid = (label >= 0) & _has_probabilities(logits)
    if temperature is not None:
        _inputs.positive("temperature", temperature)
        logits = jnp.where(valid, logits, 0)
        below = logits - jax.lax.stop_gradient(jnp.max(logits))  # overflows only down
        logits = jnp.exp(_numerics.log_softmax(below / temperature))
    return jnp.where(valid, -_numerics.behind(logits, label), jnp.nan)


def _has_probabilities(logits: Array) -> Array:
    """Whether no logit is nan or +inf, and not every class is impossible."""
    return jnp.isfinite(jnp.max(logits, initial=-jnp.inf))
