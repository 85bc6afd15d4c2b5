"""Scores of one example that are not losses: what an audit or a weighting looks at."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs


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
            two classes.
        label: index of the given class, shape ``()``, integer.
        temperature: None for the margin of the logits; else the margin of the
            probabilities at this temperature, above 0.

    Returns:
        The margin, shape ``()``, float32 or wider; above 0 when the given class wins.

    Raises:
        ValueError: a shape is wrong, there are fewer than two classes, or
            `temperature` is a number not above 0.

    Guarantees:
        - ``nan`` for a label outside ``[0, classes)``, with gradient 0.
        - With a temperature it lies in [-1, 1].

    Examples:
        >>> margin(jnp.array([2.0, 0.5, 1.5]), 0)
        Array(0.5, dtype=float32)

    References:
        Pleiss et al., *Identifying Mislabeled Data using the Area Under the Margin
        Ranking*, 2020.
    """
    (logits,) = _inputs.event(("classes",), logits=logits)
    (classes,) = logits.shape
    if classes < 2:
        raise ValueError(f"`logits` must have at least two classes, got {classes}.")
    label = _inputs.label(label, classes)
    valid = (label >= 0) & ~jnp.any(jnp.isnan(logits))
    logits = jnp.where(valid, logits, 0)
    if temperature is not None:
        _inputs.positive("temperature", temperature)
        logits = jax.nn.softmax(logits / temperature)
    rival = jnp.argmax(logits.at[label].set(-jnp.inf))
    return jnp.where(valid, logits[label] - logits[rival], jnp.nan)
