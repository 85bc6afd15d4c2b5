"""What is peculiar to the losses on a sample of the classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import losses

X = jnp.array([0.3, -1.0])
W = jnp.array([[1.0, 0.5], [-0.5, 2.0], [0.1, 0.1]])
B = jnp.array([0.0, 0.2, -0.3])
NONE, NONES = jnp.zeros(()), jnp.zeros(3)


def test_a_sample_of_all_classes_is_the_whole_cross_entropy():
    sampled = losses.sampled_softmax_cross_entropy(
        X, 1, W, B, jnp.arange(3), NONE, NONES
    )
    whole = losses.softmax_cross_entropy_with_integer_labels(W @ X + B, 1)
    np.testing.assert_allclose(sampled, whole, rtol=1e-6)


@pytest.mark.parametrize(
    "loss", [losses.sampled_softmax_cross_entropy, losses.nce_loss]
)
def test_an_accidental_hit_is_removed_exactly(loss):
    once = loss(X, 1, W, B, jnp.array([0, 2]), NONE, NONES[:2])
    hit = jnp.array([0, 1, 2])
    assert loss(X, 1, W, B, hit, NONE, NONES, remove_accidental_hits=True) == once
    assert loss(X, 1, W, B, hit, NONE, NONES, remove_accidental_hits=False) > once


@pytest.mark.parametrize(
    "loss", [losses.sampled_softmax_cross_entropy, losses.nce_loss]
)
def test_a_sample_that_is_no_class_is_nan_and_moves_nothing(loss):
    value, gradients = jax.value_and_grad(loss, argnums=(0, 2, 3))(
        X, 1, W, B, jnp.array([0, 3, 2]), NONE, NONES
    )
    assert jnp.isnan(value)
    assert all((gradient == 0).all() for gradient in gradients)


def test_log_uniform_candidates_follow_their_distribution():
    classes, draws = 20, 200_000
    drawn = losses.log_uniform_candidates(
        jax.random.key(1), jnp.arange(classes), num_sampled=draws, num_classes=classes
    )
    expected = np.exp(np.asarray(drawn.log_expected_true, np.float64))
    by_hand = draws * np.diff(np.log(np.arange(1, classes + 2))) / np.log(classes + 1)
    np.testing.assert_allclose(expected, by_hand, rtol=1e-5)
    np.testing.assert_allclose(expected.sum(), draws, rtol=1e-5)
    counts = np.bincount(np.asarray(drawn.sampled), minlength=classes)
    assert counts.size == classes
    # Counts of rare events spread as their root: five of these are out of the question.
    assert (np.abs(counts - by_hand) < 5 * np.sqrt(by_hand)).all()


def test_log_uniform_candidates_go_straight_into_a_loss():
    labels = jnp.array([0, 2])
    drawn = losses.log_uniform_candidates(
        jax.random.key(0), labels, num_sampled=4, num_classes=3
    )
    kernel = jax.vmap(losses.nce_loss, in_axes=(0, 0, None, None, None, 0, None))
    values = kernel(jnp.stack([X, X]), labels, W, B, *drawn)
    assert values.shape == (2,) and jnp.isfinite(values).all()
