"""Where a peer is wrong, or right by another convention: the value that ours has."""

import functools
import math

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
import pytest
import tensorflow as tf
import torch
from torch.nn import functional

from jaxloss import losses, per_sample, reduction
from tests.parity.rows import data_of, of_jax
from tests.parity.test_keras import of_tensorflow
from tests.parity.test_torch import ROWS as TORCH_ROWS, of_torch

# Two equal labels need a blank between them, so three frames; there are two.
IMPOSSIBLE = np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.5]], np.float32)
TWICE = np.array([1, 1], np.int32)


def single(*values):
    return np.array(values, np.float32)


def near(got, wanted, rtol=1e-5):
    np.testing.assert_allclose(got, wanted, rtol=rtol)


def test_an_impossible_alignment_costs_inf_and_moves_nothing():
    value, gradient = jax.value_and_grad(losses.ctc_loss)(
        jnp.array(IMPOSSIBLE), TWICE, 2, 2
    )
    assert value == jnp.inf
    assert (gradient == 0).all()


def test_an_impossible_alignment_has_nan_gradients_in_torch():
    value, gradient = of_torch(
        lambda logits: functional.ctc_loss(
            logits.log_softmax(-1)[:, None],
            torch.tensor([[1, 1]]),
            torch.tensor([2]),
            torch.tensor([2]),
            reduction="none",
        ),
        (IMPOSSIBLE,),
    )
    assert value == math.inf
    assert np.isnan(gradient).all()


def test_an_impossible_alignment_has_a_finite_price_in_tensorflow():
    value, gradient = of_tensorflow(
        lambda logits: tf.nn.ctc_loss(
            TWICE[None], logits, [2], [2], logits_time_major=False, blank_index=0
        ),
        (IMPOSSIBLE[None],),
    )
    near(value, [707.84656])
    assert (gradient != 0).any()


def test_an_impossible_alignment_has_a_finite_price_in_optax():
    value, gradient = of_jax(
        lambda logits: optax.losses.ctc_loss(
            logits, jnp.zeros((1, 2)), TWICE[None], jnp.zeros((1, 2))
        ),
        (IMPOSSIBLE[None],),
    )
    near(value, [1e5])
    assert (gradient != 0).any()


def test_an_impossible_class_is_nan_in_the_ctc_loss_of_optax():
    """Blank and label are equally likely in the one frame, so the price is log 2."""
    logits = jnp.array([[0.0, -jnp.inf, 0.0]])
    label = jnp.array([2])
    near(losses.ctc_loss(logits, label, 1, 1), math.log(2))
    none = jnp.zeros((1, 1))
    assert jnp.isnan(optax.losses.ctc_loss(logits[None], none, label[None], none))


def test_ctc_mean_of_torch_divides_by_the_labels_first():
    (row,) = (row for row in TORCH_ROWS if row.name == "ctc_loss")
    logits, tokens, frames, length = data_of(row)
    near(
        functional.ctc_loss(
            torch.tensor(logits).log_softmax(-1).transpose(0, 1),
            *map(torch.tensor, (tokens, frames, length)),
            reduction="mean",
        ).item(),
        reduction.batch_mean(
            per_sample(losses.ctc_loss)(logits, tokens, frames, length)
            / length.astype(np.float32)
        ),
    )


# PyTorch.


def test_soft_margin_of_torch_overflows_at_a_score_of_minus_100():
    """log(1 + e^100) is 100 up to e^-100, and its derivative -1."""
    score = single(-100.0)
    value, gradient = of_jax(losses.soft_margin_loss, (score, single(1.0)))
    near(value, 100)
    near(gradient, [-1])
    value, gradient = of_torch(functional.soft_margin_loss, (score, single(1.0)))
    assert value == math.inf
    assert np.isnan(gradient).all()


