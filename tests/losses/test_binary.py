"""What is peculiar to the losses on yes-or-no answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import losses


def test_soft_margin_loss_does_not_overflow():
    # torch computes exp(100) in float32 and gives inf; log(1 + exp(100)) is 100.
    value, slope = jax.value_and_grad(losses.soft_margin_loss)(-100.0, 1.0)
    assert value == 100 and slope == -1


def test_soft_margin_loss_is_cross_entropy_of_sides():
    score, side = jnp.array([0.3, -2.0]), jnp.array([1, -1])
    np.testing.assert_allclose(
        losses.soft_margin_loss(score, side),
        losses.sigmoid_binary_cross_entropy(score, (side + 1) // 2),
        rtol=1e-6,
    )


def test_multilabel_soft_margin_weights_leave_the_divisor_alone():
    loss = losses.multilabel_soft_margin_loss(
        jnp.zeros(2), jnp.array([1, 0]), class_weights=jnp.array([3.0, 0.0])
    )
    np.testing.assert_allclose(loss, 3 * np.log(2) / 2, rtol=1e-6)


def test_min_log_floors_each_logarithm():
    loss, slope = jax.value_and_grad(losses.binary_cross_entropy)(
        jnp.array([0.0, 0.5]), jnp.array([1, 1]), min_log=-100.0
    )
    np.testing.assert_allclose(loss, (100 + np.log(2)) / 2, rtol=1e-6)
    np.testing.assert_allclose(slope, [0, -1])
    assert losses.binary_cross_entropy(0.0, 1) == jnp.inf


@pytest.mark.parametrize("probability", [-0.1, 1.1])
def test_min_log_does_not_hide_a_probability_out_of_range(probability):
    assert jnp.isnan(losses.binary_cross_entropy(probability, 1, min_log=-100.0))
