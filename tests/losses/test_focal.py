"""What is peculiar to the losses that play easy examples down."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss import losses


@pytest.mark.parametrize(
    ("target", "alpha", "by_hand"),
    [
        (1.0, None, 0.25**2 * np.log(4 / 3)),
        (0.0, None, 0.75**2 * np.log(4)),
        (0.0, 0.25, 0.75 * 0.75**2 * np.log(4)),
        (0.5, None, 0.5**2 * 0.5 * (np.log(4 / 3) + np.log(4))),
    ],
)
def test_sigmoid_focal_loss_by_hand(target, alpha, by_hand):
    logit = jnp.log(3.0)  # a probability of 3/4
    loss = losses.sigmoid_focal_loss(logit, target, alpha=alpha)
    np.testing.assert_allclose(loss, by_hand, rtol=1e-6)


@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("logit", [-1000.0, -3.0, 0.0, 3.0, 1000.0])
def test_without_gamma_focal_is_cross_entropy_in_value_and_gradient(logit, target):
    focal = jax.value_and_grad(losses.sigmoid_focal_loss)(logit, target, gamma=0.0)
    plain = jax.value_and_grad(losses.sigmoid_binary_cross_entropy)(logit, target)
    np.testing.assert_allclose(focal, plain, rtol=1e-5, atol=1e-30)


def test_a_hopeless_answer_keeps_its_slope():
    # Keras clips the probability: 16.1 and a gradient of 0 here.
    value, slope = jax.value_and_grad(losses.sigmoid_focal_loss)(-200.0, 1.0)
    assert value == 200 and slope == -1


@pytest.mark.parametrize("gamma", [0.5, 1.0, 1.5])
def test_a_saturated_answer_has_the_slope_of_its_tail(gamma):
    # The loss is exp(-(1 + gamma) z) up to exp(-z). torchvision gives nan below 1.
    slope = jax.grad(losses.sigmoid_focal_loss)(20.0, 1.0, gamma=gamma)
    tail = -(1 + gamma) * np.exp(-(1 + gamma) * 20.0)
    np.testing.assert_allclose(slope, tail, rtol=1e-5)


@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
def test_curvature_at_a_logit_of_zero_is_that_beside_it(target):
    second = jax.grad(jax.grad(losses.sigmoid_focal_loss))
    np.testing.assert_allclose(
        second(0.0, target), second(1e-4, target), rtol=2e-3, atol=1e-4
    )


@pytest.mark.parametrize("label", [0, 3])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_a_one_hot_target_is_its_label(label, gamma):
    logits = jnp.array([17.0, 0.0, -3.0, 1.0])
    target = jnp.arange(4) == label
    integer = jax.value_and_grad(losses.softmax_focal_loss_with_integer_labels)
    soft = jax.value_and_grad(losses.softmax_focal_loss)
    for got, want in zip(
        integer(logits, label, gamma=gamma),
        soft(logits, target, gamma=gamma),
        strict=True,
    ):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-30)


def test_softmax_focal_loss_of_a_nearly_certain_class_keeps_its_digits():
    # 1 - p = exp(-17) / (1 + exp(-17)), and the loss (1 - p)^2 (1 - p + ...).
    loss = losses.softmax_focal_loss_with_integer_labels(jnp.array([17.0, 0.0]), 0)
    np.testing.assert_allclose(loss, np.exp(-51.0), rtol=1e-4)


def test_two_classes_focal_is_the_sigmoid_focal_of_their_difference():
    logits = jnp.array([0.4, -1.1])
    np.testing.assert_allclose(
        losses.softmax_focal_loss_with_integer_labels(logits, 0),
        losses.sigmoid_focal_loss(logits[0] - logits[1], 1.0),
        rtol=1e-6,
    )


@pytest.mark.parametrize("label", [-1, 2])
def test_softmax_focal_loss_is_inf_for_an_impossible_class_nan_for_none(label):
    logits = jnp.array([1.0, -jnp.inf])
    assert losses.softmax_focal_loss_with_integer_labels(logits, 1) == jnp.inf
    assert jnp.isnan(losses.softmax_focal_loss_with_integer_labels(logits, label))


def test_poly_loss_equals_that_of_optax():
    logits, target = jnp.array([1.0, -2.0, 0.5]), jnp.array([0.2, 0.5, 0.3])
    np.testing.assert_allclose(
        losses.poly_loss_cross_entropy(logits, target, epsilon=-1.0),
        optax.losses.poly_loss_cross_entropy(logits, target, epsilon=-1.0),
        rtol=1e-5,
    )


def test_poly_loss_leaves_impossible_classes_out():
    logits, target = jnp.array([1.0, -jnp.inf, 0.5]), jnp.array([0.4, 0.0, 0.6])
    kept = jnp.array([0, 2])
    np.testing.assert_allclose(
        losses.poly_loss_cross_entropy(logits, target),
        losses.poly_loss_cross_entropy(logits[kept], target[kept]),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ("option", "value"), [("gamma", -1.0), ("alpha", 1.5), ("alpha", -0.25)]
)
def test_an_option_out_of_range_is_refused(option, value):
    with pytest.raises(ValueError, match=f"`{option}` must"):
        losses.sigmoid_focal_loss(0.0, 1.0, **{option: value})
