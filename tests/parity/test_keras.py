"""Every public loss of keras.losses, function and class, beside ours."""

import functools
import math

import jax.numpy as jnp
import keras
import numpy as np
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
    positives,
    probabilities,
    reals,
    sides,
)


def as_it_is(values):
    return values


def target_first(prediction, target):
    return target, prediction


def unit_vectors(embeddings, group):
    return group, embeddings / tf.norm(embeddings, axis=-1, keepdims=True)


def forms(
    name,
    cls,
    ours,
    data,
    *,
    before=target_first,
    then=as_it_is,
    case="",
    float64=True,
    **options,
):
    """Two rows: the function, and the class, which takes the same options."""

    def row(public, build):
        # The class looks up the floating type when it is built.
        def peer(*data):
            return then(build()(*before(*data)))

        return Row(public + case, peer, ours, data, float64)

    function = functools.partial(getattr(keras.losses, name), **options)
    return [
        row(name, lambda: function),
        row(cls, lambda: getattr(keras.losses, cls)(reduction=None, **options)),
    ]


def from_log(kernel):
    return lambda probability, target: kernel(jnp.log(probability), target)


def from_logit(kernel):
    return lambda probability, target: kernel(
        jnp.log(probability) - jnp.log1p(-probability), target
    )


def softmax_focal(logits, target):
    """One number for all classes is a weight for each."""
    alpha = jnp.full((WIDTH,), 0.3, logits.dtype)
    return per_sample(
        losses.softmax_focal_loss, class_weights=alpha, gamma=1.7, label_smoothing=0.2
    )(logits, target)


def ignoring(logits, label):
    """A label to be ignored is one whose weight is 0."""
    kernel = per_sample(losses.softmax_cross_entropy_with_integer_labels)
    return jnp.where(label == 3, 0.0, kernel(logits, label))


def circle(embeddings, group):
    alike = group[:, None] == group[None]
    kernel = per_sample(
        losses.circle_loss, in_axes=(0, None, 0, 0), gamma=3.0, margin=0.3
    )
    others = ~jnp.eye(len(group), dtype=bool)
    return kernel(embeddings, embeddings, alike & others, ~alike)


def ctc(logits, tokens):
    """Keras takes all frames, and the labels before the zeros."""
    frames = jnp.full((BATCH,), logits.shape[1])
    return per_sample(losses.ctc_loss)(logits, tokens, frames, (tokens > 0).sum(1))


def negative(kernel):
    return lambda *data: -kernel(*data)


def one_class(kernel):
    return lambda *data: kernel(*(x[..., None] for x in data))


PAIR = (reals(), reals())
LOG_TWO_OF_KERAS = float(np.log(np.float32(2)))  # in float64 too
IMAGE = (BATCH, 2, 3)
TOKENS = fixed([3, 3, 1], [2, 0, 0], [4, 1, 0], [1, 2, 4])

