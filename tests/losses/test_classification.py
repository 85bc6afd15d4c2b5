"""What is peculiar to the losses on classes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss import losses


def test_forward_mode_is_safe_where_that_of_optax_is_nan():
    logits, target = jnp.array([1.0, -jnp.inf, 0.5]), jnp.array([0.4, 0.0, 0.6])
    theirs = jax.jacfwd(optax.losses.safe_softmax_cross_entropy)(logits, target)
    assert jnp.isnan(theirs).any()
    # softmax of the two possible classes, less the target
    p = 1 / (1 + np.exp(-0.5))
    ours = jax.jacfwd(losses.safe_softmax_cross_entropy)(logits, target)
    np.testing.assert_allclose(ours, [p - 0.4, 0, 1 - p - 0.6], rtol=1e-5)


def test_smooth_labels_equals_that_of_optax_without_a_mask():
    target = jnp.array([0.0, 1.0, 0.0])
    np.testing.assert_allclose(
        losses.smooth_labels(target, alpha=0.3),
        optax.losses.smooth_labels(target, 0.3),
        rtol=1e-6,
    )


def test_smooth_labels_gives_nothing_to_classes_left_out():
    target, where = jnp.array([1.0, 0.0, 0.0]), jnp.array([True, True, False])
    with jax.numpy_dtype_promotion("standard"):
        theirs = optax.losses.smooth_labels(target, 0.3, where=where)
    np.testing.assert_allclose(theirs, [0.85, 0.15, 0.15], rtol=1e-6)
    ours = losses.smooth_labels(target, where, alpha=0.3)
    np.testing.assert_allclose(ours, [0.85, 0.15, 0], rtol=1e-6)
    poisoned = target.at[2].set(jnp.nan)
    np.testing.assert_array_equal(
        losses.smooth_labels(poisoned, where, alpha=0.3), ours
    )


def test_smooth_labels_is_the_option_of_the_cross_entropy():
    logits, target = jnp.array([1.0, -jnp.inf, 0.5]), jnp.array([0.4, 0.0, 0.6])
    smoothed = losses.smooth_labels(target, logits > -jnp.inf, alpha=0.2)
    np.testing.assert_allclose(
        losses.softmax_cross_entropy(logits, smoothed),
        losses.softmax_cross_entropy(logits, target, label_smoothing=0.2),
        rtol=1e-6,
    )


def test_smooth_labels_refuses_an_index():
    with pytest.raises(TypeError, match="`target` must be floating"):
        losses.smooth_labels(jnp.array([0, 1]), alpha=0.1)
    with pytest.raises(ValueError, match="`alpha` must be in"):
        losses.smooth_labels(jnp.array([0.0, 1.0]), alpha=1.1)


def test_nll_loss_of_log_softmax_is_cross_entropy():
    logits = jnp.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(
        losses.nll_loss(jax.nn.log_softmax(logits), 2),
        losses.softmax_cross_entropy_with_integer_labels(logits, 2),
        rtol=1e-6,
    )


def test_nll_loss_of_an_impossible_class_is_inf_unless_it_has_no_weight():
    log_prob = jnp.array([0.0, -jnp.inf])
    assert losses.nll_loss(log_prob, 1) == jnp.inf
    assert losses.nll_loss(log_prob, 1, class_weights=jnp.array([1.0, 0.0])) == 0
    assert losses.nll_loss(log_prob, 0) == 0


def test_one_nan_in_another_class_is_nan_and_moves_nothing():
    spoilt = jnp.array([-0.1, jnp.nan])
    for loss in (losses.nll_loss, losses.sparse_categorical_cross_entropy):
        value, gradient = jax.value_and_grad(loss)(jnp.abs(spoilt), 0)
        assert jnp.isnan(value) and (gradient == 0).all()


def test_a_probability_of_zero_is_inf_and_clipped_only_on_request():
    # Keras clips at 1e-7 and so gives 16.118, with gradient 0.
    certain = jnp.array([1.0, 0.0])
    assert losses.sparse_categorical_cross_entropy(certain, 1) == jnp.inf
    value, gradient = jax.value_and_grad(losses.sparse_categorical_cross_entropy)(
        certain, 1, normalize=True, clip=1e-7
    )
    np.testing.assert_allclose(value, 16.118, rtol=1e-5)
    np.testing.assert_array_equal(gradient, 0)


def test_a_one_hot_target_is_its_label_for_probabilities():
    probability = jnp.array([0.2, 0.5, 0.3])
    np.testing.assert_allclose(
        losses.sparse_categorical_cross_entropy(probability, 2),
        losses.categorical_cross_entropy(probability, jnp.array([0, 0, 1])),
        rtol=1e-6,
    )
