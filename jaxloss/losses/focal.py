"""Cross-entropies reshaped by the probability of being wrong."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs, _numerics


def sigmoid_focal_loss(
    logits: ArrayLike,
    target: ArrayLike,
    where: ArrayLike | None = None,
    /,
    *,
    alpha: float | Array | None = None,
    gamma: float | Array = 2.0,
) -> Array:
    r"""Surprise at independent answers, in which easy answers hardly count.

    With :math:`p = \sigma(z)`, the probability of being wrong
    :math:`w = (1 - y)\,p + y\,(1 - p)` and :math:`\alpha_y = \alpha y + (1 - \alpha)
    (1 - y)` (1 when `alpha` is None),

    .. math:: \ell(z, y) = \operatorname{mean}_i\, \alpha_{y_i} w_i^{\gamma}
        \bigl(-y_i \log p_i - (1 - y_i) \log(1 - p_i)\bigr).

    Args:
        logits: log-odds of "yes", any shape, floating.
        target: probability of "yes" in [0, 1], the shape of `logits`; integers and
            booleans are welcome.
        where: boolean, the shape of `logits`; only elements that are True count.
        alpha: factor on "yes", with ``1 - alpha`` on "no"; None for 1 on both.
        gamma: how strongly easy answers are played down, from 0 (not at all, then this
            is `sigmoid_binary_cross_entropy`) on.

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider.

    Raises:
        ValueError: shapes differ, `alpha` is a number outside [0, 1], or `gamma` one
            below 0.
        TypeError: `logits` are not floating, or `where` is not boolean.

    Guarantees:
        - Exact for logits of any size: no probability is rounded or clipped, and a
          hopeless answer keeps its full derivative, whatever `gamma`.
        - An infinite logit costs 0 on the right side.
        - Elements left out reach neither value nor gradient, whatever they hold; with
          none left the value is 0 and the gradient 0.
        - An element that is nan makes the value nan, and has gradient 0.

    Examples:
        >>> sigmoid_focal_loss(jnp.array([2.0, -200.0]), jnp.array([1, 1]))
        Array(100.0009, dtype=float32)

    References:
        Lin et al., *Focal Loss for Dense Object Detection*, 2017.
    """
    _inputs.not_negative("gamma", gamma)
    logits, target = _inputs.elementwise(where, logits=logits, target=target)
    _inputs.require((target >= 0) & (target <= 1), "target", "in [0, 1]", target, where)
    gamma = _inputs.option("gamma", gamma, (), logits)
    if alpha is None:
        return _numerics.mean_of(
            _even_sigmoid_focal, logits, target, gamma, where=where
        )
    _inputs.share("alpha", alpha)
    yes = _inputs.option("alpha", alpha, (), logits)
    operands = (logits, target, 1 - yes, yes, gamma)
    return _numerics.mean_of(_sigmoid_focal, *operands, where=where)


def softmax_focal_loss_with_integer_labels(
    logits: ArrayLike,
    label: ArrayLike,
    /,
    *,
    class_weights: ArrayLike | None = None,
    gamma: float | Array = 2.0,
) -> Array:
    r"""Surprise at the true class, in which easy examples hardly count.

    With :math:`p = \mathrm{softmax}(z)`, label :math:`y` and class weights :math:`w` (1
    by default),

    .. math:: \ell(z, y) = -w_y\, (1 - p_y)^{\gamma} \log p_y.

    Args:
        logits: unnormalised log-probabilities, shape ``(classes,)``, floating. A logit
            of ``-inf`` marks a class as impossible.
        label: index of the true class, shape ``()``, integer of any width.
        class_weights: factor for each class, shape ``(classes,)``; called alpha
            elsewhere.
        gamma: how strongly easy examples are played down, from 0 (not at all, then
            this is `softmax_cross_entropy_with_integer_labels`) on.

    Returns:
        The loss, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong, or `gamma` is a number below 0.
        TypeError: `logits` are not floating, or `label` is not an integer.

    Guarantees:
        - ``nan`` for a label outside ``[0, classes)``, with gradient 0.
        - ``inf`` when the true class is impossible.
        - Accurate to the last digits for a nearly certain prediction, whatever `gamma`.

    Examples:
        >>> logits = jnp.log(jnp.array([3.0, 1.0]))
        >>> softmax_focal_loss_with_integer_labels(logits, 0).round(5)
        Array(0.01798, dtype=float32)

    References:
        Lin et al., *Focal Loss for Dense Object Detection*, 2017.
    """
    _inputs.not_negative("gamma", gamma)
    (logits,) = _inputs.event(("classes",), logits=logits)
    label = _inputs.label(label, logits.size)
    gamma = _inputs.option("gamma", gamma, (), logits)
    loss = _focal_of_odds(_numerics.log_odds_against(logits, label), gamma)
    if class_weights is None:
        return loss
    weights = _inputs.option("class_weights", class_weights, logits.shape, logits)
    hit = jnp.arange(logits.size, dtype=label.dtype) == label
    return loss * jnp.sum(weights, where=hit)


def softmax_focal_loss(
    logits: ArrayLike,
    target: ArrayLike,
    /,
    *,
    class_weights: ArrayLike | None = None,
    gamma: float | Array = 2.0,
    label_smoothing: float | Array = 0.0,
) -> Array:
    r"""Cross-entropy of a target and a softmax, in which easy classes hardly count.

    With :math:`p = \mathrm{softmax}(z)`, target :math:`y`, class weights :math:`w` (1
    by default) and smoothing :math:`s` over the :math:`K` possible classes,

    .. math:: \ell(z, y) = -\sum_c w_c \bigl((1 - s)\, y_c + \tfrac{s}{K}\bigr)
        (1 - p_c)^{\gamma} \log p_c, \qquad 0 \log 0 = 0.

    Args:
        logits: unnormalised log-probabilities, shape ``(classes,)``, floating. A logit
            of ``-inf`` marks a class as impossible.
        target: weight of each class, shape ``(classes,)``. It need not sum to 1.
        class_weights: factor for each class, shape ``(classes,)``; called alpha
            elsewhere.
        gamma: how strongly easy classes are played down, from 0 (not at all, then this
            is `softmax_cross_entropy`) on.
        label_smoothing: share ``s`` of the target spread evenly over the possible
            classes.

    Returns:
        The loss, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong, or an option is a number outside its range.
        TypeError: `logits` are not floating.

    Guarantees:
        - For a target of one class it is `softmax_focal_loss_with_integer_labels`.
        - A target of 0 on an impossible class costs 0; any other costs ``inf``.
        - No derivative is nan; one that is infinite counts as 0.

    Examples:
        >>> logits = jnp.log(jnp.array([3.0, 1.0]))
        >>> softmax_focal_loss(logits, jnp.array([0.5, 0.5])).round(5)
        Array(0.39889, dtype=float32)

    References:
        Lin et al., *Focal Loss for Dense Object Detection*, 2017.
    """
    _inputs.not_negative("gamma", gamma)
    _inputs.share("label_smoothing", label_smoothing)
    logits, target = _inputs.event(("classes",), logits=logits, target=target)
    gamma = _inputs.option("gamma", gamma, (), logits)
    if not _numerics.is_zero(label_smoothing):
        target = _numerics.smooth(target, logits > -jnp.inf, label_smoothing)
    if class_weights is not None:
        target = target * _inputs.option(
            "class_weights", class_weights, logits.shape, logits
        )
    return _softmax_focal(logits, target, gamma)


def poly_loss_cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    /,
    *,
    epsilon: float | Array = 2.0,
) -> Array:
    r"""Cross-entropy, in nats, plus a share of the probability of being wrong.

    With :math:`p = \mathrm{softmax}(z)` and target :math:`y`,

    .. math:: \ell(z, y) = -\sum_c y_c \log p_c + \epsilon \sum_c y_c\,(1 - p_c),
        \qquad 0 \log 0 = 0.

    Args:
        logits: unnormalised log-probabilities, shape ``(classes,)``, floating. A logit
            of ``-inf`` marks a class as impossible.
        target: weight of each class, shape ``(classes,)``.
        epsilon: what is added to the first coefficient, 1, of the expansion of
            cross-entropy in powers of ``1 - p``; with -1 the first power is gone.

    Returns:
        The loss, shape ``()``, float32 or wider. Below 0 only for `epsilon` below -1.

    Raises:
        ValueError: a shape is wrong.
        TypeError: `logits` are not floating.

    Guarantees:
        - A target of 0 on an impossible class costs 0; any other costs ``inf``.
        - No derivative is nan; one that is infinite counts as 0.

    Examples:
        >>> logits = jnp.log(jnp.array([3.0, 1.0]))
        >>> poly_loss_cross_entropy(logits, jnp.array([1.0, 0.0])).round(4)
        Array(0.7877, dtype=float32)

    References:
        Leng et al., *PolyLoss: A Polynomial Expansion Perspective of Classification
        Loss Functions*, 2022.
    """
    logits, target = _inputs.event(("classes",), logits=logits, target=target)
    epsilon = _inputs.option("epsilon", epsilon, (), logits)
    return _poly(logits, target, epsilon)


@_numerics.slopes(lambda z: jax.nn.sigmoid(z) * jax.nn.sigmoid(-z))
def _sigmoid(logits: Array) -> Array:
    one = _numerics.hidden_one(logits)
    return one / (one + _numerics.exponential(-logits))


def _sigmoid_focal_slope(z, y, no, yes, gamma):
    one = _numerics.hidden_one(z)
    p, q = _sigmoid(z), _sigmoid(-z)
    wrong = (one - y) * p + y * q
    distance, half = jnp.abs(z), one / 2
    small = _numerics.log1p_of_share(_numerics.decay(distance))
    surprise = half * distance + (half - y) * z + small
    steeper = gamma * (one - y - y) * _numerics.ratio(p * q, wrong) * surprise
    focus = (no * (one - y) + yes * y) * _numerics.power(wrong, gamma)
    return focus * (steeper + ((one - y) * p - y * q))


def _sigmoid_focal_target_slope(z, y, no, yes, gamma):
    p, q = jax.nn.sigmoid(z), jax.nn.sigmoid(-z)
    wrong = (1 - y) * p + y * q
    surprise = (1 - y) * _numerics.softplus(z) + y * _numerics.softplus(-z)
    steeper = gamma * (q - p) * _numerics.ratio(surprise, wrong) - z
    balance = no * (1 - y) + yes * y
    return _numerics.power(wrong, gamma) * ((yes - no) * surprise + balance * steeper)


def _sigmoid_focal_no_slope(z, y, no, yes, gamma) -> Array:
    return (1 - y) * _even_sigmoid_focal(z, y, gamma)


def _sigmoid_focal_yes_slope(z, y, no, yes, gamma) -> Array:
    return y * _even_sigmoid_focal(z, y, gamma)


def _sigmoid_focal_gamma_slope(z, y, no, yes, gamma) -> Array:
    return _numerics.times(_sigmoid_focal(z, y, no, yes, gamma), jnp.log(_wrong(z, y)))


@_numerics.slopes(
    _sigmoid_focal_slope,
    _sigmoid_focal_target_slope,
    _sigmoid_focal_no_slope,
    _sigmoid_focal_yes_slope,
    _sigmoid_focal_gamma_slope,
)
def _sigmoid_focal(
    logits: Array, target: Array, no: Array, yes: Array, gamma: Array
) -> Array:
    balance = no * (1 - target) + yes * target
    return balance * _even_sigmoid_focal(logits, target, gamma)


@_numerics.slopes(
    lambda z, y, gamma: _sigmoid_focal_slope(z, y, 1.0, 1.0, gamma),
    lambda z, y, gamma: _sigmoid_focal_target_slope(z, y, 1.0, 1.0, gamma),
    lambda z, y, gamma: _sigmoid_focal_gamma_slope(z, y, 1.0, 1.0, gamma),
)
def _even_sigmoid_focal(logits: Array, target: Array, gamma: Array) -> Array:
    distance = jnp.abs(logits)
    finite = jnp.minimum(distance, jnp.finfo(logits.dtype).max)
    wrong_share = 0.5 + (0.5 - target) * jnp.sign(logits)  # 1 - y above 0, y below
    surprise = finite * wrong_share + _numerics.log1p_of_share(
        _numerics.decay(distance)
    )
    return _numerics.power(_wrong(logits, target), gamma) * surprise


def _wrong(logits: Array, target: Array) -> Array:
    """Probability of being wrong, (1 - y) p + y (1 - p), where nothing cancels."""
    wrong_share = 0.5 + (0.5 - target) * jnp.sign(logits)
    # A sigmoid of the compiler takes longer than a division by what is at hand.
    odds = _numerics.decay(jnp.abs(logits))
    return wrong_share + (1 - 2 * wrong_share) * (odds / (1 + odds))


def _focal_of_odds_slope(u: Array, gamma: Array) -> Array:
    wrong = jax.nn.sigmoid(u)
    steeper = gamma * _numerics.times(jax.nn.sigmoid(-u), _numerics.softplus(u))
    return _numerics.power(wrong, gamma) * (steeper + wrong)


def _focal_of_odds_gamma_slope(u: Array, gamma: Array) -> Array:
    return _numerics.times(_focal_of_odds(u, gamma), jax.nn.log_sigmoid(u))


@_numerics.slopes(_focal_of_odds_slope, _focal_of_odds_gamma_slope)
def _focal_of_odds(log_odds: Array, gamma: Array) -> Array:
    wrong = jax.nn.sigmoid(log_odds)
    return _numerics.power(wrong, gamma) * _numerics.softplus(log_odds)


def _focal(log_p: Array, gamma: Array) -> Array:
    return -_numerics.times(_numerics.power(-jnp.expm1(log_p), gamma), log_p)


def _focal_slope(log_p: Array, gamma: Array) -> Array:
    wrong = -jnp.expm1(log_p)
    nearly_certain = _numerics.times(jnp.exp(log_p), log_p)
    steeper = gamma * _numerics.ratio(nearly_certain, wrong)
    return _numerics.power(wrong, gamma) * (steeper - 1)


def _focal_gamma_slope(log_p: Array, gamma: Array) -> Array:
    return _numerics.times(_focal(log_p, gamma), jnp.log(-jnp.expm1(log_p)))


def _expected(
    term: Callable[..., Array],
    slope: Callable[..., Array],
    option_slope: Callable[..., Array],
) -> Callable[..., Array]:
    """Sum over the classes of target times term(log p, option), with its slopes."""

    def logits_slope(logits: Array, target: Array, option: Array) -> Array:
        log_p = _numerics.log_softmax(logits)
        pull = _numerics.times(target, slope(log_p, option))
        # Of pull - p * sum(pull) the own part first: 1 - p must not cancel.
        rest = jnp.sum(pull) - pull
        return -jnp.expm1(log_p) * pull - jnp.exp(log_p) * rest

    def total(
        each: Callable[..., Array], logits: Array, target: Array, option: Array
    ) -> Array:
        log_p = _numerics.log_softmax(logits)
        return jnp.sum(_numerics.times(target, each(log_p, option)))

    return _numerics.slopes(
        logits_slope,
        lambda logits, target, option: term(_numerics.log_softmax(logits), option),
        functools.partial(total, option_slope),
    )(functools.partial(total, term))


_softmax_focal = _expected(_focal, _focal_slope, _focal_gamma_slope)
_poly = _expected(
    lambda log_p, epsilon: -log_p - epsilon * jnp.expm1(log_p),
    lambda log_p, epsilon: -1 - epsilon * jnp.exp(log_p),
    lambda log_p, epsilon: -jnp.expm1(log_p),
)
