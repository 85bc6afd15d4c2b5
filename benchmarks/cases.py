"""Which losses are compared, on what, and the call of each library.

Every call returns one number for each example of a batch: the mean over the elements
where the loss is elementwise. A call that a library does not have is left out.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import optax
import tensorflow as tf
import torch
import torch.nn.functional as F

from benchmarks.shapes import CLASSES, ELEMENTS, SMALL, Shape
from jaxloss import losses

Inputs = tuple[np.ndarray, ...]

# What a loss has to do for each element, for the claims about the memory's speed.
POLYNOMIAL = "polynomial"  # additions, products, comparisons
ONE = "one transcendental"  # a softplus, an exponential or logarithms of an input
SOFTMAX = "softmax cross-entropy"
LOOKUP = "lookup"  # reads one number of an example: no share of a read of them all


class Case(NamedTuple):
    """One loss and its peers; the gradient is that by the first input.

    No work is named where none of the claims is meant: `sigmoid_focal_loss` has a
    softplus and a power of a sigmoid, and a cosine is a quotient of sums.
    """

    loss: Callable[..., Any]
    inputs: Callable[[np.random.Generator, Shape], Inputs]
    shapes: tuple[Shape, ...]
    optax: Callable[..., Any] | None = None
    torch: Callable[..., Any] | None = None
    tensorflow: Callable[..., Any] | None = None
    keras: Callable[..., Any] | None = None  # with its backend TensorFlow
    work: str | None = None


def _numbers(rng: np.random.Generator, shape: Shape) -> Inputs:
    return _normal(rng, shape), _normal(rng, shape)


def _answers(rng: np.random.Generator, shape: Shape) -> Inputs:
    return 3 * _normal(rng, shape), rng.integers(0, 2, shape).astype(np.float32)


def _chances(rng: np.random.Generator, shape: Shape) -> Inputs:
    probability = rng.uniform(0.01, 0.99, shape).astype(np.float32)
    return probability, rng.integers(0, 2, shape).astype(np.float32)


def _sides(rng: np.random.Generator, shape: Shape) -> Inputs:
    return _normal(rng, shape), rng.choice(np.array([-1, 1], np.float32), shape)


def _counts(rng: np.random.Generator, shape: Shape) -> Inputs:
    return _normal(rng, shape), rng.poisson(2, shape).astype(np.float32)


def _labels(rng: np.random.Generator, shape: Shape) -> Inputs:
    label = rng.integers(0, shape[1], shape[0]).astype(np.int32)
    return 2 * _normal(rng, shape), label


def _log_probs(rng: np.random.Generator, shape: Shape) -> Inputs:
    logits, label = _labels(rng, shape)
    return _log_softmax(logits), label


def _targets(rng: np.random.Generator, shape: Shape) -> Inputs:
    return 2 * _normal(rng, shape), np.exp(_log_softmax(_normal(rng, shape)))


def _distributions(rng: np.random.Generator, shape: Shape) -> Inputs:
    logits, target = _targets(rng, shape)
    return _log_softmax(logits), target


def _normal(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    below = logits - logits.max(-1, keepdims=True)
    return below - np.log(np.exp(below).sum(-1, keepdims=True))


def _focal_of_torch(logits, target, gamma=2.0):
    # As in torchvision 0.24, `sigmoid_focal_loss` with alpha=-1.
    p = torch.sigmoid(logits)
    surprise = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    right = p * target + (1 - p) * (1 - target)
    return (surprise * (1 - right) ** gamma).mean(-1)


def _focal_of_tensorflow(logits, target, gamma=2.0):
    # As in Keras 3, `binary_focal_crossentropy`, from logits.
    p = tf.sigmoid(logits)
    surprise = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logits)
    right = target * p + (1 - target) * (1 - p)
    return tf.reduce_mean(tf.pow(1 - right, gamma) * surprise, -1)


def _log_cosh_of_tensorflow(prediction, target):
    # As in Keras 3, `log_cosh`.
    error = prediction - target
    log_2 = float(np.log(2.0))
    return tf.reduce_mean(error + tf.math.softplus(-2.0 * error) - log_2, -1)


def _huber_of_tensorflow(prediction, target):
    # As in Keras 3, `huber`.
    error = prediction - target
    size = tf.abs(error)
    terms = tf.where(size <= 1.0, 0.5 * tf.square(error), size - 0.5)
    return tf.reduce_mean(terms, -1)


def _kl_of_tensorflow(log_prediction, target):
    return tf.reduce_sum(tf.math.xlogy(target, target) - target * log_prediction, -1)


def _cosine_of_tensorflow(a, b):
    # As in Keras 3, `cosine_similarity`.
    return 1 - tf.reduce_sum(
        tf.math.l2_normalize(a, -1) * tf.math.l2_normalize(b, -1), -1
    )


_over_elements = {"shapes": (SMALL, *ELEMENTS)}
_over_classes = {"shapes": (SMALL, *CLASSES)}

CASES = {
    "squared_error": Case(
        losses.squared_error,
        _numbers,
        **_over_elements,
        optax=lambda p, t: optax.losses.squared_error(p, t).mean(-1),
        torch=lambda p, t: F.mse_loss(p, t, reduction="none").mean(-1),
        tensorflow=lambda p, t: tf.reduce_mean(tf.math.squared_difference(p, t), -1),
        keras=lambda p, t: keras.losses.mean_squared_error(t, p),
        work=POLYNOMIAL,
    ),
    "absolute_error": Case(
        losses.absolute_error,
        _numbers,
        **_over_elements,
        torch=lambda p, t: F.l1_loss(p, t, reduction="none").mean(-1),
        tensorflow=lambda p, t: tf.reduce_mean(tf.abs(p - t), -1),
        keras=lambda p, t: keras.losses.mean_absolute_error(t, p),
        work=POLYNOMIAL,
    ),
    "huber_loss": Case(
        losses.huber_loss,
        _numbers,
        **_over_elements,
        optax=lambda p, t: optax.losses.huber_loss(p, t).mean(-1),
        torch=lambda p, t: F.huber_loss(p, t, reduction="none").mean(-1),
        tensorflow=_huber_of_tensorflow,
        keras=lambda p, t: keras.losses.huber(t, p),
        work=POLYNOMIAL,
    ),
    "log_cosh": Case(
        losses.log_cosh,
        _numbers,
        **_over_elements,
        optax=lambda p, t: optax.losses.log_cosh(p, t).mean(-1),
        tensorflow=_log_cosh_of_tensorflow,
        keras=lambda p, t: keras.losses.log_cosh(t, p),
        work=ONE,
    ),
    "hinge_loss": Case(
        losses.hinge_loss,
        _sides,
        **_over_elements,
        optax=lambda p, t: optax.losses.hinge_loss(p, t).mean(-1),
        tensorflow=lambda p, t: tf.reduce_mean(tf.maximum(1 - p * t, 0), -1),
        keras=lambda p, t: keras.losses.hinge(t, p),
        work=POLYNOMIAL,
    ),
    "sigmoid_binary_cross_entropy": Case(
        losses.sigmoid_binary_cross_entropy,
        _answers,
        **_over_elements,
        optax=lambda z, y: optax.losses.sigmoid_binary_cross_entropy(z, y).mean(-1),
        torch=lambda z, y: F.binary_cross_entropy_with_logits(
            z, y, reduction="none"
        ).mean(-1),
        tensorflow=lambda z, y: tf.reduce_mean(
            tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=z), -1
        ),
        keras=lambda z, y: keras.losses.binary_crossentropy(y, z, from_logits=True),
        work=ONE,
    ),
    "sigmoid_focal_loss": Case(
        losses.sigmoid_focal_loss,
        _answers,
        **_over_elements,
        optax=lambda z, y: optax.losses.sigmoid_focal_loss(z, y).mean(-1),
        torch=_focal_of_torch,
        tensorflow=_focal_of_tensorflow,
        keras=lambda z, y: keras.losses.binary_focal_crossentropy(
            y, z, from_logits=True
        ),
    ),
    "binary_cross_entropy": Case(
        losses.binary_cross_entropy,
        _chances,
        **_over_elements,
        torch=lambda p, y: F.binary_cross_entropy(p, y, reduction="none").mean(-1),
        tensorflow=lambda p, y: tf.reduce_mean(
            -(y * tf.math.log(p) + (1 - y) * tf.math.log(1 - p)), -1
        ),
        keras=lambda p, y: keras.losses.binary_crossentropy(y, p),
        work=ONE,
    ),
    "poisson_nll_loss": Case(
        losses.poisson_nll_loss,
        _counts,
        **_over_elements,
        torch=lambda p, t: F.poisson_nll_loss(p, t, reduction="none").mean(-1),
        tensorflow=lambda p, t: tf.reduce_mean(
            tf.nn.log_poisson_loss(targets=t, log_input=p), -1
        ),
        work=ONE,
    ),
    "softmax_cross_entropy_with_integer_labels": Case(
        losses.softmax_cross_entropy_with_integer_labels,
        _labels,
        **_over_classes,
        optax=optax.losses.softmax_cross_entropy_with_integer_labels,
        torch=lambda z, y: F.cross_entropy(z, y, reduction="none"),
        tensorflow=lambda z, y: tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=y, logits=z
        ),
        keras=lambda z, y: keras.losses.sparse_categorical_crossentropy(
            y, z, from_logits=True
        ),
        work=SOFTMAX,
    ),
    "softmax_cross_entropy": Case(
        losses.softmax_cross_entropy,
        _targets,
        **_over_classes,
        optax=optax.losses.softmax_cross_entropy,
        torch=lambda z, y: F.cross_entropy(z, y, reduction="none"),
        tensorflow=lambda z, y: tf.nn.softmax_cross_entropy_with_logits(
            labels=y, logits=z
        ),
        keras=lambda z, y: keras.losses.categorical_crossentropy(
            y, z, from_logits=True
        ),
        work=SOFTMAX,
    ),
    "nll_loss": Case(
        losses.nll_loss,
        _log_probs,
        **_over_classes,
        torch=lambda z, y: F.nll_loss(z, y, reduction="none"),
        work=LOOKUP,
    ),
    "kl_divergence": Case(
        losses.kl_divergence,
        _distributions,
        **_over_classes,
        optax=optax.losses.kl_divergence,
        torch=lambda p, t: F.kl_div(p, t, reduction="none").sum(-1),
        tensorflow=_kl_of_tensorflow,
        work=ONE,
    ),
    "multiclass_hinge_loss": Case(
        losses.multiclass_hinge_loss,
        _labels,
        **_over_classes,
        optax=optax.losses.multiclass_hinge_loss,
        work=POLYNOMIAL,
    ),
    "multi_margin_loss": Case(
        losses.multi_margin_loss,
        _labels,
        **_over_classes,
        torch=lambda z, y: F.multi_margin_loss(z, y, reduction="none"),
        work=POLYNOMIAL,
    ),
    "cosine_distance": Case(
        losses.cosine_distance,
        _numbers,
        **_over_elements,
        optax=optax.losses.cosine_distance,
        torch=lambda a, b: 1 - F.cosine_similarity(a, b),
        tensorflow=_cosine_of_tensorflow,
        keras=lambda a, b: 1 + keras.losses.cosine_similarity(a, b),
    ),
}
