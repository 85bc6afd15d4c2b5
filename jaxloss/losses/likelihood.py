"""Losses that judge the parameters of a distribution by what was then observed."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs, _numerics


def poisson_nll_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    where: ArrayLike | None = None,
    /,
    *,
    log_input: bool = True,
    full: bool | str = False,
    epsilon: float | Array = 1e-8,
) -> Array:
    r"""Surprise, in nats, at a count when counts follow a Poisson distribution.

    With the predicted rate :math:`\lambda`, or its logarithm :math:`x = \log \lambda`,

    .. math:: \ell = \operatorname{mean}_i\, \bigl(\lambda_i - y_i \log \lambda_i
        \; [{} + \log y_i!]\bigr), \qquad 0 \log 0 = 0.

    Args:
        prediction: logarithm of the rate, any shape, floating; the rate itself, not
            below 0, when `log_input` is off.
        target: the count, not below 0, the shape of `prediction`; integers are welcome.
        where: boolean, the shape of `prediction`; only elements that are True count.
        log_input: whether `prediction` is the logarithm of the rate.
        full: adds the term in brackets, which no prediction can change: "exact", or
            True for Stirling's approximation ``y log y - y + log(2 pi y) / 2`` of
            counts above 1 (as PyTorch and TensorFlow have it).
        epsilon: added to the rate inside its logarithm when `log_input` is off, so
            that a rate of 0 has a finite price.

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider.

    Raises:
        ValueError: shapes differ, `epsilon` is a number below 0, or `full` is neither a
            boolean nor "exact".
        TypeError: `prediction` is not floating, or `where` is not boolean.

    Guarantees:
        - With `log_input` the derivative is ``exp(prediction) - target``.
        - A rate of 0, also as a logarithm of ``-inf``, costs 0 when nothing was
          counted, and (without `epsilon`) the largest finite number for every count.
        - ``nan``, with gradient 0, when a target or a rate is negative.
        - Elements left out reach neither value nor gradient, whatever they hold; with
          none left the value is 0 and the gradient 0.
        - An element that is nan makes the value nan, and has gradient 0.

    Examples:
        >>> poisson_nll_loss(jnp.log(jnp.array([2.0])), jnp.array([3]), full="exact")
        Array(1.712318, dtype=float32)

    References:
        Cameron & Trivedi, *Regression Analysis of Count Data*, 1998, section 3.2.
    """
    if full not in (False, True, "exact"):
        raise ValueError(f'`full` must be False, True or "exact", got {full!r}.')
    _inputs.not_negative("epsilon", epsilon)
    prediction, target = _inputs.elementwise(
        where, prediction=prediction, target=target
    )
    _inputs.require(target >= 0, "target", "not below 0", target, where)
    if not log_input:
        _inputs.require(prediction >= 0, "prediction", "not below 0", prediction, where)
    epsilon = _inputs.option("epsilon", epsilon, (), prediction)

    def each(prediction: Array, target: Array, epsilon: Array) -> Array:
        if log_input:
            losses = _poisson_of_log_rate(prediction, target)
        else:
            losses = _poisson_of_rate(prediction, target, epsilon)
        if full == "exact":
            return losses + _log_factorial(target)
        return losses + _stirling(target) if full else losses

    return _numerics.mean_of(each, prediction, target, epsilon, where=where)


def gaussian_nll_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    variance: ArrayLike,
    where: ArrayLike | None = None,
    /,
    *,
    full: bool = False,
    epsilon: float | Array = 1e-6,
) -> Array:
    r"""Surprise, in nats, at a number drawn from a normal distribution.

    With the floor :math:`\epsilon` under the variance :math:`v`,

    .. math:: \ell = \operatorname{mean}_i\, \tfrac12 \Bigl(\log u_i
        + \frac{(\hat y_i - y_i)^2}{u_i} \; [{} + \log 2\pi]\Bigr),
        \qquad u_i = \max(v_i, \epsilon).

    A network that learns a variance does better with its logarithm, which has no floor
    to fall through: `gaussian_nll_loss_with_log_variance`.

    Args:
        prediction: mean of the distribution, any shape, floating.
        target: the number drawn, the shape of `prediction`.
        variance: not below 0, the shape of `prediction`; one variance for all elements
            is ``jnp.full_like(prediction, variance)``.
        where: boolean, the shape of `prediction`; only elements that are True count.
        full: adds the constant in brackets.
        epsilon: the floor; with 0 there is none.

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider.

    Raises:
        ValueError: shapes differ, or `epsilon` is a number below 0.
        TypeError: `prediction` is not floating, or `where` is not boolean.

    Guarantees:
        - A variance below the floor has the value and the derivatives of the floor, so
          that one which has collapsed is pushed up again, by at most
          ``error**2 / (2 * epsilon**2)``.
        - ``nan``, with gradient 0, for a negative variance.
        - Elements left out reach neither value nor gradient, whatever they hold; with
          none left the value is 0 and the gradient 0.
        - An element that is nan makes the value nan, and has gradient 0.

    Examples:
        >>> mean, drawn, variance = jnp.array([1.0]), jnp.array([3.0]), jnp.array([4.0])
        >>> gaussian_nll_loss(mean, drawn, variance)
        Array(1.193147, dtype=float32)

    References:
        Nix & Weigend, *Estimating the Mean and Variance of the Target Probability
        Distribution*, 1994.
    """
    _inputs.not_negative("epsilon", epsilon)
    prediction, target, variance = _inputs.elementwise(
        where, prediction=prediction, target=target, variance=variance
    )
    _inputs.require(variance >= 0, "variance", "not below 0", variance, where)
    epsilon = _inputs.option("epsilon", epsilon, (), prediction)

    def each(*operands: Array) -> Array:
        return _gaussian(*operands) + _log_root_two_pi(full)

    operands = (prediction, target, variance, jax.lax.stop_gradient(epsilon))
    return _numerics.mean_of(each, *operands, where=where)


def gaussian_nll_loss_with_log_variance(
    prediction: ArrayLike,
    target: ArrayLike,
    log_variance: ArrayLike,
    where: ArrayLike | None = None,
    /,
    *,
    full: bool = False,
) -> Array:
    r"""Surprise, in nats, at a number drawn from a normal distribution.

    With the logarithm :math:`s` of the variance,

    .. math:: \ell = \operatorname{mean}_i\, \tfrac12 \bigl(s_i
        + (\hat y_i - y_i)^2 e^{-s_i} \; [{} + \log 2\pi]\bigr).

    Args:
        prediction: mean of the distribution, any shape, floating.
        target: the number drawn, the shape of `prediction`.
        log_variance: logarithm of the variance, the shape of `prediction`.
        where: boolean, the shape of `prediction`; only elements that are True count.
        full: adds the constant in brackets.

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider.

    Raises:
        ValueError: shapes differ.
        TypeError: `prediction` is not floating, or `where` is not boolean.

    Guarantees:
        - The derivative by the logarithm of the variance is at most one half; it is
          negative while the error is larger than the standard deviation.
        - The square of an error does not overflow while its share of the variance is
          finite.
        - Elements left out reach neither value nor gradient, whatever they hold; with
          none left the value is 0 and the gradient 0.
        - An element that is nan makes the value nan, and has gradient 0.

    Examples:
        >>> mean, drawn, variance = jnp.array([1.0]), jnp.array([3.0]), jnp.array([4.0])
        >>> gaussian_nll_loss_with_log_variance(mean, drawn, jnp.log(variance))
        Array(1.193147, dtype=float32)

    References:
        Kendall & Gal, *What Uncertainties Do We Need in Bayesian Deep Learning for
        Computer Vision?*, 2017, equation 8.
    """
    prediction, target, log_variance = _inputs.elementwise(
        where, prediction=prediction, target=target, log_variance=log_variance
    )

    def each(*operands: Array) -> Array:
        return _gaussian_of_log(*operands) + _log_root_two_pi(full)

    return _numerics.mean_of(each, prediction, target, log_variance, where=where)


def _log_root_two_pi(full: bool) -> float:
    return 0.5 * math.log(2 * math.pi) if full else 0.0


@_numerics.slopes(
    lambda x, y: _numerics.exponential(x) - _not_negative(y),
    lambda x, y: -x + _numerics.nan_if_negative(y),
)
def _poisson_of_log_rate(log_rate: Array, target: Array) -> Array:
    rate = _numerics.exponential(log_rate)
    return rate - _not_negative(target) * _finite(log_rate)


@_numerics.slopes(
    lambda rate, y, epsilon: 1 - _share_of_rate(rate, y, epsilon),
    lambda rate, y, epsilon: (
        -jnp.log(_not_negative(rate) + epsilon) + _numerics.nan_if_negative(y)
    ),
    lambda rate, y, epsilon: -_share_of_rate(rate, y, epsilon),
)
def _poisson_of_rate(rate: Array, target: Array, epsilon: Array) -> Array:
    rate = _not_negative(rate)
    return rate - _not_negative(target) * _finite(jnp.log(rate + epsilon))


def _share_of_rate(rate: Array, target: Array, epsilon: Array) -> Array:
    return _numerics.ratio(_not_negative(target), _not_negative(rate) + epsilon)


def _not_negative(x: Array) -> Array:
    """The number itself, or nan if it is below 0."""
    return x + _numerics.nan_if_negative(x)


def _finite(log_rate: Array) -> Array:
    """A logarithm that a count of 0 can be multiplied with, also at a rate of 0."""
    return jnp.maximum(log_rate, jnp.finfo(log_rate.dtype).min)


@_numerics.slopes(lambda y: jnp.where(y > 1, jnp.log(y) + _numerics.ratio(0.5, y), 0))
def _stirling(target: Array) -> Array:
    above = jnp.maximum(target, 1)
    log_factorial = (above + 0.5) * jnp.log(above) - above + _log_root_two_pi(True)
    return jnp.sign(above - 1) * log_factorial


@_numerics.slopes(lambda y: jax.lax.digamma(y + 1))
def _log_factorial(target: Array) -> Array:
    return jax.lax.lgamma(target + 1)


@_numerics.slopes(
    lambda p, t, v, floor: (p - t) / _held(v, floor),
    lambda p, t, v, floor: (t - p) / _held(v, floor),
    lambda p, t, v, floor: (
        0.5 * (1 - _standard(p - t, v, floor) ** 2) / _held(v, floor)
    ),
    lambda p, t, v, floor: jnp.zeros_like(p),
)
def _gaussian(prediction: Array, target: Array, variance: Array, floor: Array) -> Array:
    square = _standard(prediction - target, variance, floor) ** 2
    return 0.5 * (jnp.log(_held(variance, floor)) + square)


def _standard(error: Array, variance: Array, floor: Array) -> Array:
    return error / jnp.sqrt(_held(variance, floor))


def _held(variance: Array, floor: Array) -> Array:
    return jnp.maximum(variance, floor) + _numerics.nan_if_negative(variance)


@_numerics.slopes(
    lambda p, t, s: (p - t) * jnp.exp(-s),
    lambda p, t, s: (t - p) * jnp.exp(-s),
    lambda p, t, s: 0.5 * (1 - _standard_of_log(p - t, s) ** 2),
)
def _gaussian_of_log(prediction: Array, target: Array, log_variance: Array) -> Array:
    square = _standard_of_log(prediction - target, log_variance) ** 2
    return 0.5 * (log_variance + square)


def _standard_of_log(error: Array, log_variance: Array) -> Array:
    precision = jnp.exp(-0.5 * log_variance)
    return error * jnp.minimum(precision, jnp.finfo(error.dtype).max)
