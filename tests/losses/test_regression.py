"""Values by hand and guarantees peculiar to the losses of numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss import losses


@pytest.mark.parametrize(
    ("loss", "by_hand"),
    [
        (losses.squared_error, (4 + 0.25) / 2),
        (losses.l2_loss, (2 + 0.125) / 2),
        (losses.absolute_error, (2 + 0.5) / 2),
        (losses.huber_loss, (1.5 + 0.125) / 2),
    ],
)
def test_by_hand(loss, by_hand):
    np.testing.assert_allclose(loss(jnp.array([3.0, 0.5]), jnp.array([1, 0])), by_hand)


@pytest.mark.parametrize("loss", [losses.absolute_error, losses.huber_loss])
def test_no_slope_where_prediction_and_target_are_equal(loss):
    assert jax.grad(loss)(jnp.array(2.0), 2.0) == 0


def test_huber_with_an_infinite_delta_is_the_l2_loss():
    error = jnp.array([5.0, -1e4])
    got = losses.huber_loss(error, jnp.zeros(2), delta=jnp.inf)
    assert got == losses.l2_loss(error, jnp.zeros(2))
    assert jnp.isnan(optax.huber_loss(error, jnp.zeros(2), delta=jnp.inf)).all()


def test_huber_slope_is_the_clipped_error():
    slope = jax.grad(losses.huber_loss)
    for error, want in [(5.0, 2.0), (-5.0, -2.0), (2.0, 2.0), (1.5, 1.5)]:
        assert slope(jnp.array(error), 0.0, delta=2.0) == want


def test_huber_is_differentiable_in_delta():
    def loss(delta):
        return losses.huber_loss(jnp.array([5.0, 0.5]), jnp.zeros(2), delta=delta)

    # d/d delta of delta (|e| - delta / 2) is |e| - delta beyond, and 0 within.
    np.testing.assert_allclose(jax.grad(loss)(2.0), (5 - 2) / 2)


@pytest.mark.parametrize("delta", [0, -1.0, float("nan")])
def test_huber_wants_a_delta_above_zero(delta):
    with pytest.raises(ValueError, match="`delta` must be above 0"):
        losses.huber_loss(jnp.ones(2), jnp.ones(2), delta=delta)


def test_half_precision_errors_do_not_overflow():
    error = jnp.array([300.0], jnp.float16)
    assert losses.squared_error(error, jnp.zeros(1)) == 90000
    assert optax.squared_error(error, jnp.zeros(1, jnp.float16)) == jnp.inf
