"""What is peculiar to the losses of `jaxloss.losses.regression`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss.losses import absolute_error, huber_loss, log_cosh, smooth_l1_loss


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
    np.testing.assert_allclose(jax.grad(sharp)(errors), jnp.sign(errors) / 5)
    np.testing.assert_array_equal(jax.hessian(sharp)(errors), 0)
    np.testing.assert_array_equal(jax.jacrev(jax.grad(sharp))(errors), 0)


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