ROWS = [
    *forms(
        "binary_crossentropy",
        "BinaryCrossentropy",
        per_sample(losses.binary_cross_entropy, clip=1e-7, label_smoothing=0.2),
        (probabilities(), probabilities()),
        label_smoothing=0.2,
    ),
    *forms(
        "binary_crossentropy",
        "BinaryCrossentropy",
        per_sample(losses.sigmoid_binary_cross_entropy, label_smoothing=0.2),
        (reals(), probabilities()),
        case="-from_logits",
        from_logits=True,
        label_smoothing=0.2,
    ),
    *forms(
        "binary_focal_crossentropy",
        "BinaryFocalCrossentropy",
        from_logit(per_sample(losses.sigmoid_focal_loss, alpha=0.3, gamma=1.7)),
        (probabilities(), hard()),
        apply_class_balancing=True,
        alpha=0.3,
        gamma=1.7,
    ),
    *forms(
        "binary_focal_crossentropy",
        "BinaryFocalCrossentropy",
        per_sample(losses.sigmoid_focal_loss, gamma=1.7),
        (reals(), probabilities()),
        case="-from_logits",
        from_logits=True,
        gamma=1.7,
    ),
    *forms(
        "categorical_crossentropy",
        "CategoricalCrossentropy",
        per_sample(
            losses.categorical_cross_entropy,
            normalize=True,
            clip=1e-7,
            label_smoothing=0.2,
        ),
        (probabilities(), distributions()),
        label_smoothing=0.2,
    ),
    *forms(
        "categorical_crossentropy",
        "CategoricalCrossentropy",
        per_sample(losses.softmax_cross_entropy, label_smoothing=0.2),
        (reals(), distributions()),
        case="-from_logits",
        from_logits=True,
        label_smoothing=0.2,
    ),
    *forms(
        "categorical_focal_crossentropy",
        "CategoricalFocalCrossentropy",
        softmax_focal,
        (reals(), distributions()),
        from_logits=True,
        alpha=0.3,
        gamma=1.7,
        label_smoothing=0.2,
    ),
    *forms(
        "categorical_focal_crossentropy",
        "CategoricalFocalCrossentropy",
        from_log(softmax_focal),
        (probabilities(), distributions()),
        case="-probabilities",
        alpha=0.3,
        gamma=1.7,
        label_smoothing=0.2,
    ),
    *forms(
        "categorical_generalized_cross_entropy",
        "CategoricalGeneralizedCrossEntropy",
        per_sample(losses.categorical_generalized_cross_entropy, q=0.6),
        (distributions(), labels()),
        q=0.6,
    ),
    *forms(
        "categorical_hinge",
        "CategoricalHinge",
        per_sample(losses.categorical_hinge_loss),
        (reals(), one_hot()),
    ),
    *forms(
        "circle",
        "Circle",
        circle,
        (reals(6, 3), fixed(0, 1, 0, 2, 1, 2)),
        before=unit_vectors,
        gamma=3.0,
        margin=0.3,
    ),
    *forms(  # A loss, so the sign is turned.
        "cosine_similarity",
        "CosineSimilarity",
        negative(per_sample(losses.cosine_similarity)),
        PAIR,
    ),
    *forms("ctc", "CTC", ctc, (reals(BATCH, 6, 5), TOKENS), float64=False),
    *forms(
        "dice",
        "Dice",
        per_sample(
            losses.binary_dice_loss, apply_sigmoid=False, smooth=0.0, smooth_dr=5e-8
        ),
        (probabilities(*IMAGE), hard(*IMAGE)),
        axis=(1, 2),
    ),
    *forms(
        "hinge",
        "Hinge",
        per_sample(losses.hinge_loss),
        (reals(), sides()),
    ),
    *forms(
        "huber",
        "Huber",
        per_sample(losses.huber_loss, delta=0.8),
        PAIR,
        delta=0.8,
    ),
    *forms(
        "kl_divergence",
        "KLDivergence",
        from_log(per_sample(losses.kl_divergence)),
        (distributions(), distributions()),
    ),
    *forms(
        "log_cosh",
        "LogCosh",
        per_sample(losses.log_cosh),
        PAIR,
        then=lambda values: values + LOG_TWO_OF_KERAS - math.log(2),
    ),
    *forms(
        "mean_absolute_error",
        "MeanAbsoluteError",
        per_sample(losses.absolute_error),
        PAIR,
    ),
    *forms(
        "mean_absolute_percentage_error",
        "MeanAbsolutePercentageError",
        per_sample(losses.absolute_percentage_error),
        PAIR,
    ),
    *forms(
        "mean_squared_error",
        "MeanSquaredError",
        per_sample(losses.squared_error),
        PAIR,
    ),
    *forms(
        "mean_squared_logarithmic_error",
        "MeanSquaredLogarithmicError",
        per_sample(losses.squared_logarithmic_error, clip=1e-7),
        (positives(), positives()),
    ),
    *forms(
        "poisson",
        "Poisson",
        per_sample(losses.poisson_nll_loss, log_input=False, epsilon=1e-7),
        (positives(), counts()),
    ),
    *forms(
        "sparse_categorical_crossentropy",
        "SparseCategoricalCrossentropy",
        per_sample(losses.sparse_categorical_cross_entropy, normalize=True, clip=1e-7),
        (probabilities(), labels()),
    ),
    *forms(
        "sparse_categorical_crossentropy",
        "SparseCategoricalCrossentropy",
        ignoring,
        (reals(), fixed(2, 3, 0, 3)),
        case="-from_logits",
        from_logits=True,
        ignore_class=3,
    ),
    *forms(
        "squared_hinge",
        "SquaredHinge",
        per_sample(losses.squared_hinge_loss),
        (reals(), sides()),
    ),
    *forms(  # Keras puts alpha on what is missed, against the paper.
        "tversky",
        "Tversky",
        one_class(
            per_sample(
                losses.tversky_loss,
                apply_softmax=False,
                alpha=0.8,
                beta=0.3,
                smooth=0.0,
                smooth_dr=1e-7,
            )
        ),
        (probabilities(*IMAGE), hard(*IMAGE)),
        alpha=0.3,
        beta=0.8,
        axis=(1, 2),
    ),
]

OPS = [
    Row(
        "binary_crossentropy",
        lambda logits, target: tf.reduce_mean(
            keras.ops.binary_crossentropy(target, logits, from_logits=True), -1
        ),
        per_sample(losses.sigmoid_binary_cross_entropy),
        (reals(), probabilities()),
    ),
    Row(
        "categorical_crossentropy",
        lambda probability, target: keras.ops.categorical_crossentropy(
            target, probability
        ),
        per_sample(losses.categorical_cross_entropy, normalize=True, clip=1e-7),
        (probabilities(), distributions()),
    ),
    Row(
        "sparse_categorical_crossentropy",
        lambda logits, label: keras.ops.sparse_categorical_crossentropy(
            label, logits, from_logits=True
        ),
        per_sample(losses.softmax_cross_entropy_with_integer_labels),
        (reals(), labels()),
    ),
    Row(
        "ctc_loss",
        lambda logits, tokens, frames, length: keras.ops.ctc_loss(
            tokens, logits, length, frames
        ),
        per_sample(losses.ctc_loss),
        (reals(BATCH, 6, 5), TOKENS, fixed(6, 5, 6, 4), fixed(3, 1, 2, 3)),
        float64=False,
    ),
]


def of_keras(loss, data):
    before = keras.config.floatx()
    keras.config.set_floatx(data[0].dtype.name)
    try:
        return of_tensorflow(loss, data)
    finally:
        keras.config.set_floatx(before)


def of_tensorflow(loss, data):
    prediction, *rest = map(tf.convert_to_tensor, data)
    with tf.GradientTape() as tape:
        tape.watch(prediction)
        value = loss(prediction, *rest)
        total = tf.reduce_sum(value)
    return value.numpy(), tape.gradient(total, prediction).numpy()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_value_and_gradient_are_those_of_keras(row):
    assert_parity(row, of_keras)


@pytest.mark.parametrize("row", OPS, ids=lambda row: row.name)
def test_value_and_gradient_are_those_of_keras_ops(row):
    assert_parity(row, of_keras)
