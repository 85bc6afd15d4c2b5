"""Losses that judge numbers by their ratios or by their differences."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs, _numerics


def absolute_percentage_error(
    prediction: ArrayLike,
    target: ArrayLike,
    where: ArrayLike | None = None,
    /,
    *,
    epsilon: float | Array = 1e-7,
    scale: float | Array = 100.0,
) -> Array:
    r"""Distance between prediction and target, in percent of the target.

    .. math:: \ell(\hat y, y) = \operatorname{mean}_i\,
        s\,\frac{|\hat y_i - y_i|}{\max(|y_i|, \epsilon)}

    Args:
        prediction: any shape, floating.
        target: the shape of `prediction`.
        where: boolean, the shape of `prediction`; only elements that are True count.
        epsilon: least size of a target, above 0, in the unit of `prediction`; smaller
            ones divide by it.
        scale: 100 for percent, 1 for a share.

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider.

    Raises:
        ValueError: shapes differ, or `epsilon` is a number not above 0.
        TypeError: `prediction` is not floating, or `where` is not boolean.

    Guarantees:
        - The derivative is 0 where prediction and target are equal.
        - Finite for a target of 0, where it is the distance in units of `epsilon`.
        - Elements left out reach neither value nor gradient, whatever they hold; with
          none left the value is 0 and the gradient 0.
        - An element that is nan makes the value nan, and has gradient 0.

    Examples:
        >>> absolute_percentage_error(jnp.array([3.0, 8.0]), jnp.array([4.0, 8.0]))
        Array(12.5, dtype=float32)

    References:
        Makridakis, *Accuracy measures: theoretical and practical concerns*, 1993.
    """
    _inputs.positive("epsilon", epsilon)
    prediction, target = _inputs.elementwise(
        where, prediction=prediction, target=target
    )
    epsilon = _inputs.option("epsilon", epsilon, (), prediction)
    scale = _inputs.option("scale", scale, (), prediction)
    operands = (prediction, target, epsilon)
    return scale * _numerics.mean_of(_relative_distance, *operands, where=where)


def squared_logarithmic_error(
    prediction: ArrayLike,
    target: ArrayLike,
    where: ArrayLike | None = None,
    /,
    *,
    clip: float | None = None,
) -> Array:
    r"""Squared difference of the orders of magnitude, of one plus each number.

    .. math:: \ell(\hat y, y) = \operatorname{mean}_i\,
        \left(\log(1 + \hat y_i) - \log(1 + y_i)\right)^2

    Args:
        prediction: any shape, floating, above -1.
        target: above -1, the shape of `prediction`.
        where: boolean, the shape of `prediction`; only elements that are True count.
        clip: both arrays are first raised to at least this number. Below it the
            derivative is 0; for migration only (Keras has 1e-7).

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider.

    Raises:
        ValueError: shapes differ, or `clip` is a number not above -1.
        TypeError: `prediction` is not floating, or `where` is not boolean.

    Guarantees:
        - Accurate to the last digits also when prediction and target nearly agree.
        - ``nan`` for a number below -1, ``inf`` for one of the two at -1, or so near to
          it that the ratio of the two overflows; their derivative is 0.
        - Elements left out reach neither value nor gradient, whatever they hold; with
          none left the value is 0 and the gradient 0.

    Examples:
        >>> squared_logarithmic_error(jnp.array([9.0, 1.0]), jnp.array([99.0, 1.0]))
        Array(2.650949, dtype=float32)

    References:
        Tofallis, *A better measure of relative prediction accuracy for model selection
        and model estimation*, 2015.
    """
    if clip is not None and not clip > -1:
        raise ValueError(f"`clip` must be above -1, got {clip}.")
    prediction, target = _inputs.elementwise(
        where, prediction=prediction, target=target
    )
    if clip is not None:
        prediction = jnp.where(prediction <= clip, clip, prediction)
        target = jnp.where(target <= clip, clip, target)
    for name, value in (("prediction", prediction), ("target", target)):
        _inputs.require(value > -1, name, "above -1", value, where)
    return _numerics.mean_of(_squared_log_ratio, prediction, target, where=where)


def mean_pairwise_squared_error(
    prediction: ArrayLike, target: ArrayLike, where: ArrayLike | None = None, /
) -> Array:
    r"""Squared error of the differences between elements, whatever their common level.

    With the errors :math:`e = \hat y - y` of :math:`n` elements and their mean
    :math:`\bar e`,

    .. math:: \ell(\hat y, y) = \operatorname{mean}_{i \ne j}\,
        \left((\hat y_i - \hat y_j) - (y_i - y_j)\right)^2
        = \frac{2}{n - 1} \sum_i (e_i - \bar e)^2.

    Args:
        prediction: any shape, floating; each element makes a pair with every other.
        target: the shape of `prediction`.
        where: boolean, the shape of `prediction`; only elements that are True count.

    Returns:
        The mean over the ordered pairs of elements that count, shape ``()``, float32 or
        wider, in the squared unit of `prediction`.

    Raises:
        ValueError: shapes differ.
        TypeError: `prediction` is not floating, or `where` is not boolean.

    Guarantees:
        - Never negative, and unchanged when a constant is added to every prediction.
        - 0 with gradient 0 when there are fewer than two elements.
        - Elements left out reach neither value nor gradient, whatever they hold.
        - An element that is not finite makes the value nan, and the gradient 0.

    Examples:
        >>> mean_pairwise_squared_error(jnp.array([1.0, 3.0]), jnp.array([5.0, 5.0]))
        Array(4., dtype=float32)

    References:
        Eigen et al., *Depth Map Prediction from a Single Image using a Multi-Scale Deep
        Network*, 2014, equation 1 (of logarithms, over all pairs).
    """
    prediction, target = _inputs.elementwise(
        where, prediction=prediction, target=target
    )
    prediction, target = (_inputs.filled(where, x) for x in (prediction, target))
    kept = jnp.ones(prediction.shape, bool) if where is None else jnp.asarray(where)
    return _pairwise(prediction, target, kept)


def _relative_target_slope(p: Array, t: Array, epsilon: Array) -> Array:
    size = _size(t, epsilon)
    growth = jnp.where(jnp.abs(t) > epsilon, jnp.sign(t), 0)
    shrink = growth * _numerics.ratio(_relative_distance(p, t, epsilon), size)
    return _numerics.ratio(jnp.sign(t - p), size) - shrink


def _relative_epsilon_slope(p: Array, t: Array, epsilon: Array) -> Array:
    slope = -_relative_distance(p, t, epsilon) / epsilon
    return jnp.where(jnp.abs(t) < epsilon, slope, 0)


@_numerics.slopes(
    lambda p, t, epsilon: _numerics.ratio(jnp.sign(p - t), _size(t, epsilon)),
    _relative_target_slope,
    _relative_epsilon_slope,
)
def _relative_distance(prediction: Array, target: Array, epsilon: Array) -> Array:
    return jnp.abs(prediction - target) / _size(target, epsilon)


def _size(target: Array, epsilon: Array) -> Array:
    return jnp.maximum(jnp.abs(target), epsilon)


def _squared_log_ratio_slope(of: Array, p: Array, t: Array) -> Array:
    one = _numerics.hidden_one(of)
    return _numerics.ratio(2 * _log_ratio(p, t, one), one + of)


@_numerics.slopes(
    lambda p, t: _squared_log_ratio_slope(p, p, t),
    lambda p, t: -_squared_log_ratio_slope(t, p, t),
)
def _squared_log_ratio(prediction: Array, target: Array) -> Array:
    return _log_ratio(prediction, target, jnp.ones((), prediction.dtype)) ** 2


@_numerics.slopes(
    lambda p, t, one: 1 / (one + p),
    lambda p, t, one: -1 / (one + t),
    _numerics.no_slope,
)
def _log_ratio(prediction: Array, target: Array, one: Array) -> Array:
    """log((1 + prediction) / (1 + target)), from the smaller of the two.

    By how much the other is larger loses no digits, whether they are near or far.
    """
    least = one + jnp.minimum(prediction, target)
    growth = jnp.abs(prediction - target) / least
    log_ratio = jnp.sign(prediction - target) * jnp.log1p(growth)
    return log_ratio + _numerics.nan_if_negative(least)


@_numerics.slopes(
    lambda p, t, kept: 4 / _pairs_of_one(kept, p) * _deviation(p, t, kept),
    lambda p, t, kept: -4 / _pairs_of_one(kept, p) * _deviation(p, t, kept),
    lambda p, t, kept: jnp.zeros_like(p),
)
def _pairwise(prediction: Array, target: Array, kept: Array) -> Array:
    squares = _deviation(prediction, target, kept) ** 2
    return 2 / _pairs_of_one(kept, prediction) * jnp.sum(squares)


def _deviation(prediction: Array, target: Array, kept: Array) -> Array:
    errors = prediction - target
    rough = errors - _numerics.mean(errors, kept)
    # The mean of large errors is itself rounded; the mean of what remains is not.
    return jnp.where(kept, rough - _numerics.mean(rough, kept), 0)


def _pairs_of_one(kept: Array, like: Array) -> Array:
    others = jnp.sum(kept, dtype=jnp.int32) - 1
    return jnp.maximum(others, 1).astype(like.dtype)