def test_a_collapsed_variance_is_pushed_up_as_in_torch():
    """The value and the slope of the floor 1e-6: (1 - 1e6) / 2e-6 for an error of 1."""
    variance = single(1e-9)
    price, slope = math.log(1e-6) / 2 + 1 / 2e-6, (1 - 1e6) / 2e-6
    for of_side, loss, xp in (
        (of_jax, losses.gaussian_nll_loss, jnp),
        (of_torch, functional.gaussian_nll_loss, torch),
    ):
        value, gradient = of_side(
            functools.partial(loss, xp.ones(1), xp.zeros(1)), (variance,)
        )
        near(value, price)
        near(gradient, [slope])


def test_floor_under_logarithms_moves_nothing_and_in_torch_far():
    certain, yes = single(0.0), single(1.0)
    assert losses.binary_cross_entropy(certain, yes) == jnp.inf
    value, gradient = of_jax(
        lambda p, y: losses.binary_cross_entropy(p, y, min_log=-100.0), (certain, yes)
    )
    assert value == 100
    assert gradient == 0
    value, gradient = of_torch(functional.binary_cross_entropy, (certain, yes))
    assert value == 100
    near(gradient, [-1e12])


def test_zero_vector_has_no_direction_and_in_torch_a_huge_gradient():
    zero, other = single(0.0, 0.0), single(1.0, 0.0)
    value, gradient = of_jax(
        lambda a, b: losses.cosine_embedding_loss(a, b, jnp.ones(())), (zero, other)
    )
    assert value == 1
    assert (gradient == 0).all()
    value, gradient = of_torch(
        lambda a, b: functional.cosine_embedding_loss(a, b, torch.ones(())),
        (zero, other),
    )
    assert value == 1
    near(gradient, [-1e6, 0])


def test_distance_in_torch_depends_on_the_order():
    """sqrt((1e-6)^2 + 0) is 1e-6; torch adds 1e-6 to each signed difference first."""
    here, there = single(0.0, 0.0), single(1e-6, 0.0)
    near(losses.pairwise_distance(here, there), 1e-6)
    near(losses.pairwise_distance(there, here), 1e-6)
    pair = torch.tensor(here), torch.tensor(there)
    near(functional.pairwise_distance(*pair), 1e-6)
    near(functional.pairwise_distance(*reversed(pair)), math.sqrt(5) * 1e-6)


def test_weighted_mean_of_torch_divides_labels_and_probabilities_differently():
    logits, label = single([0.1, 0.2], [0.3, 0.1]), np.array([0, 1])
    weights = single(1.0, 3.0)
    x, y, w = map(torch.tensor, (logits, label, weights))
    kernel = per_sample(losses.softmax_cross_entropy_with_integer_labels)
    values = kernel(logits, label)
    by_label = functional.cross_entropy(x, y, weight=w)
    near(reduction.weighted_mean(values, weights[label]), by_label)
    by_probability = functional.cross_entropy(x, torch.eye(2)[y], weight=w)
    near(reduction.batch_mean(values * weights[label]), by_probability)
    near(by_probability / by_label, weights[label].sum() / 2)


def test_mean_over_nothing_is_0_and_in_torch_nan():
    logits = single([0.1, 0.2])
    values = per_sample(losses.softmax_cross_entropy_with_integer_labels)(
        logits, np.array([0])
    )
    assert reduction.weighted_mean(values, jnp.zeros(1)) == 0
    ignored = torch.tensor([-100])
    assert functional.cross_entropy(torch.tensor(logits), ignored).isnan()


def test_kl_div_of_torch_divides_by_the_classes_and_is_nan_at_an_impossible_class():
    target, other = single([0.2, 0.8], [0.5, 0.5]), single([0.4, 0.6], [0.9, 0.1])
    values = per_sample(losses.kl_divergence)(np.log(other), target)
    data = torch.tensor(np.log(other)), torch.tensor(target)
    near(reduction.batch_mean(values), functional.kl_div(*data, reduction="batchmean"))
    with pytest.warns(UserWarning, match="batchmean"):
        near(reduction.batch_mean(values) / 2, functional.kl_div(*data))
    # 0 log 0 is 0, and the other class is certain on both sides.
    impossible = single(-math.inf, 0.0), single(0.0, 1.0)
    assert losses.kl_divergence(*impossible) == 0
    assert functional.kl_div(*map(torch.tensor, impossible), reduction="sum").isnan()
    assert jnp.isnan(optax.losses.kl_divergence(*map(jnp.asarray, impossible)))


