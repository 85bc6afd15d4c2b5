"""Values by hand and guarantees peculiar to the losses of numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss import losses
from jaxloss.losses import absolute_error, huber_loss, log_cosh, smooth_l1_loss


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


@pytest.mark.parametrize(("error", "beta", "by_hand"), [(5, 2, 4), (1, 2, 0.25)])
def test_smooth_l1_by_hand(error, beta, by_hand):
    assert smooth_l1_loss(jnp.float32(error), 0, beta=beta) == by_hand


def test_smooth_l1_is_huber_divided_by_its_delta():
    errors, zeros = jnp.linspace(-7, 7, 31), jnp.zeros(31)
    np.testing.assert_allclose(
        smooth_l1_loss(errors, zeros, beta=2.5),
        huber_loss(errors, zeros, delta=2.5) / 2.5,
        rtol=1e-6,
    )


@pytest.mark.parametrize("traced", [False, True])
def test_smooth_l1_with_beta_0_is_the_absolute_error_with_its_derivatives(traced):
    errors, zeros = jnp.array([-1e30, -2.0, 0.0, 1e-30, 3.0]), jnp.zeros(5)
    beta = jnp.float32(0) if traced else 0.0

    def sharp(errors):
        return smooth_l1_loss(errors, zeros, beta=beta)

    np.testing.assert_array_equal(sharp(errors), absolute_error(errors, zeros))
    slope = jax.grad(sharp)
    slopes, *second = jax.jit(
        lambda x: (slope(x), jax.hessian(sharp)(x), jax.jacrev(slope)(x))
    )(errors)
    np.testing.assert_allclose(slopes, jnp.sign(errors) / 5)
    np.testing.assert_array_equal(second, 0)


def test_smooth_l1_refuses_a_beta_below_0():
    with pytest.raises(ValueError, match="`beta` must not be below 0, got -1"):
        smooth_l1_loss(jnp.ones(2), jnp.ones(2), beta=-1)


@pytest.mark.parametrize("error", [1e-18, 1e-4, 0.3, 1.0, 3.0, 19.9, 20.1, 1e30])
def test_log_cosh_is_accurate_for_an_error_of_any_size(error):
    series = error**2 / 2 - error**4 / 12
    exact = np.logaddexp(error, -error) - np.log(2)
    want = series if error < 1e-3 else exact
    np.testing.assert_allclose(log_cosh(jnp.float32(error), 0), want, rtol=5e-7)
    slope = jax.grad(log_cosh)(jnp.float32(error), 0.0)
    np.testing.assert_allclose(slope, np.tanh(error), rtol=5e-7)


def test_log_cosh_keeps_the_small_error_that_optax_loses():
    error = jnp.float32(1e-4)
    assert optax.losses.log_cosh(error, jnp.float32(0)) == 0
    np.testing.assert_allclose(log_cosh(error, 0), 5e-9, rtol=1e-6)
