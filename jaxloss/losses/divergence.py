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
        - A target of 0 costs 0, also on an impossible class, where one that can be seen
          beside 1 costs ``inf``.
        - ``nan``, with gradient 0, when an element is nan or a target is negative.
        - No derivative is nan or infinite. That by a target of 0, which has no finite
          one, is taken at the smallest normal number.

    Of two distributions it is never negative, but for rounding; where that matters, or
    when an argument does not sum to 1, take `generalized_kl_divergence`.

    Examples:
        >>> kl_divergence(jnp.log(jnp.array([0.5, 0.5])), jnp.array([1.0, 0.0]))
        Array(0.693147, dtype=float32)

    References:
        Kullback & Leibler, *On Information and Sufficiency*, 1951.
    """
    return _relative_entropy(*_distributions(log_prediction, target))


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
    return _relative_entropy_of_log(log_prediction, log_target)


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
        - No derivative is nan or infinite, unless the measure itself is. That by a
          target of 0, which has no finite one, is taken at the smallest normal number.

    Examples:
        >>> generalized_kl_divergence(jnp.log(jnp.array([2.0, 1.0])), jnp.ones(2))
        Array(0.306853, dtype=float32)

    References:
        Boyd & Vandenberghe, *Convex Optimization*, 2004, page 90.
    """
    log_prediction, target = _distributions(log_prediction, target)
    valid = jnp.min(target, initial=0) >= 0
    return jnp.where(valid, _bregman(log_prediction, target), jnp.nan)


convex_kl_divergence = generalized_kl_divergence
"""The former name of `generalized_kl_divergence` in optax."""


def _distributions(log_prediction: ArrayLike, target: ArrayLike) -> tuple[Array, Array]:
    log_prediction, target = _inputs.event(
        ("classes",), log_prediction=log_prediction, target=target
    )
    _inputs.require(target >= 0, "target", "not below 0", target)
    return log_prediction, target


def _log(target: Array) -> Array:
    return jnp.log(jnp.maximum(target, jnp.finfo(target.dtype).tiny))


@_numerics.slopes(lambda log_p, t: -t, lambda log_p, t: _log(t) + 1 - log_p)
def _relative_entropy(log_prediction: Array, target: Array) -> Array:
    loss = _numerics.sum_of(_cost, log_prediction, target)
    careful = _relative_entropy_at_the_ends
    return _numerics.refined(jnp.isfinite(loss), loss, careful, log_prediction, target)


def _cost(log_prediction: Array, target: Array) -> Array:
    # Of a target below 0 the logarithm is nan; one of 0 is taken for the smallest.
    log_target = _numerics.logarithm(target + jnp.finfo(target.dtype).tiny)
    return target * (log_target - log_prediction)


def _relative_entropy_at_the_ends(log_prediction: Array, target: Array) -> Array:
    loss = _numerics.expectation(target, _log(target) - log_prediction)
    loss = loss + _numerics.nan_if_any(log_prediction) + _numerics.nan_if_any(target)
    return jnp.where(jnp.min(target, initial=0) >= 0, loss, jnp.nan)


@_numerics.slopes(
    lambda log_p, s: -jnp.exp(s),
    lambda log_p, s: _numerics.times(jnp.exp(s), s - log_p + 1),
)
def _relative_entropy_of_log(log_prediction: Array, log_target: Array) -> Array:
    loss = _numerics.sum_of(_cost_of_log, log_prediction, log_target)
    finite = jnp.isfinite(loss)
    careful = _relative_entropy_of_log_at_the_ends
    return _numerics.refined(finite, loss, careful, log_prediction, log_target)


def _cost_of_log(log_prediction: Array, log_target: Array) -> Array:
    return _numerics.exponential(log_target) * (log_target - log_prediction)


def _relative_entropy_of_log_at_the_ends(
    log_prediction: Array, log_target: Array
) -> Array:
    floor = jnp.finfo(log_target.dtype).min
    costs = jnp.maximum(log_target, floor) - log_prediction
    loss = _numerics.expectation(jnp.exp(log_target), costs)
    return loss + _numerics.nan_if_any(log_prediction)


@_numerics.slopes(lambda log_p, t: jnp.exp(log_p) - t, lambda log_p, t: _log(t) - log_p)
def _bregman(log_prediction: Array, target: Array) -> Array:
    gap = log_prediction - _log(target)
    near = jnp.maximum(jnp.expm1(gap) - gap, 0)
    far = jnp.exp(log_prediction) - target - _numerics.times(target, gap)
    return jnp.sum(jnp.where(jnp.abs(gap) < 1, target * near, far))