@pytest.mark.parametrize(
    ("peer", "loss", "mean"),
    [
        ("huber_loss", losses.huber_loss, (0.5 + 3 * 0.125) / 2),
        ("mse_loss", losses.squared_error, (1 + 3 * 0.25) / 4),
        ("l1_loss", losses.absolute_error, (1 + 3 * 0.5) / 4),
    ],
)
def test_weights_of_elements_divide_the_mean_in_torch_except_for_huber(
    peer, loss, mean
):
    prediction, target, weight = single(1.0, 0.5), single(0.0, 0.0), single(1.0, 3.0)
    values = per_sample(loss)(prediction, target)
    if peer == "huber_loss":
        near(reduction.batch_mean(values * weight), mean)
    else:
        near(reduction.weighted_mean(values, weight), mean)
    x, y, w = map(torch.tensor, (prediction, target, weight))
    near(getattr(functional, peer)(x, y, weight=w), mean)


# Keras.


def test_tversky_of_keras_has_alpha_on_what_is_missed():
    """One hit and one miss: 1 - 1 / (1 + beta), in the paper of Salehi et al."""
    prediction, target = single([1.0], [0.0]), single([1.0], [1.0])
    options = dict(alpha=0.1, beta=1.0)
    ours = losses.tversky_loss(
        prediction, target, apply_softmax=False, smooth=0.0, **options
    )
    near(ours, 1 - 1 / (1 + 1.0))
    near(keras.losses.tversky(target, prediction, **options), 1 - 1 / (1 + 0.1))


def test_hinge_of_keras_takes_a_label_by_its_company():
    """Sides -1 and 1 of two scores of a half: (1.5 + 0.5) / 2."""
    score = single([0.5, 0.5], [0.2, 0.2])
    alone, mixed = single([0, 1], [1, 1]), single([0, 1], [1, -1])
    near(losses.hinge_loss(score[0], 2 * alone[0] - 1), 1.0)
    near(keras.losses.hinge(alone, score)[0], 1.0)
    near(keras.losses.hinge(mixed, score)[0], 0.75)
    assert jnp.isnan(per_sample(losses.hinge_loss)(score, alone)[0])


def test_dice_of_nothing_found_in_nothing_is_0_and_in_keras_1():
    nothing = np.zeros((2, 3), np.float32)
    ours = per_sample(losses.binary_dice_loss, apply_sigmoid=False, smooth=0.0)
    assert (ours(nothing, nothing) == 0).all()
    assert keras.losses.dice(nothing, nothing, axis=1).numpy().tolist() == [1, 1]


def test_dice_of_keras_mixes_the_images_of_a_batch():
    """A hit costs 0 and a miss 1; together keras makes 1 - 2 * 1 / (2 + 1) of them."""
    prediction, target = single([1.0], [0.0]), single([1.0], [1.0])
    ours = per_sample(losses.binary_dice_loss, apply_sigmoid=False, smooth=0.0)
    assert ours(prediction, target).tolist() == [0, 1]
    near(keras.losses.dice(target, prediction), 1 - 2 / 3)


def test_clipping_of_keras_hides_the_worst_examples():
    """The price of a probability of 1e-9 is 9 log 10, with derivative -1e9."""
    probability, yes = single([1e-9]), single([1.0])
    value, gradient = of_jax(
        per_sample(losses.binary_cross_entropy), (probability, yes)
    )
    near(value, [9 * math.log(10)])
    near(gradient, [[-1e9]])
    value, gradient = of_tensorflow(
        lambda p, y: keras.losses.binary_crossentropy(y, p), (probability, yes)
    )
    near(value, [-math.log(1e-7)])
    assert (gradient == 0).all()


