"""What is peculiar to the losses of `jaxloss.losses.likelihood`."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss.losses import (
    gaussian_nll_loss,
    gaussian_nll_loss_with_log_variance,
    poisson_nll_loss,
)


def test_poisson_by_hand():
    # Three counts at a rate of 2.
    value = poisson_nll_loss(jnp.float32(math.log(2)), 3)
    np.testing.assert_allclose(value, 2 - 3 * math.log(2), rtol=1e-6)
    rate = poisson_nll_loss(jnp.float32(2), 3, log_input=False)
    np.testing.assert_allclose(rate, 2 - 3 * math.log(2), rtol=1e-6)


@pytest.mark.parametrize(
    ("count", "full", "constant"),
    [
        (0, True, 0),
        (1, True, 0),
        (3, True, 3 * math.log(3) - 3 + 0.5 * math.log(6 * math.pi)),
        (0, "exact", 0),
        (3, "exact", math.log(6)),
        (20, "exact", math.lgamma(21)),
    ],
)
def test_poisson_constant_of_the_count(count, full, constant):
    plain = poisson_nll_loss(jnp.float32(0.5), count)
    value = poisson_nll_loss(jnp.float32(0.5), count, full=full)
    np.testing.assert_allclose(value - plain, constant, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("rate", "options"),
    [(-jnp.inf, {}), (0.0, {"log_input": False, "epsilon": 0.0})],
)
def test_poisson_rate_of_0_costs_nothing_without_and_dearly_with_counts(rate, options):
    assert poisson_nll_loss(rate, 0, **options) == 0
    assert poisson_nll_loss(rate, 1, **options) == jnp.finfo(jnp.float32).max


def test_poisson_is_finite_as_long_as_the_rate_is():
    value, slope = jax.value_and_grad(poisson_nll_loss)(88.7, 0)
    exact = np.exp(np.float64(np.float32(88.7)))
    np.testing.assert_allclose((value, slope), exact, rtol=1e-6)


def test_poisson_epsilon_prices_a_rate_of_0():
    value, slope = jax.value_and_grad(poisson_nll_loss)(0.0, 2.0, log_input=False)
    np.testing.assert_allclose(value, -2 * math.log(1e-8), rtol=1e-6)
    np.testing.assert_allclose(slope, -2e8, rtol=1e-6)


@pytest.mark.parametrize(
    ("prediction", "count", "options"),
    [
        (0.5, -1.0, {}),
        (0.5, -1.0, {"log_input": False}),
        (-0.5, 1.0, {"log_input": False, "epsilon": 1.0}),
    ],
)
def test_poisson_is_nan_with_gradient_0_outside_its_domain(prediction, count, options):
    for full in (False, True, "exact"):
        value, slopes = jax.value_and_grad(poisson_nll_loss, argnums=(0, 1))(
            prediction, count, **options, full=full
        )
        assert jnp.isnan(value) and slopes[0] == 0 and jnp.isfinite(slopes[1])


def test_poisson_refuses_another_word_for_full():
    with pytest.raises(ValueError, match='`full` must be False, True or "exact"'):
        poisson_nll_loss(jnp.ones(2), jnp.ones(2), full="stirling")


def test_gaussian_by_hand():
    # An error of 2 at a variance of 4.
    value = gaussian_nll_loss(1.0, 3.0, 4.0)
    np.testing.assert_allclose(value, (math.log(4) + 1) / 2, rtol=1e-6)
    full = gaussian_nll_loss(1.0, 3.0, 4.0, full=True)
    np.testing.assert_allclose(full - value, math.log(2 * math.pi) / 2, rtol=1e-6)


def test_gaussian_under_its_floor_is_pushed_up_as_at_its_floor():
    # PyTorch, whose clamp autograd does not see: -5e11 at a variance of 1e-9.
    results = jax.value_and_grad(gaussian_nll_loss, argnums=(0, 1, 2))
    under, at = results(1.0, 0.0, 1e-9), results(1.0, 0.0, 1e-6)
    assert under == at
    np.testing.assert_allclose(under[1][2], -5e11, rtol=1e-5)
    assert results(1.0, 0.0, 0.0) == at


def test_gaussian_without_a_floor_knows_a_tiny_variance():
    value = gaussian_nll_loss(1e-6, 0.0, 1e-12, epsilon=0.0)
    np.testing.assert_allclose(value, (math.log(1e-12) + 1) / 2, rtol=1e-5)


@pytest.mark.parametrize("epsilon", [0.0, 1e-6])
def test_gaussian_is_nan_with_gradient_0_for_a_negative_variance(epsilon):
    value, slopes = jax.value_and_grad(gaussian_nll_loss, argnums=(0, 1, 2))(
        1.0, 0.0, -1e-9, epsilon=epsilon
    )
    assert jnp.isnan(value) and slopes == (0, 0, 0)


def test_gaussian_of_infinite_variance_is_inf():
    assert gaussian_nll_loss(1.0, 0.0, jnp.inf) == jnp.inf


def test_gaussian_of_the_log_variance_is_that_of_the_variance():
    mean, drawn = jnp.array([0.3, -2.0]), jnp.array([1.0, 4.0])
    variance = jnp.array([0.2, 7.0])
    np.testing.assert_allclose(
        gaussian_nll_loss_with_log_variance(mean, drawn, jnp.log(variance), full=True),
        gaussian_nll_loss(mean, drawn, variance, full=True),
        rtol=1e-6,
    )


def test_gaussian_of_the_log_variance_does_not_overflow_at_a_large_error():
    # The square of 1e20 is beyond float32, its share of this variance is 1.
    log_variance = jnp.float32(math.log(1e40))
    value = gaussian_nll_loss_with_log_variance(1e20, 0.0, log_variance)
    np.testing.assert_allclose(value, (math.log(1e40) + 1) / 2, rtol=1e-5)


def test_gaussian_of_the_log_variance_has_a_slope_of_at_most_one_half():
    slope = jax.grad(gaussian_nll_loss_with_log_variance, argnums=2)
    assert slope(1.0, 1.0, -3.0) == 0.5
    assert slope(1.0, 1.0, -1e4) == 0.5
    assert abs(slope(3.0, 1.0, math.log(4))) < 1e-6 and slope(4.0, 1.0, 0.0) < 0
