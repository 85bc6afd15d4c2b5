"""Losses that judge yes-or-no answers: one, or an array of independent ones."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs, _numerics


def sigmoid_binary_cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    where: ArrayLike | None = None,
    /,
    *,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float | Array = 0.0,
) -> Array:
    r"""Surprise, in nats, at independent answers whose log-odds are the logits.

    With :math:`p = \sigma(z)` and positive weight :math:`q` (1 by default),

    .. math:: \ell(z, y) = \operatorname{mean}_i\,
        \bigl(-q\,y_i \log p_i - (1 - y_i) \log(1 - p_i)\bigr).

    Args:
        logits: log-odds of "yes", any shape, floating.
        target: probability of "yes" in [0, 1], the shape of `logits`; integers and
            booleans are welcome.
        where: boolean, the shape of `logits`; only elements that are True count.
        pos_weight: factor on the "yes" term, shape ``()`` or that of `logits`.
        label_smoothing: share ``s`` of the target moved to one half:
            ``(1 - s) target + s / 2``.

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider.

    Raises:
        ValueError: shapes differ, or `label_smoothing` is a number outside [0, 1].
        TypeError: `logits` are not floating, or `where` is not boolean.

    Guarantees:
        - Exact for logits of any size: an infinite one on the right side costs 0, on
          the wrong side the largest finite number.
        - Without `pos_weight` the derivative is ``sigmoid(logit) - target``, within
          [-1, 1].
        - Elements left out reach neither value nor gradient, whatever they hold; with
          none left the value is 0 and the gradient 0.
        - An element that is nan makes the value nan, and has gradient 0.

    Examples:
        >>> sigmoid_binary_cross_entropy(jnp.array([0.0, 100.0]), jnp.array([1, 0]))
        Array(50.346573, dtype=float32)

    References:
        Good, *Rational Decisions*, 1952.
    """
    _inputs.share("label_smoothing", label_smoothing)
    logits, target = _inputs.elementwise(where, logits=logits, target=target)
    _inputs.require((target >= 0) & (target <= 1), "target", "in [0, 1]", target, where)
    target = _smooth(target, label_smoothing, where)
    if pos_weight is None:
        return _numerics.mean_of(_logistic, logits, target, where=where)
    shape = logits.shape if jnp.ndim(pos_weight) else ()
    pos_weight = _inputs.option("pos_weight", pos_weight, shape, logits)
    each = _weighted_logistic
    return _numerics.mean_of(each, logits, target, pos_weight, where=where)


def binary_cross_entropy(
    probability: ArrayLike,
    target: ArrayLike,
    where: ArrayLike | None = None,
    /,
    *,
    clip: float = 0.0,
    min_log: float | Array = -math.inf,
    label_smoothing: float | Array = 0.0,
) -> Array:
    r"""Surprise, in nats, at independent answers with the given probabilities of "yes".

    .. math:: \ell(p, y) = \operatorname{mean}_i\,
        \bigl(-y_i \log p_i - (1 - y_i) \log(1 - p_i)\bigr), \qquad 0 \log 0 = 0

    From logits use `sigmoid_binary_cross_entropy`: a probability near 1 has already
    lost the digits that tell how near.

    Args:
        probability: probability of "yes", any shape, floating, in [0, 1].
        target: probability of "yes" in [0, 1], the shape of `probability`.
        where: boolean, the shape of `probability`; only elements that are True count.
        clip: probabilities are first held in ``[clip, 1 - clip]``. Beyond it the
            derivative is 0, exactly where the example is worst; for migration only.
        min_log: both logarithms are held at this value or above, with the same caveat;
            -100 is what PyTorch does.
        label_smoothing: share ``s`` of the target moved to one half:
            ``(1 - s) target + s / 2``.

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider.

    Raises:
        ValueError: shapes differ, or `clip` or `label_smoothing` is a number outside
            [0, 1].
        TypeError: `probability` is not floating, or `where` is not boolean.

    Guarantees:
        - 0 for a certain and right answer, ``inf`` for a certain and wrong one.
        - ``nan`` for a probability outside [0, 1].
        - No derivative is nan; one that is infinite counts as 0.
        - Elements left out reach neither value nor gradient, whatever they hold; with
          none left the value is 0 and the gradient 0.

    Examples:
        >>> binary_cross_entropy(jnp.array([0.5, 1.0]), jnp.array([1, 1])).round(4)
        Array(0.3466, dtype=float32)

    References:
        Good, *Rational Decisions*, 1952.
    """
    _inputs.share("clip", clip)
    _inputs.share("label_smoothing", label_smoothing)
    probability, target = _inputs.elementwise(
        where, probability=probability, target=target
    )
    for name, value in (("probability", probability), ("target", target)):
        _inputs.require((value >= 0) & (value <= 1), name, "in [0, 1]", value, where)
    possible = True
    if clip:
        possible = _numerics.within(_inputs.filled(where, probability), 0, 1)
        probability = jnp.clip(probability, clip, 1 - clip)
    target = _smooth(target, label_smoothing, where)
    min_log = _inputs.option("min_log", min_log, (), probability)
    min_log = jnp.maximum(min_log, jnp.finfo(probability.dtype).min)
    loss = 0 - _numerics.mean_of(
        _log_likelihood, probability, target, min_log, where=where
    )
    return jnp.where(possible & ~jnp.isnan(loss), _endless(loss), jnp.nan)


def weighted_sigmoid_cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    where: ArrayLike | None = None,
    /,
    *,
    pos_weight: ArrayLike,
) -> Array:
    r"""Surprise, in nats, at independent answers, of which "yes" has a weight.

    The name under which TensorFlow keeps `sigmoid_binary_cross_entropy` with
    `pos_weight`; it is the same function.

    Args:
        logits: log-odds of "yes", any shape, floating.
        target: probability of "yes" in [0, 1], the shape of `logits`.
        where: boolean, the shape of `logits`; only elements that are True count.
        pos_weight: factor on the "yes" term, shape ``()`` or that of `logits`.

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider.

    Raises:
        ValueError: shapes differ.
        TypeError: `logits` are not floating, or `where` is not boolean.

    Examples:
        >>> logits, target = jnp.array([0.0, 100.0]), jnp.array([1, 0])
        >>> weighted_sigmoid_cross_entropy(logits, target, pos_weight=3.0)
        Array(51.03972, dtype=float32)
    """
    return sigmoid_binary_cross_entropy(logits, target, where, pos_weight=pos_weight)


def multilabel_soft_margin_loss(
    logits: ArrayLike,
    target: ArrayLike,
    /,
    *,
    class_weights: ArrayLike | None = None,
) -> Array:
    r"""Surprise, in nats, per class, when each class may be present or not.

    With :math:`p = \sigma(z)` and class weights :math:`w` (1 by default),

    .. math:: \ell(z, y) = \frac1C \sum_c w_c
        \bigl(-y_c \log p_c - (1 - y_c) \log(1 - p_c)\bigr).

    Args:
        logits: log-odds of the presence of each class, shape ``(classes,)``, floating.
        target: probability that each class is present, in [0, 1], shape
            ``(classes,)``; integers and booleans are welcome.
        class_weights: factor for each class, shape ``(classes,)``.

    Returns:
        The loss, shape ``()``, float32 or wider. Weights do not change the divisor,
        which is the number of classes.

    Raises:
        ValueError: a shape is wrong.
        TypeError: `logits` are not floating.

    Guarantees:
        - Without weights it is `sigmoid_binary_cross_entropy`.
        - Exact for logits of any size.

    Examples:
        >>> logits, target = jnp.array([0.0, 100.0]), jnp.array([1, 0])
        >>> multilabel_soft_margin_loss(logits, target)
        Array(50.346573, dtype=float32)

    References:
        Good, *Rational Decisions*, 1952.
    """
    logits, target = _inputs.event(("classes",), logits=logits, target=target)
    _inputs.require((target >= 0) & (target <= 1), "target", "in [0, 1]", target)
    if class_weights is None:
        return _numerics.mean_of(_logistic, logits, target)
    weights = _inputs.option("class_weights", class_weights, logits.shape, logits)

    def each(weights: Array, logits: Array, target: Array) -> Array:
        return _numerics.times(weights, _logistic(logits, target))

    return _numerics.mean_of(each, weights, logits, target)


def soft_margin_loss(
    score: ArrayLike, target: ArrayLike, where: ArrayLike | None = None, /
) -> Array:
    r"""Surprise, in nats, at independent answers that are sides, -1 or 1.

    .. math:: \ell(s, y) = \operatorname{mean}_i\, \log\bigl(1 + e^{-y_i s_i}\bigr),
        \qquad y_i \in \{-1, 1\}

    It is `sigmoid_binary_cross_entropy` for the labels ``(target + 1) / 2``.

    Args:
        score: log-odds of the side 1, any shape, floating.
        target: the side, -1 or 1, the shape of `score`. Labels in {0, 1} become sides
            with ``2 * label - 1``.
        where: boolean, the shape of `score`; only elements that are True count.

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider.

    Raises:
        ValueError: shapes differ.
        TypeError: `score` is not floating, or `where` is not boolean.

    Guarantees:
        - Exact for scores of any size: -100 on the side 1 costs 100.
        - ``nan`` for a target of 0, which is on no side: labels in {0, 1} are not
          taken for sides silently.
        - Elements left out reach neither value nor gradient, whatever they hold; with
          none left the value is 0 and the gradient 0.

    Examples:
        >>> soft_margin_loss(jnp.array([0.0, -100.0]), jnp.array([1, 1]))
        Array(50.346573, dtype=float32)

    References:
        Friedman, Hastie & Tibshirani, *Additive Logistic Regression*, 2000.
    """
    score, target = _inputs.elementwise(where, score=score, target=target)
    _inputs.require(jnp.abs(target) == 1, "target", "-1 or 1", target, where)
    return _numerics.mean_of(_soft_margin, score, target, where=where)


def _smooth(
    target: Array, label_smoothing: float | Array, where: ArrayLike | None
) -> Array:
    if _numerics.is_zero(label_smoothing):
        return target
    target = _inputs.filled(where, target)
    return (1 - label_smoothing) * target + label_smoothing / 2


@_numerics.slopes(
    lambda z, y: _sigmoid(z, _numerics.hidden_one(z)) - y, lambda z, y: -z
)
def _logistic(logits: Array, target: Array) -> Array:
    distance = jnp.abs(logits)
    finite = jnp.minimum(distance, jnp.finfo(logits.dtype).max)
    wrong_share = 0.5 + (0.5 - target) * jnp.sign(logits)  # 1 - y above 0, y below
    return finite * wrong_share + _numerics.log1p_of_share(_numerics.decay(distance))


def _sigmoid_slope(logits: Array, one: Array) -> Array:
    return _sigmoid(logits, one) * _sigmoid(-logits, one)


@_numerics.slopes(_sigmoid_slope, _numerics.no_slope)
def _sigmoid(logits: Array, one: Array) -> Array:
    return one / (one + _numerics.exponential(-logits))


def _weighted_logistic_slope(z: Array, y: Array, q: Array) -> Array:
    one = _numerics.hidden_one(z)
    return (one - y) * _sigmoid(z, one) - q * y * _sigmoid(-z, one)


@_numerics.slopes(
    _weighted_logistic_slope,
    lambda z, y, q: q * _numerics.softplus(-z) - _numerics.softplus(z),
    lambda z, y, q: y * _numerics.softplus(-z),
)
def _weighted_logistic(logits: Array, target: Array, pos_weight: Array) -> Array:
    distance = jnp.abs(logits)
    finite = jnp.minimum(distance, jnp.finfo(logits.dtype).max)
    no, yes = 1 - target, pos_weight * target
    above = 0.5 + 0.5 * jnp.sign(logits)
    wrong_share = no * above + yes * (1 - above)
    return finite * wrong_share + (no + yes) * _numerics.log1p_of_share(
        _numerics.decay(distance)
    )


@_numerics.slopes(jnp.ones_like)
def _endless(loss: Array) -> Array:
    """Infinity where only the logarithm of 0, held finite, can make it so large."""
    return jnp.where(loss > 2.0**64, jnp.inf, loss)


def _likelihood_slope(p: Array, y: Array, m: Array) -> Array:
    one = _numerics.hidden_one(p)
    no = jnp.where(one - p > jnp.exp(m), _numerics.ratio(one - y, one - p), 0)
    return jnp.where(p > jnp.exp(m), _numerics.ratio(y, p), 0) - no


@_numerics.slopes(
    _likelihood_slope,
    lambda p, y, m: jnp.maximum(jnp.log(p), m) - jnp.maximum(jnp.log1p(-p), m),
    lambda p, y, m: (
        jnp.where(1 - p < jnp.exp(m), 1 - y, 0) + jnp.where(p < jnp.exp(m), y, 0)
    ),
)
def _log_likelihood(probability: Array, target: Array, min_log: Array) -> Array:
    """nan for a probability outside [0, 1], of which one of the logarithms is nan."""
    # Hidden, the bound does not change places with the rest: a maximum keeps a nan of
    # its second operand alone.
    min_log = jax.lax.optimization_barrier(min_log)
    yes = jnp.maximum(min_log, _numerics.log_of_share(probability))
    no = jnp.maximum(min_log, _numerics.log_complement(probability))
    return target * yes + (1 - target) * no


@_numerics.slopes(
    lambda s, y: -y * jax.nn.sigmoid(-y * s),
    lambda s, y: -s * jax.nn.sigmoid(-y * s),
)
def _soft_margin(score: Array, target: Array) -> Array:
    wrong = -(target * (target / target)) * score  # 0 is on no side: nan
    return 0.5 * (wrong + jnp.abs(wrong)) + _numerics.log1p_of_share(
        _numerics.decay(jnp.abs(wrong))
    )