def test_generalized_cross_entropy_of_keras_has_a_nan_gradient_at_0():
    """(1 - 0) / q is 2; only the true class has any part in it."""
    certain, label = single([0.0, 1.0]), np.array([0])
    value, gradient = of_jax(
        per_sample(losses.categorical_generalized_cross_entropy), (certain, label)
    )
    assert value == 2
    assert gradient[0, 1] == 0
    assert np.isfinite(gradient).all()
    value, gradient = of_tensorflow(
        lambda p, y: keras.losses.categorical_generalized_cross_entropy(y, p, q=0.5),
        (certain, label),
    )
    assert value == 2
    assert np.isnan(gradient[0, 1])


def test_log_cosh_of_keras_takes_a_log_2_of_single_precision():
    nothing = np.zeros((1, 1))
    with jax.enable_x64(True):
        assert per_sample(losses.log_cosh)(nothing, nothing) == 0
    off = math.log(2) - float(np.log(np.float32(2)))
    near(keras.losses.log_cosh(nothing, nothing), [off])


def test_cosine_of_a_zero_vector_moves_nothing_and_in_keras_far():
    zero, other = single([0.0, 0.0]), single([1.0, 0.0])
    value, gradient = of_jax(per_sample(losses.cosine_similarity), (zero, other))
    assert value == 0
    assert (gradient == 0).all()
    value, gradient = of_tensorflow(
        lambda a, b: keras.losses.cosine_similarity(b, a), (zero, other)
    )
    assert value == 0
    near(gradient, [[-1e7, 0]])


# TensorFlow.


def test_gradient_of_tensorflow_takes_any_target_for_a_distribution():
    """The derivative of -sum y log p is p sum(y) - y; TensorFlow has p - y."""
    logits, target = single([0.5, 1.0]), single([2.0, 1.0])
    p = np.exp(logits) / np.exp(logits).sum()
    price = -(target * np.log(p)).sum(-1)
    value, gradient = of_jax(per_sample(losses.softmax_cross_entropy), (logits, target))
    near(value, price)
    near(gradient, 3 * p - target)
    value, gradient = of_tensorflow(
        lambda z, y: tf.nn.softmax_cross_entropy_with_logits(y, z), (logits, target)
    )
    near(value, price)
    near(gradient, p - target)


def test_cosine_distance_of_tensorflow_is_negative_for_long_vectors():
    """Two vectors of one direction are at distance 0."""
    first, second = single(3.0, 4.0), single(6.0, 8.0)
    np.testing.assert_allclose(losses.cosine_distance(first, second), 0, atol=1e-12)
    peer = tf.compat.v1.losses.cosine_distance(first[None], second[None], axis=-1)
    near(peer, 1 - 50)


def test_pairwise_squared_error_of_tensorflow_adds_up_over_the_batch():
    """The one pair of errors, 1 and 3, differs by 2: 4 for each example."""
    prediction, target = single([1.0, 3.0], [1.0, 3.0]), single([0, 0], [0, 0])
    near(per_sample(losses.mean_pairwise_squared_error)(prediction, target), [4, 4])
    near(tf.compat.v1.losses.mean_pairwise_squared_error(target, prediction), 8)


# optax.


def test_huber_of_optax_is_nan_without_a_limit():
    """Without lines only the parabola is left: 2^2 / 2."""
    far, target = jnp.array(2.0), jnp.array(0.0)
    assert losses.huber_loss(far, target, delta=math.inf) == 2
    assert jnp.isnan(optax.losses.huber_loss(far, target, delta=math.inf))


def test_derivative_at_the_margin_is_0_and_in_optax_half_the_slope():
    one = jnp.array(1.0)
    assert jax.grad(losses.hinge_loss)(one, one) == 0
    assert jax.grad(optax.losses.hinge_loss)(one, one) == -0.5
