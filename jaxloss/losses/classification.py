"""Losses that judge the scores of several classes against the true one."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs, _numerics


def softmax_cross_entropy_with_integer_labels(
    logits: ArrayLike,
    label: ArrayLike,
    /,
    *,
    class_weights: ArrayLike | None = None,
    label_smoothing: float | Array = 0.0,
    z_loss: float | Array = 0.0,
    soft_cap: float | Array | None = None,
) -> Array:
    r"""Surprise, in nats, at the true class when classes follow a softmax.

    With :math:`p = \mathrm{softmax}(z)`, label :math:`y`, class weights :math:`w` (1 by
    default) and smoothing :math:`s`,

    .. math:: \ell(z, y) = -(1 - s)\, w_y \log p_y
        - s \operatorname{mean}_c w_c \log p_c
        + \zeta \bigl(\log \textstyle\sum_c e^{z_c}\bigr)^2,

    where the mean runs over the possible classes, those with :math:`z_c > -\infty`.

    Args:
        logits: unnormalised log-probabilities, shape ``(classes,)``, floating. A logit
            of ``-inf`` marks a class as impossible.
        label: index of the true class, shape ``()``, integer of any width.
        class_weights: factor for each class, shape ``(classes,)``.
        label_smoothing: share ``s`` of the target spread evenly over the possible
            classes, the true one included.
        z_loss: factor on the squared log-normaliser, which keeps logits from drifting.
        soft_cap: logits first become ``soft_cap * tanh(logits / soft_cap)``.

    Returns:
        The loss, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong, or an option is a number outside its range.
        TypeError: `logits` are not floating, or `label` is not an integer.

    Guarantees:
        - ``nan`` for a label outside ``[0, classes)``, so also for -1, with gradient 0:
          a wrong label is loud and never charged to another class.
        - ``inf`` when the true class is impossible. Impossible classes get gradient 0.
        - Unchanged when a constant is added to every logit, however large, and
          accurate to the last digits for a nearly certain prediction.
        - Without options the gradient sums to 0 and has norm at most ``sqrt(2)``.

    Examples:
        >>> softmax_cross_entropy_with_integer_labels(jnp.array([1.0, 3.0]), 1).round(4)
        Array(0.1269, dtype=float32)

    References:
        Bridle, *Probabilistic Interpretation of Feedforward Network Outputs*, 1990;
        Szegedy et al., *Rethinking the Inception Architecture*, 2016 (smoothing);
        Chowdhery et al., *PaLM*, 2022, section 5 (z-loss).
    """
    _inputs.share("label_smoothing", label_smoothing)
    (logits,) = _inputs.event(("classes",), logits=logits)
    (classes,) = logits.shape
    label = _inputs.label(label, classes)
    if soft_cap is not None:
        _inputs.positive("soft_cap", soft_cap)
        impossible = logits == -jnp.inf
        cap = _inputs.option("soft_cap", soft_cap, (), logits)
        capped = _cap(jnp.where(impossible, 0, logits), cap)
        logits = jnp.where(impossible, -jnp.inf, capped)

    loss = _surprise_at(logits, label)
    known = ~jnp.isnan(loss)
    weights = jnp.ones_like(logits)
    if class_weights is not None:
        weights = _inputs.option("class_weights", class_weights, (classes,), logits)
        hit = jnp.arange(classes, dtype=label.dtype) == label
        loss = loss * jnp.sum(weights, where=hit)
    if not _numerics.is_zero(label_smoothing):
        even = _mean_surprise(jnp.where(known, logits, 0), weights)
        loss = (1 - label_smoothing) * loss + label_smoothing * even
    if not _numerics.is_zero(z_loss):
        normalizer = _numerics.logsumexp(jnp.where(known, logits, 0))
        loss = loss + z_loss * normalizer**2
    return jnp.where(known, loss, jnp.nan)


def softmax_cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    /,
    *,
    class_weights: ArrayLike | None = None,
    label_smoothing: float | Array = 0.0,
) -> Array:
    r"""Cross-entropy, in nats, of a target distribution and a softmax.

    With :math:`p = \mathrm{softmax}(z)`, target :math:`y`, class weights :math:`w` (1
    by default) and smoothing :math:`s` over the :math:`K` possible classes, those with
    :math:`z_c > -\infty`,

    .. math:: \ell(z, y) = -\sum_c w_c
        \bigl((1 - s)\, y_c + \tfrac{s}{K}\bigr) \log p_c, \qquad 0 \log 0 = 0.

    Args:
        logits: unnormalised log-probabilities, shape ``(classes,)``, floating. A logit
            of ``-inf`` marks a class as impossible.
        target: weight of each class, shape ``(classes,)``. It need not sum to 1, and
            takes a gradient of its own; stop that one where it is not wanted.
        class_weights: factor for each class, shape ``(classes,)``.
        label_smoothing: share ``s`` of the target spread evenly over the possible
            classes.

    Returns:
        The loss, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong, or `label_smoothing` is a number outside [0, 1].
        TypeError: `logits` are not floating.

    Guarantees:
        - A target of 0 on an impossible class costs 0; any other costs ``inf``.
        - The gradient with respect to `logits` is the true one, ``p * sum(y) - y``,
          also for a target that does not sum to 1.
        - No derivative is nan; one that is infinite counts as 0.
        - Unchanged when a constant is added to every logit, however large.

    Examples:
        >>> softmax_cross_entropy(jnp.array([1.0, 3.0]), jnp.array([0.25, 0.75]))
        Array(0.626928, dtype=float32)

    References:
        Bridle, *Probabilistic Interpretation of Feedforward Network Outputs*, 1990.
    """
    _inputs.share("label_smoothing", label_smoothing)
    logits, target = _inputs.event(("classes",), logits=logits, target=target)
    if not _numerics.is_zero(label_smoothing):
        possible = logits > -jnp.inf
        kept = jnp.maximum(jnp.sum(possible), 1).astype(logits.dtype)
        even = jnp.where(possible, label_smoothing / kept, 0)
        target = (1 - label_smoothing) * target + even
    if class_weights is not None:
        target = target * _inputs.option(
            "class_weights", class_weights, logits.shape, logits
        )
    return _cross_entropy(logits, target)


def categorical_cross_entropy(
    probability: ArrayLike,
    target: ArrayLike,
    /,
    *,
    normalize: bool = False,
    clip: float = 0.0,
    label_smoothing: float | Array = 0.0,
) -> Array:
    r"""Cross-entropy, in nats, of a target distribution and given probabilities.

    With smoothing :math:`s` over the :math:`C` classes,

    .. math:: \ell(p, y) = -\sum_c \bigl((1 - s)\, y_c + \tfrac{s}{C}\bigr) \log p_c,
        \qquad 0 \log 0 = 0.

    From logits use `softmax_cross_entropy`, which keeps the digits that a probability
    near 1 has lost.

    Args:
        probability: probability of each class, shape ``(classes,)``, floating, in
            [0, 1].
        target: weight of each class, shape ``(classes,)``.
        normalize: divide `probability` by its sum first.
        clip: probabilities are first held in ``[clip, 1 - clip]``. Beyond it the
            derivative is 0, exactly where the example is worst; for migration only.
        label_smoothing: share ``s`` of the target spread evenly over the classes.

    Returns:
        The loss, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong, or an option is a number outside [0, 1].
        TypeError: `probability` is not floating.

    Guarantees:
        - ``inf`` when a class of probability 0 has a target above 0.
        - ``nan`` when a probability is outside [0, 1], or when all are 0 and
          `normalize` is on.
        - No derivative is nan; one that is infinite counts as 0.

    Examples:
        >>> categorical_cross_entropy(jnp.array([0.1, 0.8, 0.1]), jnp.array([0, 1, 0]))
        Array(0.223144, dtype=float32)

    References:
        Good, *Rational Decisions*, 1952.
    """
    _inputs.share("clip", clip)
    _inputs.share("label_smoothing", label_smoothing)
    probability, target = _inputs.event(
        ("classes",), probability=probability, target=target
    )
    possible = (probability >= 0) & (probability <= 1)
    _inputs.require(possible, "probability", "in [0, 1]", probability)
    valid = jnp.all(possible)
    if normalize:
        valid &= jnp.any(probability > 0)
    probability = jnp.where(valid, probability, 1)
    if normalize:
        probability = probability / jnp.sum(probability)
    if clip:
        probability = jnp.clip(probability, clip, 1 - clip)
    if not _numerics.is_zero(label_smoothing):
        target = (1 - label_smoothing) * target + label_smoothing / target.size
    return jnp.where(valid, jnp.sum(_log_score(probability, target)), jnp.nan)


@jax.custom_jvp
def _surprise_at(logits: Array, label: Array) -> Array:
    return _odds_against(logits, label)[0]


@_surprise_at.defjvp
def _surprise_at_jvp(primals, tangents):
    loss, wrong, highest, total = _odds_against(*primals)
    logits, hit = _one_pass(*primals)
    slope = wrong * jnp.where(hit, -1, jnp.exp(logits - highest) / total)
    slope = jnp.where(jnp.isfinite(slope), slope, 0)
    return loss, jnp.sum(slope * tangents[0])


def _odds_against(logits: Array, label: Array) -> tuple[Array, Array, Array, Array]:
    """The loss as softplus of the log-odds against the label.

    Nothing cancels on the way, neither for logits far from 0 nor for a nearly certain
    label. Also returned: probability of all other classes, the highest of their logits
    and the sum of their exponentials relative to it.
    """
    largest = jnp.finfo(logits.dtype).max
    others, hit = _one_pass(logits, label)
    highest = jnp.max(jnp.where(hit, -jnp.inf, others), initial=-largest)
    highest = jax.lax.stop_gradient(jnp.minimum(highest, largest))
    others, hit = _one_pass(logits, label)
    total = jnp.sum(jnp.where(hit, 0, jnp.exp(others - highest)))
    alone = total == 0
    total = jnp.where(alone, 1, total)
    own = logits.at[label].get(
        mode="fill", fill_value=jnp.nan, wrap_negative_indices=False
    )
    log_odds = (highest - own) + jnp.where(alone, -jnp.inf, jnp.log(total))
    return _numerics.softplus(log_odds), jax.nn.sigmoid(log_odds), highest, total


def _one_pass(logits: Array, label: Array) -> tuple[Array, Array]:
    """The logits and where the label is, sharing no temporary with another pass."""
    logits, label = jax.lax.optimization_barrier((logits, label))
    return logits, jnp.arange(logits.size, dtype=label.dtype) == label


@_numerics.slopes(
    lambda z, t: jnp.exp(_log_softmax(z)) * jnp.sum(t) - t,
    lambda z, t: -_log_softmax(z),
)
def _cross_entropy(logits: Array, target: Array) -> Array:
    return -jnp.sum(_numerics.times(target, _log_softmax(logits)))


@_numerics.slopes(
    lambda z, w: jnp.exp(_log_softmax(z)) * _mean_possible(z, w) - _share(z) * w,
    lambda z, w: -_numerics.times(_share(z), _log_softmax(z)),
)
def _mean_surprise(logits: Array, weights: Array) -> Array:
    return -_mean_possible(logits, weights * _log_softmax(logits))


def _mean_possible(logits: Array, values: Array) -> Array:
    return jnp.sum(_numerics.times(_share(logits), values))


def _share(logits: Array) -> Array:
    """One part of unity for each possible class, 0 for the others."""
    possible = (logits > -jnp.inf).astype(logits.dtype)
    return possible / jnp.maximum(jnp.sum(possible), 1)


@jax.custom_jvp
def _log_softmax(logits: Array) -> Array:
    """Log-probabilities that are accurate also next to 0, nan when none is defined."""
    highest = jnp.max(logits, initial=-jnp.inf)
    at_top = logits == highest
    tops = jnp.sum(at_top).astype(logits.dtype)
    below = jnp.where(at_top, 0, logits - jnp.where(at_top, 0, highest))
    rest = jnp.sum(jnp.exp(below), where=~at_top) + (tops - 1)
    undefined = (highest == -jnp.inf) | ((highest == jnp.inf) & (tops > 1))
    return below - jnp.log1p(rest) + jnp.where(undefined, jnp.nan, 0)


@_log_softmax.defjvp
def _log_softmax_jvp(primals, tangents):
    log_p = _log_softmax(*primals)
    return log_p, tangents[0] - jnp.sum(jnp.exp(log_p) * tangents[0])


@_numerics.slopes(
    lambda z, cap: 1 - jnp.tanh(z / cap) ** 2,
    lambda z, cap: jnp.tanh(z / cap) - z / cap * (1 - jnp.tanh(z / cap) ** 2),
)
def _cap(logits: Array, cap: Array) -> Array:
    return cap * jnp.tanh(logits / cap)


@_numerics.slopes(lambda p, t: -_numerics.ratio(t, p), lambda p, t: -jnp.log(p))
def _log_score(probability: Array, target: Array) -> Array:
    return -_numerics.times(target, jnp.log(probability))
