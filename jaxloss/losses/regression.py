"""Losses that judge a number, or an array of numbers, against the true one."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs, _numerics


def squared_error(
    prediction: ArrayLike, target: ArrayLike, where: ArrayLike | None = None, /
) -> Array:
    r"""Squared distance between prediction and target, per element.

    .. math:: \ell(\hat y, y) = \operatorname{mean}_i\, (\hat y_i - y_i)^2

    Args:
        prediction: any shape, floating.
        target: the shape of `prediction`.
        where: boolean, the shape of `prediction`; only elements that are True count.

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider, in the
        squared unit of `prediction`.

    Raises:
        ValueError: shapes differ.
        TypeError: `prediction` is not floating, or `where` is not boolean.

    Guarantees:
        - Elements left out reach neither value nor gradient, whatever they hold; with
          none left the value is 0 and the gradient 0.
        - An element that is not finite makes the value nan or inf, and has gradient 0.

    Examples:
        >>> squared_error(jnp.array([1.2, 1.8]), jnp.array([1.0, 2.0])).round(4)
        Array(0.04, dtype=float32)

    References:
        Gauss, *Theoria combinationis observationum erroribus minimis obnoxiae*, 1823.
    """
    prediction, target = _inputs.elementwise(
        where, prediction=prediction, target=target
    )
    return _numerics.mean_of(_square, prediction, target, where=where, cheap=True)


def l2_loss(
    prediction: ArrayLike, target: ArrayLike, where: ArrayLike | None = None, /
) -> Array:
    r"""Half the squared distance, so that the derivative is the error itself.

    .. math:: \ell(\hat y, y) = \operatorname{mean}_i\, \tfrac12 (\hat y_i - y_i)^2

    Args:
        prediction: any shape, floating.
        target: the shape of `prediction`.
        where: boolean, the shape of `prediction`; only elements that are True count.

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider, in the
        squared unit of `prediction`.

    Raises:
        ValueError: shapes differ.
        TypeError: `prediction` is not floating, or `where` is not boolean.

    Guarantees:
        - Elements left out reach neither value nor gradient, whatever they hold; with
          none left the value is 0 and the gradient 0.
        - An element that is not finite makes the value nan or inf, and has gradient 0.

    Examples:
        >>> l2_loss(jnp.array([3.0, 1.0]), jnp.array([1.0, 1.0]))
        Array(1., dtype=float32)

    References:
        Bishop, *Pattern Recognition and Machine Learning*, 2006, equation 1.2.
    """
    prediction, target = _inputs.elementwise(
        where, prediction=prediction, target=target
    )
    return 0.5 * _numerics.mean_of(_square, prediction, target, where=where, cheap=True)


def absolute_error(
    prediction: ArrayLike, target: ArrayLike, where: ArrayLike | None = None, /
) -> Array:
    r"""Distance between prediction and target, per element.

    .. math:: \ell(\hat y, y) = \operatorname{mean}_i\, |\hat y_i - y_i|

    Args:
        prediction: any shape, floating.
        target: the shape of `prediction`.
        where: boolean, the shape of `prediction`; only elements that are True count.

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider, in the
        unit of `prediction`.

    Raises:
        ValueError: shapes differ.
        TypeError: `prediction` is not floating, or `where` is not boolean.

    Guarantees:
        - The derivative is 0 where prediction and target are equal.
        - Elements left out reach neither value nor gradient, whatever they hold; with
          none left the value is 0 and the gradient 0.
        - An element that is nan makes the value nan, and has gradient 0.

    Examples:
        >>> absolute_error(jnp.array([1.5, 2.0]), jnp.array([1.0, 4.0]))
        Array(1.25, dtype=float32)

    References:
        Koenker & Bassett, *Regression Quantiles*, 1978 (the median is its minimum).
    """
    prediction, target = _inputs.elementwise(
        where, prediction=prediction, target=target
    )
    return _numerics.mean_of(_distance, prediction, target, where=where, cheap=True)


def huber_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    where: ArrayLike | None = None,
    /,
    *,
    delta: float | Array = 1.0,
) -> Array:
    r"""Half the squared error near the target, straight lines beyond `delta`.

    With the error :math:`e = \hat y - y`,

    .. math:: \ell = \operatorname{mean}_i \begin{cases}
        \tfrac12 e_i^2 & |e_i| \le \delta \\
        \delta\,(|e_i| - \tfrac12\delta) & \text{otherwise} \end{cases}

    Args:
        prediction: any shape, floating.
        target: the shape of `prediction`.
        where: boolean, the shape of `prediction`; only elements that are True count.
        delta: error at which the parabola turns into a line, above 0, in the unit of
            `prediction`; with ``inf`` this is `l2_loss`.

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider, in the
        squared unit of `prediction`.

    Raises:
        ValueError: shapes differ, or `delta` is a number not above 0.
        TypeError: `prediction` is not floating, or `where` is not boolean.

    Guarantees:
        - The derivative of an element is its error clipped to ``[-delta, delta]``.
        - Elements left out reach neither value nor gradient, whatever they hold; with
          none left the value is 0 and the gradient 0.
        - An element that is nan makes the value nan, and has gradient 0.

    Examples:
        >>> huber_loss(jnp.array([5.0]), jnp.array([0.0]), delta=2.0)
        Array(8., dtype=float32)

    References:
        Huber, *Robust Estimation of a Location Parameter*, 1964.
    """
    _inputs.positive("delta", delta)
    prediction, target = _inputs.elementwise(
        where, prediction=prediction, target=target
    )
    delta = _inputs.option("delta", delta, (), prediction)
    return _numerics.mean_of(_huber, prediction, target, delta, where=where)


def smooth_l1_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    where: ArrayLike | None = None,
    /,
    *,
    beta: float | Array = 1.0,
) -> Array:
    r"""Distance between prediction and target, with its tip rounded within `beta`.

    With the error :math:`e = \hat y - y`,

    .. math:: \ell = \operatorname{mean}_i \begin{cases}
        \tfrac12 e_i^2 / \beta & |e_i| < \beta \\
        |e_i| - \tfrac12\beta & \text{otherwise} \end{cases}

    This is `huber_loss` with ``delta=beta``, divided by `beta`: a lower `beta` sharpens
    the tip, while a lower ``delta`` also flattens the lines.

    Args:
        prediction: any shape, floating.
        target: the shape of `prediction`.
        where: boolean, the shape of `prediction`; only elements that are True count.
        beta: error at which the parabola turns into a line, in the unit of
            `prediction`; with 0 this is `absolute_error`.

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider, in the
        unit of `prediction`.

    Raises:
        ValueError: shapes differ, or `beta` is a number below 0.
        TypeError: `prediction` is not floating, or `where` is not boolean.

    Guarantees:
        - The derivative of an element is ``error / beta`` clipped to [-1, 1], and 0
          where prediction and target are equal, also when `beta` is 0.
        - Elements left out reach neither value nor gradient, whatever they hold; with
          none left the value is 0 and the gradient 0.
        - An element that is nan makes the value nan, and has gradient 0.

    Examples:
        >>> smooth_l1_loss(jnp.array([5.0]), jnp.array([0.0]), beta=2.0)
        Array(4., dtype=float32)

    References:
        Girshick, *Fast R-CNN*, 2015, equation 3.
    """
    _inputs.not_negative("beta", beta)
    prediction, target = _inputs.elementwise(
        where, prediction=prediction, target=target
    )
    beta = _inputs.option("beta", beta, (), prediction)
    return _numerics.mean_of(_smooth_distance, prediction, target, beta, where=where)


def log_cosh(
    prediction: ArrayLike, target: ArrayLike, where: ArrayLike | None = None, /
) -> Array:
    r"""Logarithm of the hyperbolic cosine of the error: a Huber loss without a seam.

    .. math:: \ell(\hat y, y) = \operatorname{mean}_i\, \log \cosh(\hat y_i - y_i)

    Near the target it is half the squared error, far from it the distance less
    :math:`\log 2`.

    Args:
        prediction: any shape, floating.
        target: the shape of `prediction`.
        where: boolean, the shape of `prediction`; only elements that are True count.

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider.

    Raises:
        ValueError: shapes differ.
        TypeError: `prediction` is not floating, or `where` is not boolean.

    Guarantees:
        - Accurate to the last digits for an error of any size.
        - The derivative of an element is the hyperbolic tangent of its error.
        - Elements left out reach neither value nor gradient, whatever they hold; with
          none left the value is 0 and the gradient 0.
        - An element that is nan makes the value nan, and has gradient 0.

    Examples:
        >>> log_cosh(jnp.array([2.0, 1e-4]), jnp.array([0.0, 0.0]))
        Array(0.662501, dtype=float32)

    References:
        Green, *Bayesian reconstructions from emission tomography data using a modified
        EM algorithm*, 1990.
    """
    prediction, target = _inputs.elementwise(
        where, prediction=prediction, target=target
    )
    return _numerics.mean_of(_log_cosh, prediction, target, where=where)


@_numerics.slopes(lambda p, t: 2 * (p - t), lambda p, t: 2 * (t - p))
def _square(prediction: Array, target: Array) -> Array:
    return (prediction - target) ** 2


@_numerics.slopes(lambda p, t: jnp.sign(p - t), lambda p, t: jnp.sign(t - p))
def _distance(prediction: Array, target: Array) -> Array:
    return jnp.abs(prediction - target)


@_numerics.slopes(
    lambda p, t, delta: jnp.clip(p - t, -delta, delta),
    lambda p, t, delta: jnp.clip(t - p, -delta, delta),
    lambda p, t, delta: jnp.abs(p - t) - jnp.minimum(jnp.abs(p - t), delta),
)
def _huber(prediction: Array, target: Array, delta: Array) -> Array:
    # Hidden, delta does not change places with the rest: a minimum and a maximum keep a
    # nan of their second operand alone.
    delta = jax.lax.optimization_barrier(delta)
    error = prediction - target
    held = jnp.minimum(delta, jnp.maximum(-delta, error))
    return held * (error + held * -0.5)


@_numerics.slopes(
    lambda p, t, beta: _rounded_sign(p - t, beta),
    lambda p, t, beta: _rounded_sign(t - p, beta),
    lambda p, t, beta: -0.5 * _rounded_sign(p - t, beta) ** 2,
)
def _smooth_distance(prediction: Array, target: Array, beta: Array) -> Array:
    distance = jnp.abs(prediction - target)
    near = jnp.minimum(distance, beta)
    return (distance - near) + near * (near * (0.5 * _inverse(beta)))


def _rounded_sign(error: Array, beta: Array) -> Array:
    return jnp.where(jnp.abs(error) < beta, error * _inverse(beta), jnp.sign(error))


def _inverse(beta: Array) -> Array:
    """1 / beta, finite also when `beta` is 0 and nothing is near."""
    return 1 / jnp.where(beta == 0, 1, beta)


@_numerics.slopes(lambda p, t: jnp.tanh(p - t), lambda p, t: jnp.tanh(t - p))
def _log_cosh(prediction: Array, target: Array) -> Array:
    distance = jnp.abs(prediction - target)
    log_2 = math.log(2)
    far = distance + (_numerics.log1p_of_share(_numerics.decay(2 * distance)) - log_2)
    return jnp.where(distance < 1, _log_cosh_within_1(distance), far)


#: log(cosh(x)) / x^2 in powers of x^2, the largest error nearly the least for x <= 1.
_LOG_COSH_SERIES = (
    *(0.5, -0.0833329707, 0.0222163554, -0.00670951186),
    *(0.00207557832, -0.000554665516, 8.6054104e-05),
)


def _log_cosh_within_1(x: Array) -> Array:
    if x.dtype == jnp.float64:
        share = jnp.tanh(0.5 * jnp.minimum(x, 1)) ** 2
        return _numerics.twice_artanh(share, jnp.ones_like(share))
    square = jnp.square(x)
    return square * _numerics.polynomial(square, *_LOG_COSH_SERIES)
