"""Losses that wrong labels cannot pull very far."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs, _numerics


def generalized_cross_entropy(
    logits: ArrayLike, label: ArrayLike, /, *, q: float | Array = 0.7
) -> Array:
    r"""Between surprise at the true class and the probability of being wrong.

    With :math:`p = \mathrm{softmax}(z)` and label :math:`y`,

    .. math:: \ell(z, y) = \frac{1 - p_y^q}{q}, \qquad -\log p_y \text{ for } q = 0.

    Args:
        logits: unnormalised log-probabilities, shape ``(classes,)``, floating. A logit
            of ``-inf`` marks a class as impossible.
        label: index of the true class, shape ``()``, integer of any width.
        q: 0 for cross-entropy, 1 for the probability of being wrong, which no label can
            pull far.

    Returns:
        The loss, shape ``()``, float32 or wider, at most ``1 / q``.

    Raises:
        ValueError: a shape is wrong, or `q` is a number outside [0, 1].
        TypeError: `logits` are not floating, or `label` is not an integer.

    Guarantees:
        - ``nan`` for a label outside ``[0, classes)``, with gradient 0.
        - ``1 / q``, with gradient 0, when the true class is impossible.
        - Accurate to the last digits for a nearly certain prediction.

    Examples:
        >>> generalized_cross_entropy(jnp.log(jnp.array([3.0, 1.0])), 0, q=1.0)
        Array(0.25, dtype=float32)

    References:
        Zhang & Sabuncu, *Generalized Cross Entropy Loss for Training Deep Neural
        Networks with Noisy Labels*, 2018.
    """
    _inputs.share("q", q)
    (logits,) = _inputs.event(("classes",), logits=logits)
    label = _inputs.label(label, logits.size)
    surprise = _numerics.softplus(_numerics.log_odds_against(logits, label))
    return _tempered(surprise, _inputs.option("q", q, (), logits))


def categorical_generalized_cross_entropy(
    probability: ArrayLike, label: ArrayLike, /, *, q: float | Array = 0.5
) -> Array:
    r"""Between surprise and the probability of being wrong, from given probabilities.

    .. math:: \ell(p, y) = \frac{1 - p_y^q}{q}, \qquad -\log p_y \text{ for } q = 0

    From logits use `generalized_cross_entropy`, which keeps the digits that a
    probability near 1 has lost.

    Args:
        probability: probability of each class, shape ``(classes,)``, floating, in
            [0, 1].
        label: index of the true class, shape ``()``, integer of any width.
        q: 0 for cross-entropy, 1 for the probability of being wrong.

    Returns:
        The loss, shape ``()``, float32 or wider, at most ``1 / q``.

    Raises:
        ValueError: a shape is wrong, or `q` is a number outside [0, 1].
        TypeError: `probability` is not floating, or `label` is not an integer.

    Guarantees:
        - ``nan`` for a label outside ``[0, classes)``, with gradient 0, and for a
          probability outside [0, 1].
        - No derivative is nan; the one at 0, infinite for `q` below 1, counts as 0.

    Examples:
        >>> categorical_generalized_cross_entropy(jnp.array([0.25, 0.75]), 0)
        Array(1., dtype=float32)

    References:
        Zhang & Sabuncu, *Generalized Cross Entropy Loss for Training Deep Neural
        Networks with Noisy Labels*, 2018.
    """
    _inputs.share("q", q)
    (probability,) = _inputs.event(("classes",), probability=probability)
    label = _inputs.label(label, probability.size)
    possible = (probability >= 0) & (probability <= 1)
    _inputs.require(possible, "probability", "in [0, 1]", probability)
    own = _numerics.at_label(probability, label)
    valid = (label >= 0) & _numerics.within(probability, 0, 1)
    loss = _tempered_of_chance(own, _inputs.option("q", q, (), probability))
    return jnp.where(valid, loss, jnp.nan)


def _tempered_q_slope(surprise: Array, q: Array) -> Array:
    # d/dq (1 - exp(-q u)) / q, whose two terms cancel for small q u: there the series.
    x = q * surprise
    exact = (x * jnp.exp(-x) + jnp.expm1(-x)) / jnp.where(q > 0, q * q, 1)
    series = surprise**2 * (-1 / 2 + x / 3 - x**2 / 8)
    return jnp.where(x < 1e-2, series, exact)


def _tempered_chance_slope(surprise: Array, q: Array) -> Array:
    return -q * _tempered_chance(surprise, q)


def _tempered_chance_q_slope(surprise: Array, q: Array) -> Array:
    return -_numerics.times(_tempered_chance(surprise, q), surprise)


@_numerics.slopes(_tempered_chance_slope, _tempered_chance_q_slope)
def _tempered_chance(surprise: Array, q: Array) -> Array:
    return jnp.exp(-_numerics.times(q, surprise))


@_numerics.slopes(_tempered_chance, _tempered_q_slope)
def _tempered(surprise: Array, q: Array) -> Array:
    """(1 - exp(-q u)) / q, that is u for q = 0."""
    some = jnp.where(q > 0, q, 1)
    return jnp.where(q > 0, -jnp.expm1(-q * surprise) / some, surprise)


@_numerics.slopes(
    lambda p, q: -_numerics.power(p, q - 1),
    lambda p, q: _tempered_q_slope(-jnp.log(p), q),
)
def _tempered_of_chance(probability: Array, q: Array) -> Array:
    return _tempered(-jnp.log(probability), q)
