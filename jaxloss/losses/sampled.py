"""Losses that estimate a sum over many classes from a sample of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs, _numerics


class Candidates(NamedTuple):
    """Classes drawn as negatives, in the order in which the losses take them.

    Attributes:
        sampled: the classes drawn, shape ``(samples,)``.
        log_expected_true: log of how often each label is expected in such a sample, the
            shape of the labels.
        log_expected_sampled: the same for the classes drawn, shape ``(samples,)``.
    """

    sampled: Array
    log_expected_true: Array
    log_expected_sampled: Array


def log_uniform_candidates(
    key: Array, label: ArrayLike, /, *, num_sampled: int, num_classes: int
) -> Candidates:
    r"""Draws classes, frequent ones more often, for a loss on a sample: no loss itself.

    Class :math:`c` of :math:`V` is drawn, with replacement, with probability

    .. math:: P(c) = \frac{\log(c + 2) - \log(c + 1)}{\log(V + 1)},

    which fits classes that are sorted by falling frequency, as words of a language.

    Args:
        key: a random key of JAX.
        label: the true classes, any shape, integer; all share the sample.
        num_sampled: how many classes are drawn; one may be drawn more than once.
        num_classes: how many classes there are.

    Returns:
        `Candidates`, to be given on as ``loss(embedding, label, weights, biases,
        *candidates)``.

    Raises:
        ValueError: `num_sampled` or `num_classes` is not above 0.

    Examples:
        >>> key = jax.random.key(0)
        >>> drawn = log_uniform_candidates(key, 7, num_sampled=4, num_classes=100)
        >>> drawn.sampled.shape, drawn.log_expected_true.round(3)
        ((4,), Array(-2.282, dtype=float32))

    References:
        Bengio & Senecal, *Quick Training of Probabilistic Neural Nets by Importance
        Sampling*, 2003.
    """
    _inputs.positive("num_sampled", num_sampled)
    _inputs.positive("num_classes", num_classes)
    label = jnp.asarray(label)
    span = jnp.log(jnp.float32(num_classes + 1))
    drawn = jnp.exp(span * jax.random.uniform(key, (num_sampled,))).astype(jnp.int32)
    sampled = jnp.clip(drawn - 1, 0, num_classes - 1)

    def log_expected(classes: Array) -> Array:
        share = jnp.log1p(1 / (classes.astype(jnp.float32) + 1)) / span
        return jnp.log(num_sampled * share)

    return Candidates(sampled, log_expected(label), log_expected(sampled))


def sampled_softmax_cross_entropy(
    embedding: ArrayLike,
    label: ArrayLike,
    weights: ArrayLike,
    biases: ArrayLike,
    sampled: ArrayLike,
    log_expected_true: ArrayLike,
    log_expected_sampled: ArrayLike,
    /,
    *,
    remove_accidental_hits: bool = True,
) -> Array:
    r"""Surprise at the true class among a sample of the classes.

    With :math:`z_c = \langle w_c, x \rangle + b_c - \log E_c`, label :math:`y` and the
    sample :math:`S`, from which the label is removed,

    .. math:: \ell = -z_y + \log\Bigl(e^{z_y} + \sum_{c \in S} e^{z_c}\Bigr).

    For training only: to evaluate, use all classes.

    Args:
        embedding: shape ``(features,)``, floating.
        label: index of the true class, shape ``()``, integer of any width.
        weights: shape ``(classes, features)``.
        biases: shape ``(classes,)``.
        sampled: the classes drawn, shape ``(samples,)``, integer.
        log_expected_true: log of the number of times the label was expected in the
            sample, shape ``()``.
        log_expected_sampled: the same for the classes drawn, shape ``(samples,)``.
        remove_accidental_hits: whether samples that are the label are left out.

    Returns:
        The loss, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong.
        TypeError: `embedding` is not floating, or an index is not an integer.

    Guarantees:
        - ``nan`` for a label or a sample outside ``[0, classes)``, with gradient 0.
        - With every class drawn once and expected counts of 1 it is the cross-entropy
          over all classes.

    Examples:
        >>> kernel = jax.vmap(  # weights, biases and the sample are shared
        ...     sampled_softmax_cross_entropy, in_axes=(0, 0, None, None, None, 0, None)
        ... )
        >>> weights, biases = jnp.eye(3), jnp.zeros(3)
        >>> x, y, counts = jnp.eye(3)[:2], jnp.arange(2), jnp.zeros(2)
        >>> kernel(x, y, weights, biases, jnp.array([0, 2]), counts, counts)
        Array([0.313262, 0.551445], dtype=float32)

    References:
        Jean et al., *On Using Very Large Target Vocabulary for Neural Machine
        Translation*, 2015.
    """
    true, others, valid = _corrected_logits(
        embedding,
        label,
        weights,
        biases,
        sampled,
        log_expected_true,
        log_expected_sampled,
        remove_accidental_hits,
    )
    logits = jnp.concatenate([true[None], others])
    place = jnp.where(valid, 0, -1).astype(jnp.int32)
    return _numerics.softplus(_numerics.log_odds_against(logits, place))


def nce_loss(
    embedding: ArrayLike,
    label: ArrayLike,
    weights: ArrayLike,
    biases: ArrayLike,
    sampled: ArrayLike,
    log_expected_true: ArrayLike,
    log_expected_sampled: ArrayLike,
    /,
    *,
    remove_accidental_hits: bool = False,
) -> Array:
    r"""Surprise at which classes are data and which were drawn as noise, in all.

    With :math:`z_c = \langle w_c, x \rangle + b_c - \log E_c`, label :math:`y` and the
    sample :math:`S`,

    .. math:: \ell = -\log \sigma(z_y) - \sum_{c \in S} \log \sigma(-z_c).

    For training only: to evaluate, use all classes.

    Args:
        embedding: shape ``(features,)``, floating.
        label: index of the true class, shape ``()``, integer of any width.
        weights: shape ``(classes, features)``.
        biases: shape ``(classes,)``.
        sampled: the classes drawn, shape ``(samples,)``, integer.
        log_expected_true: log of the number of times the label was expected in the
            sample, shape ``()``.
        log_expected_sampled: the same for the classes drawn, shape ``(samples,)``.
        remove_accidental_hits: whether samples that are the label are left out.

    Returns:
        The sum over the label and the sample, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong.
        TypeError: `embedding` is not floating, or an index is not an integer.

    Guarantees:
        - ``nan`` for a label or a sample outside ``[0, classes)``, with gradient 0.

    Examples:
        >>> weights, biases = jnp.zeros((3, 2)), jnp.zeros(3)
        >>> sampled, counts = jnp.array([0, 2]), jnp.zeros(2)
        >>> nce_loss(jnp.ones(2), 1, weights, biases, sampled, counts[0], counts)
        Array(2.079442, dtype=float32)

    References:
        Gutmann & Hyvarinen, *Noise-contrastive Estimation*, 2010.
    """
    true, others, valid = _corrected_logits(
        embedding,
        label,
        weights,
        biases,
        sampled,
        log_expected_true,
        log_expected_sampled,
        remove_accidental_hits,
    )
    loss = _numerics.softplus(-true) + jnp.sum(_numerics.softplus(others))
    return jnp.where(valid, loss, jnp.nan)


def _corrected_logits(
    embedding: ArrayLike,
    label: ArrayLike,
    weights: ArrayLike,
    biases: ArrayLike,
    sampled: ArrayLike,
    log_expected_true: ArrayLike,
    log_expected_sampled: ArrayLike,
    remove_accidental_hits: bool,
) -> tuple[Array, Array, Array]:
    """Logits of label and sample less the log of their expected counts.

    Also returned: whether all that went into them is known. What is not is taken for 0.
    """
    embedding, weights, biases, log_expected_true, log_expected_sampled = (
        _inputs.related(
            (("features",), ("classes", "features"), ("classes",), (), ("samples",)),
            embedding=embedding,
            weights=weights,
            biases=biases,
            log_expected_true=log_expected_true,
            log_expected_sampled=log_expected_sampled,
        )
    )
    for name, array in (
        ("embedding", embedding),
        ("weights", weights),
        ("biases", biases),
        ("log_expected_true", log_expected_true),
        ("log_expected_sampled", log_expected_sampled),
    ):
        _inputs.require(~jnp.isnan(array), name, "a number", array)
    classes = biases.size
    label = _inputs.label(label, classes)
    sampled = _inputs.labels("sampled", sampled, log_expected_sampled.shape, classes)

    places = jnp.concatenate([label[None], sampled])
    drawn = jnp.maximum(places, 0)
    rows, offsets = weights[drawn], biases[drawn]
    offsets -= jnp.concatenate([log_expected_true[None], log_expected_sampled])
    known = ~jnp.any(jnp.isnan(rows)) & ~jnp.any(jnp.isnan(offsets))
    known &= ~jnp.any(jnp.isnan(embedding)) & jnp.all(places >= 0)
    rows, offsets, embedding = (
        jnp.where(known, x, 0) for x in (rows, offsets, embedding)
    )
    logits = rows @ embedding + offsets
    others = logits[1:]
    if remove_accidental_hits:
        others = jnp.where(sampled == label, -jnp.inf, others)
    return logits[0], others, known
