"""Losses that judge a predicted distribution against a whole other one."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs, _numerics


def kl_divergence(log_prediction: ArrayLike, target: ArrayLike, /) -> Array:
    r"""Nats lost by taking the predicted distribution for the target.

    .. math:: \ell(\log p, t) = \sum_c t_c\,(\log t_c - \log p_c),
        \qquad 0 \log 0 = 0

    Args:
        log_prediction: logarithm of each predicted probability, shape ``(classes,)``,
            floating, as `jax.nn.log_softmax` gives it; ``-inf`` for an impossible
            class.
        target: probability of each class, shape ``(classes,)``, not below 0.

    Returns:
        The divergence, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong.
        TypeError: `log_prediction` is not floating.

    Guarantees:
        - A target of 0 costs 0, also on an impossible class; any other target on an
          impossible class costs ``inf``.
        - ``nan``, with gradient 0, when an element is nan or a target is negative.
        - No derivative is nan or infinite. By a target of 0 it is that by the smallest
          normal number.

    Of two distributions it is never negative, but for rounding; where that matters, or
    when an argument does not sum to 1, take `generalized_kl_divergence`.

    Examples:
        >>> kl_divergence(jnp.log(jnp.array([0.5, 0.5])), jnp.array([1.0, 0.0]))
        Array(0.693147, dtype=float32)

    References:
        Kullback & Leibler, *On Information and Sufficiency*, 1951.
    """
    log_prediction, target, valid = _distributions(log_prediction, target)
    terms = _relative_entropy(log_prediction, target)
    return jnp.where(valid, jnp.sum(terms), jnp.nan)


def kl_divergence_with_log_targets(
    log_prediction: ArrayLike, log_target: ArrayLike, /
) -> Array:
    r"""Nats lost by taking the predicted distribution for the target.

    .. math:: \ell(\log p, \lambda) = \sum_c e^{\lambda_c} (\lambda_c - \log p_c)

    Args:
        log_prediction: logarithm of each predicted probability, shape ``(classes,)``,
            floating; ``-inf`` for an impossible class.
        log_target: logarithm of the probability of each class, shape ``(classes,)``;
            ``-inf`` for an impossible one.

    Returns:
        The divergence, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong.
        TypeError: `log_prediction` is not floating.

    Guarantees:
        - A class that is impossible in the target costs 0, also when it is impossible
          in the prediction; one that is impossible in the prediction alone costs
          ``inf``.
        - ``nan``, with gradient 0, when an element is nan.
        - No derivative is nan; one that is infinite counts as 0.

    Examples:
        >>> log_prediction = jnp.log(jnp.array([0.5, 0.5]))
        >>> kl_divergence_with_log_targets(log_prediction, jnp.array([0.0, -jnp.inf]))
        Array(0.693147, dtype=float32)

    References:
        Kullback & Leibler, *On Information and Sufficiency*, 1951.
    """
    log_prediction, log_target = _inputs.event(
        ("classes",), log_prediction=log_prediction, log_target=log_target
    )
    valid = ~jnp.any(jnp.isnan(log_prediction) | jnp.isnan(log_target))
    log_prediction = jnp.where(valid, log_prediction, 0)
    log_target = jnp.where(valid, log_target, 0)
    terms = _relative_entropy_of_log(log_prediction, log_target)
    return jnp.where(valid, jnp.sum(terms), jnp.nan)


def generalized_kl_divergence(log_prediction: ArrayLike, target: ArrayLike, /) -> Array:
    r"""Distance in nats between two measures that need not sum to 1.

    .. math:: \ell(\log p, t) = \sum_c
        \bigl(t_c\,(\log t_c - \log p_c) + p_c - t_c\bigr), \qquad 0 \log 0 = 0

    For two distributions this is `kl_divergence`.

    Args:
        log_prediction: logarithm of the predicted measure of each class, shape
            ``(classes,)``, floating; ``-inf`` for an impossible class.
        target: measure of each class, shape ``(classes,)``, not below 0.

    Returns:
        The divergence, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong.
        TypeError: `log_prediction` is not floating.

    Guarantees:
        - Never negative, not even by rounding; 0 where the measures are equal.
        - A target of 0 on an impossible class costs 0; any other costs ``inf``.
        - ``nan``, with gradient 0, when an element is nan or a target is negative.
        - No derivative is nan or infinite, unless the measure itself is. By a target of
          0 it is that by the smallest normal number.

    Examples:
        >>> generalized_kl_divergence(jnp.log(jnp.array([2.0, 1.0])), jnp.ones(2))
        Array(0.306853, dtype=float32)

    References:
        Boyd & Vandenberghe, *Convex Optimization*, 2004, page 90.
    """
    log_prediction, target, valid = _distributions(log_prediction, target)
    terms = _bregman(log_prediction, target)
    return jnp.where(valid, jnp.sum(terms), jnp.nan)


convex_kl_divergence = generalized_kl_divergence
"""The former name of `generalized_kl_divergence` in optax."""


def _distributions(
    log_prediction: ArrayLike, target: ArrayLike
) -> tuple[Array, Array, Array]:
    """Both arrays and whether they are valid; all 0 if not."""
    log_prediction, target = _inputs.event(
        ("classes",), log_prediction=log_prediction, target=target
    )
    _inputs.require(target >= 0, "target", "not below 0", target)
    valid = jnp.all((target >= 0) & ~jnp.isnan(log_prediction))
    log_prediction = jnp.where(valid, log_prediction, 0)
    return log_prediction, jnp.where(valid, target, 0), valid


def _log(target: Array) -> Array:
    """A logarithm that is finite at 0: that of the smallest normal number."""
    return jnp.log(jnp.maximum(target, jnp.finfo(target.dtype).tiny))


@_numerics.slopes(lambda log_p, t: -t, lambda log_p, t: _log(t) + 1 - log_p)
def _relative_entropy(log_prediction: Array, target: Array) -> Array:
    return _numerics.times(target, _log(target) - log_prediction)


def _log_target_slope(log_prediction: Array, log_target: Array) -> Array:
    entropy = _relative_entropy_of_log(log_prediction, log_target)
    return entropy + jnp.exp(log_target)


@_numerics.slopes(lambda log_p, s: -jnp.exp(s), _log_target_slope)
def _relative_entropy_of_log(log_prediction: Array, log_target: Array) -> Array:
    return _numerics.times(jnp.exp(log_target), log_target - log_prediction)


@_numerics.slopes(lambda log_p, t: jnp.exp(log_p) - t, lambda log_p, t: _log(t) - log_p)
def _bregman(log_prediction: Array, target: Array) -> Array:
    gap = log_prediction - _log(target)
    near = jnp.maximum(jnp.expm1(gap) - gap, 0)
    far = jnp.exp(log_prediction) - target - _numerics.times(target, gap)
    return jnp.where(jnp.abs(gap) < 1, target * near, far)
