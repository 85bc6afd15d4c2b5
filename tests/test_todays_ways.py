"""The ways that people get sample losses today, with the numbers worked by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss import losses, per_sample, reduction


def test_categorical_cross_entropy_of_probabilities():
    targets = jnp.array([[0, 1, 0], [1, 0, 0]])
    predictions = jnp.array([[0.1, 0.8, 0.1], [0.7, 0.2, 0.1]])
    got = per_sample(losses.categorical_cross_entropy)(predictions, targets)
    # -log 0.8 and -log 0.7
    np.testing.assert_allclose(got, [0.22314355, 0.35667494], rtol=1e-6)


def test_mean_squared_error_of_each_sample():
    predictions = jnp.array([[1.2, 1.8], [3.5, 3.5]])
    targets = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    got = per_sample(losses.squared_error)(predictions, targets)
    # (0.04 + 0.04) / 2 and (0.25 + 0.25) / 2
    np.testing.assert_allclose(got, [0.04, 0.25], rtol=1e-5)


def combined(output, target):
    """Cross-entropy on the first 3 outputs, squared error on the other 2."""
    return losses.softmax_cross_entropy_with_integer_labels(
        output[:3], target["label"]
    ) + losses.squared_error(output[3:], target["box"])


def test_a_combined_loss_is_a_plain_function():
    outputs = jnp.array([[0.0, 0.0, 0.0, 1.0, 2.0], [0.0, 0.0, 0.0, 0.5, 0.5]])
    targets = {
        "label": jnp.array([0, 2]),
        "box": jnp.array([[1.0, 1.0], [0.5, 0.5]]),
    }
    got = per_sample(combined)(outputs, targets)
    # log 3 + (0 + 1) / 2 and log 3 + 0
    np.testing.assert_allclose(got, [np.log(3) + 0.5, np.log(3)], rtol=1e-6)


def test_batch_loss_and_sample_losses_together():
    logits, labels = jnp.array([0.0, 2.0, -1.0]), jnp.array([1, 1, 0])
    weights = jnp.array([1.0, 3.0, 0.0])

    def batch_loss(logits):
        sample_losses = per_sample(losses.sigmoid_binary_cross_entropy)(logits, labels)
        return reduction.weighted_mean(sample_losses, weights), sample_losses

    (loss, sample_losses), gradient = jax.value_and_grad(batch_loss, has_aux=True)(
        logits
    )
    by_hand = [np.log(2), np.log1p(np.exp(-2)), np.log1p(np.exp(-1))]
    np.testing.assert_allclose(sample_losses, by_hand, rtol=1e-6)
    np.testing.assert_allclose(loss, (by_hand[0] + 3 * by_hand[1]) / 4, rtol=1e-6)
    slopes = [-0.5 / 4, -3 / (1 + np.exp(2)) / 4, 0]
    np.testing.assert_allclose(gradient, slopes, rtol=1e-5)


def test_a_training_loop_gets_the_sample_losses_of_the_same_pass():
    model = nn.Dense(3)
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(6, 4)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 3, 6), jnp.int32)
    params = model.init(jax.random.key(0), images)
    kernel = per_sample(losses.softmax_cross_entropy_with_integer_labels)
    passes = []

    def forward(params, images) -> jax.Array:
        passes.append(1)
        return forward_one(params, images)

    def forward_one(params, image) -> jax.Array:
        return jnp.asarray(model.apply(params, image))

    def batch_loss(params):
        sample_losses = kernel(forward(params, images), labels)
        return sample_losses.mean(), sample_losses

    step = jax.jit(jax.value_and_grad(batch_loss, has_aux=True))
    for _ in range(3):
        (loss, sample_losses), gradient = step(params)
        loop = [
            optax.softmax_cross_entropy_with_integer_labels(
                forward_one(params, image), label
            )
            for image, label in zip(images, labels, strict=True)
        ]
        np.testing.assert_allclose(sample_losses, np.stack(loop), rtol=1e-5)
        np.testing.assert_allclose(loss, np.mean(loop), rtol=1e-5)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
    assert len(passes) == 1  # traced once, so the model runs once in each step


def test_a_column_of_logits_against_a_row_of_labels_says_what_to_do():
    logits, labels = jnp.zeros((4, 1)), jnp.zeros(4)
    with jax.numpy_rank_promotion("allow"):
        assert optax.sigmoid_binary_cross_entropy(logits, labels).shape == (4, 4)
    with pytest.raises(ValueError, match="Nothing is broadcast; reshape") as error:
        per_sample(losses.sigmoid_binary_cross_entropy)(logits, labels)
    assert "`target` must have the shape of `logits`, (1,), got ()" in str(error.value)
    assert "logits.squeeze(-1)" in str(error.value)
