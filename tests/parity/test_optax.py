"""Every public loss of optax.losses beside ours."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss import losses, per_sample
from tests.parity.rows import (
    BATCH,
    Row,
    assert_parity,
    counts,
    distributions,
    fixed,
    hard,
    labels,
    log_distributions,
    of_jax,
    positives,
    probabilities,
    reals,
    sides,
)


def mean_of(peer, **options):
    """The mean over the elements of an example, which optax leaves to the caller."""
    return lambda *data: peer(*data, **options).mean(-1)


def each(peer, **options):
    """One call for each example, where optax mixes those of a batch."""
    call = functools.partial(peer, **options)
    return lambda *data: jnp.stack([call(*x) for x in zip(*data, strict=True)])


def alone(peer, **options):
    """As `each`, where optax takes the first axis for a batch."""
    return each(lambda *data: peer(*(x[None] for x in data), **options))


def ctc(peer):
    def call(logits, tokens, frames, length):
        after = jnp.arange(logits.shape[1]) >= frames[:, None]
        beyond = jnp.arange(tokens.shape[1]) >= length[:, None]
        return peer(logits, after.astype(float), tokens, beyond.astype(float))

    return call


def optax_forward_probs(*data):
    loss, blank, label = ctc(optax.losses.ctc_loss_with_forward_probs)(*data)
    # optax goes on beyond the last label that counts, where ours is -inf.
    kept = jnp.arange(4) <= data[-1][:, None]
    blank, label = jnp.exp(blank) * kept, jnp.exp(label) * kept[:, 1:]
    parts = (jnp.moveaxis(x, 1, 0).reshape(BATCH, -1) for x in (blank, label))
    return jnp.concatenate([loss[:, None], *parts], axis=1)


@jax.vmap
def forward_probs(*example):
    loss, blank, label = losses.ctc_loss_with_forward_probs(*example)
    parts = (jnp.exp(x).ravel() for x in (blank, label))
    return jnp.concatenate([loss[None], *parts])


def ntxent(embeddings, group):
    """optax averages over the pairs, ours over the positives of each anchor."""
    alike = group[:, None] == group[None]
    positive = alike & ~jnp.eye(len(group), dtype=bool)
    kernel = per_sample(losses.ntxent, in_axes=(0, None, 0, 0), temperature=0.3)
    pairs = positive.sum(1).astype(embeddings.dtype)
    return (kernel(embeddings, embeddings, positive, ~alike) * pairs).sum() / (
        pairs.sum()
    )


def soft_maximum(score):
    return jax.nn.logsumexp(2 * score) / 2


PAIR = (reals(), reals())
LABELLED = (reals(), labels())
TARGETED = (reals(), distributions())
IMAGE = (BATCH, 3, 2, 3)
SEQUENCES = (
    reals(BATCH, 6, 5),
    lambda rng: rng.integers(1, 5, size=(BATCH, 3)),
    fixed(6, 5, 6, 4),
    fixed(3, 2, 1, 2),
)
TRIPLET = (reals(), reals(), reals())

ROWS = [
    Row(
        "binary_dice_loss",
        lambda *data: optax.losses.binary_dice_loss(*data, smooth=0.7),
        per_sample(losses.binary_dice_loss, smooth=0.7),
        (reals(BATCH, 3, 4), hard(BATCH, 3, 4)),
    ),
    Row(
        "convex_kl_divergence",
        optax.losses.convex_kl_divergence,
        per_sample(losses.convex_kl_divergence),
        (reals(), positives()),
    ),
    Row(
        "cosine_distance",
        optax.losses.cosine_distance,
        per_sample(losses.cosine_distance),
        PAIR,
    ),
    Row(
        "cosine_similarity",
        optax.losses.cosine_similarity,
        per_sample(losses.cosine_similarity),
        PAIR,
    ),
    Row(  # The floor is under the square of the norm.
        "cosine_similarity-floor",
        lambda *data: optax.losses.cosine_similarity(*data, epsilon=9.0),
        per_sample(losses.cosine_similarity, epsilon=3.0),
        PAIR,
    ),
    Row("ctc_loss", ctc(optax.losses.ctc_loss), per_sample(losses.ctc_loss), SEQUENCES),
    Row(
        "ctc_loss_with_forward_probs",
        optax_forward_probs,
        forward_probs,
        SEQUENCES,
    ),
    Row(
        "dice_loss",
        lambda *data: optax.losses.dice_loss(*data, alpha=0.3, beta=0.8),
        per_sample(losses.dice_loss, alpha=0.3, beta=0.8),
        (reals(*IMAGE), distributions(*IMAGE)),
    ),
    Row(
        "dice_loss-foreground",
        lambda *data: optax.losses.dice_loss(
            *data,
            class_weights=jnp.array([0.2, 0.5, 0.9]),
            smooth=0.4,
            ignore_background=True,
        ),
        lambda *data: per_sample(
            losses.dice_loss,
            class_weights=jnp.array([0.2, 0.5, 0.9]),
            smooth=0.4,
            ignore_background=True,
        )(*data),
        (reals(*IMAGE), distributions(*IMAGE)),
    ),
    Row(
        "generalized_kl_divergence",
        optax.losses.generalized_kl_divergence,
        per_sample(losses.generalized_kl_divergence),
        (reals(), positives()),
    ),
    Row(
        "hinge_loss",
        mean_of(optax.losses.hinge_loss),
        per_sample(losses.hinge_loss),
        (reals(), sides()),
    ),
    Row(
        "huber_loss",
        mean_of(optax.losses.huber_loss, delta=0.8),
        per_sample(losses.huber_loss, delta=0.8),
        PAIR,
    ),
    Row(
        "kl_divergence",
        optax.losses.kl_divergence,
        per_sample(losses.kl_divergence),
        (log_distributions, distributions()),
    ),
    Row(
        "kl_divergence_with_log_targets",
        optax.losses.kl_divergence_with_log_targets,
        per_sample(losses.kl_divergence_with_log_targets),
        (log_distributions, log_distributions),
    ),
    Row("l2_loss", mean_of(optax.losses.l2_loss), per_sample(losses.l2_loss), PAIR),
    Row("log_cosh", mean_of(optax.losses.log_cosh), per_sample(losses.log_cosh), PAIR),
    Row(
        "make_fenchel_young_loss",
        optax.losses.make_fenchel_young_loss(soft_maximum),
        per_sample(losses.make_fenchel_young_loss(soft_maximum)),
        TARGETED,
    ),
    Row(  # optax adds 1e-7 to the squared size of each class.
        "multiclass_generalized_dice_loss",
        alone(optax.losses.multiclass_generalized_dice_loss, smooth=0.6),
        per_sample(losses.multiclass_generalized_dice_loss, smooth=0.6),
        (reals(2, 60, 50, 3), distributions(2, 60, 50, 3)),
    ),
    Row(
        "multiclass_hinge_loss",
        optax.losses.multiclass_hinge_loss,
        per_sample(losses.multiclass_hinge_loss),
        LABELLED,
    ),
    Row(
        "multiclass_perceptron_loss",
        optax.losses.multiclass_perceptron_loss,
        per_sample(losses.multiclass_perceptron_loss),
        LABELLED,
    ),
    Row(
        "multiclass_sparsemax_loss",
        optax.losses.multiclass_sparsemax_loss,
        per_sample(losses.multiclass_sparsemax_loss),
        LABELLED,
    ),
    Row(
        "ntxent",
        lambda *data: optax.losses.ntxent(*data, temperature=0.3),
        ntxent,
        (reals(6, 3), fixed(0, 1, 0, 2, 1, 0)),
    ),
    Row(
        "perceptron_loss",
        mean_of(optax.losses.perceptron_loss),
        per_sample(losses.perceptron_loss),
        (reals(), sides()),
    ),
    Row(
        "poly_loss_cross_entropy",
        lambda *data: optax.losses.poly_loss_cross_entropy(*data, epsilon=-0.4),
        per_sample(losses.poly_loss_cross_entropy, epsilon=-0.4),
        TARGETED,
    ),
    Row(
        "ranking_softmax_loss",
        lambda *data: optax.losses.ranking_softmax_loss(*data, reduce_fn=None),
        per_sample(losses.ranking_softmax_loss),
        (reals(), counts()),
    ),
    Row(
        "ranking_softmax_loss-where",
        lambda logits, target, kept: optax.losses.ranking_softmax_loss(
            logits, target, where=kept > 0, reduce_fn=None
        ),
        lambda logits, target, kept: per_sample(losses.ranking_softmax_loss)(
            logits, target, kept > 0
        ),
        (reals(), positives(), hard()),
    ),
    Row(
        "safe_softmax_cross_entropy",
        optax.losses.safe_softmax_cross_entropy,
        per_sample(losses.safe_softmax_cross_entropy),
        TARGETED,
    ),
    Row(
        "sigmoid_binary_cross_entropy",
        mean_of(optax.losses.sigmoid_binary_cross_entropy),
        per_sample(losses.sigmoid_binary_cross_entropy),
        (reals(), probabilities()),
    ),
    Row(
        "sigmoid_focal_loss",
        mean_of(optax.losses.sigmoid_focal_loss, alpha=0.3, gamma=1.7),
        per_sample(losses.sigmoid_focal_loss, alpha=0.3, gamma=1.7),
        (reals(), probabilities()),
    ),
    Row(
        "smooth_labels",
        lambda target: optax.losses.smooth_labels(target, 0.2),
        jax.vmap(functools.partial(losses.smooth_labels, alpha=0.2)),
        (distributions(),),
    ),
    Row(
        "softmax_cross_entropy",
        optax.losses.softmax_cross_entropy,
        per_sample(losses.softmax_cross_entropy),
        (reals(), positives()),
    ),
    Row(
        "softmax_cross_entropy_with_integer_labels",
        optax.losses.softmax_cross_entropy_with_integer_labels,
        per_sample(losses.softmax_cross_entropy_with_integer_labels),
        LABELLED,
    ),
    Row(
        "sparsemax_loss",
        mean_of(optax.losses.sparsemax_loss),
        per_sample(losses.sparsemax_loss),
        (reals(), hard()),
    ),
    Row(
        "squared_error",
        mean_of(optax.losses.squared_error),
        per_sample(losses.squared_error),
        PAIR,
    ),
    Row(
        "triplet_margin_loss",
        lambda *data: optax.losses.triplet_margin_loss(*data, margin=1.3),
        per_sample(losses.triplet_margin_loss, margin=1.3, eps=1e-6),
        TRIPLET,
    ),
]


def of_optax(loss, data):
    # optax promotes; ours is held to the strict rules of all tests.
    with (
        jax.enable_x64(data[0].dtype == np.float64),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        return of_jax(loss, data)


@pytest.mark.filterwarnings("ignore:.*convex_kl_divergence:DeprecationWarning")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_value_and_gradient_are_those_of_optax(row):
    assert_parity(row, of_optax)
