"""Every public loss of tf.nn and tf.compat.v1.losses beside ours."""

import functools

import jax.numpy as jnp
import pytest
import tensorflow as tf

from jaxloss import losses, per_sample
from tests.parity.rows import (
    BATCH,
    WIDTH,
    Row,
    assert_parity,
    counts,
    distributions,
    fixed,
    hard,
    labels,
    one_hot,
    probabilities,
    reals,
)
from tests.parity.test_keras import of_tensorflow


def mean_of(peer, **options):
    """The mean over the elements of an example, which tf.nn leaves to the caller."""
    return lambda prediction, target: tf.reduce_mean(
        peer(target, prediction, **options), -1
    )


def v1(name, *, then=None, **options):
    """The losses of the elements; these functions work in float32 only."""
    peer = functools.partial(
        getattr(tf.compat.v1.losses, name),
        reduction=tf.compat.v1.losses.Reduction.NONE,
        **options,
    )
    then = then or (lambda elements: tf.reduce_mean(elements, -1))
    return lambda prediction, target: then(peer(target, prediction))


def as_it_is(losses):
    return losses


def ctc(logits, tokens, frames, length):
    return tf.nn.ctc_loss(
        tokens, logits, length, frames, logits_time_major=False, blank_index=0
    )


def half_square(prediction):
    kernel = per_sample(losses.l2_loss)
    return kernel(prediction, jnp.zeros_like(prediction)) * WIDTH


def pairwise(prediction, target):
    return tf.stack(
        [
            tf.compat.v1.losses.mean_pairwise_squared_error(t[None], p[None])
            for p, t in zip(prediction, target, strict=True)
        ]
    )


def with_unit_vectors(prediction, target):
    """TensorFlow takes both for vectors of length 1."""
    unit = [x / tf.norm(x, axis=-1, keepdims=True) for x in (prediction, target)]
    return v1("cosine_distance", then=lambda x: x[..., 0], axis=-1)(*unit)


def candidates(peer, **options):
    def call(embedding, label, weights, biases, sampled, true, other):
        return peer(
            weights,
            biases,
            label[:, None],
            embedding,
            num_sampled=len(sampled),
            num_classes=len(biases),
            sampled_values=(sampled, true[:, None], other),
            **options,
        )

    return call


def with_candidates(loss, **options):
    kernel = per_sample(loss, in_axes=(0, 0, None, None, None, 0, None), **options)
    return lambda *data: kernel(*data[:5], jnp.log(data[5]), jnp.log(data[6]))


CANDIDATES = (
    reals(BATCH, 3),
    labels(BATCH, classes=8),
    reals(8, 3),
    reals(8),
    fixed(5, 0, 2, 7),
    probabilities(BATCH),
    probabilities(4),
)
PAIR = (reals(), reals())
SEQUENCES = (
    reals(BATCH, 6, 5),
    lambda rng: rng.integers(1, 5, size=(BATCH, 3)),
    fixed(6, 5, 6, 4),
    fixed(3, 2, 1, 2),
)

NN = [
    Row("ctc_loss", ctc, per_sample(losses.ctc_loss), SEQUENCES, float64=False),
    Row(
        "l2_loss",
        lambda prediction: tf.stack([tf.nn.l2_loss(x) for x in prediction]),
        half_square,
        (reals(),),
    ),
    Row(
        "log_poisson_loss",
        mean_of(tf.nn.log_poisson_loss, compute_full_loss=True),
        per_sample(losses.poisson_nll_loss, full=True),
        (reals(), counts()),
    ),
    Row(
        "nce_loss",
        candidates(tf.nn.nce_loss),
        with_candidates(losses.nce_loss),
        CANDIDATES,
    ),
    Row(
        "nce_loss-hits",
        candidates(tf.nn.nce_loss, remove_accidental_hits=True),
        with_candidates(losses.nce_loss, remove_accidental_hits=True),
        CANDIDATES,
    ),
    Row(
        "sampled_softmax_loss",
        candidates(tf.nn.sampled_softmax_loss),
        with_candidates(losses.sampled_softmax_cross_entropy),
        CANDIDATES,
    ),
    Row(
        "sigmoid_cross_entropy_with_logits",
        mean_of(tf.nn.sigmoid_cross_entropy_with_logits),
        per_sample(losses.sigmoid_binary_cross_entropy),
        (reals(), probabilities()),
    ),
    Row(
        "softmax_cross_entropy_with_logits",
        lambda logits, target: tf.nn.softmax_cross_entropy_with_logits(target, logits),
        per_sample(losses.softmax_cross_entropy),
        (reals(), distributions()),
    ),
    Row(
        "sparse_softmax_cross_entropy_with_logits",
        lambda logits, label: tf.nn.sparse_softmax_cross_entropy_with_logits(
            label, logits
        ),
        per_sample(losses.softmax_cross_entropy_with_integer_labels),
        (reals(), labels()),
    ),
    Row(
        "weighted_cross_entropy_with_logits",
        mean_of(tf.nn.weighted_cross_entropy_with_logits, pos_weight=3.0),
        per_sample(losses.weighted_sigmoid_cross_entropy, pos_weight=3.0),
        (reals(), probabilities()),
    ),
]

V1 = [
    Row(
        "absolute_difference",
        v1("absolute_difference"),
        per_sample(losses.absolute_error),
        PAIR,
        float64=False,
    ),
    Row(
        "cosine_distance",
        with_unit_vectors,
        per_sample(losses.cosine_distance),
        PAIR,
        float64=False,
    ),
    Row(  # Labels in {0, 1}; ours are sides.
        "hinge_loss",
        v1("hinge_loss"),
        lambda score, label: per_sample(losses.hinge_loss)(score, 2 * label - 1),
        (reals(), hard()),
        float64=False,
    ),
    Row(
        "huber_loss",
        v1("huber_loss", delta=0.8),
        per_sample(losses.huber_loss, delta=0.8),
        PAIR,
        float64=False,
    ),
    Row(
        "log_loss",
        v1("log_loss"),
        per_sample(losses.binary_cross_entropy),
        (probabilities(), probabilities()),
        float64=False,
    ),
    Row(
        "mean_pairwise_squared_error",
        pairwise,
        per_sample(losses.mean_pairwise_squared_error),
        PAIR,
        float64=False,
    ),
    Row(
        "mean_squared_error",
        v1("mean_squared_error"),
        per_sample(losses.squared_error),
        PAIR,
        float64=False,
    ),
    Row(
        "sigmoid_cross_entropy",
        v1("sigmoid_cross_entropy", label_smoothing=0.2),
        per_sample(losses.sigmoid_binary_cross_entropy, label_smoothing=0.2),
        (reals(), hard()),
        float64=False,
    ),
    Row(
        "softmax_cross_entropy",
        v1("softmax_cross_entropy", then=as_it_is, label_smoothing=0.2),
        per_sample(losses.softmax_cross_entropy, label_smoothing=0.2),
        (reals(), one_hot()),
        float64=False,
    ),
    Row(
        "sparse_softmax_cross_entropy",
        v1("sparse_softmax_cross_entropy", then=as_it_is),
        per_sample(losses.softmax_cross_entropy_with_integer_labels),
        (reals(), labels()),
        float64=False,
    ),
]

REDUCTIONS = "a reduction or its bookkeeping, no loss"
NOT_LOSSES = {
    name: REDUCTIONS
    for name in (
        "compute_average_loss",
        "scale_regularization_loss",
        "add_loss",
        "compute_weighted_loss",
        "get_losses",
        "get_regularization_loss",
        "get_regularization_losses",
        "get_total_loss",
        "Reduction",
    )
}


@pytest.mark.parametrize("row", NN, ids=lambda row: row.name)
def test_value_and_gradient_are_those_of_tf_nn(row):
    assert_parity(row, of_tensorflow)


@pytest.mark.parametrize("row", V1, ids=lambda row: row.name)
def test_value_and_gradient_are_those_of_tf_v1(row):
    assert_parity(row, of_tensorflow)
