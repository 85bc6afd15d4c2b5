"""What is peculiar to the losses of `jaxloss.losses.relative`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss.losses import (
    absolute_percentage_error,
    mean_pairwise_squared_error,
    squared_logarithmic_error,
)


def test_percentage_of_a_zero_target_counts_in_units_of_epsilon():
    value = absolute_percentage_error(jnp.float32(1), 0)
    np.testing.assert_allclose(value, 1e9, rtol=1e-6)
    share = absolute_percentage_error(jnp.float32(1), 0, epsilon=1e-3, scale=1)
    np.testing.assert_allclose(share, 1e3, rtol=1e-6)


def test_percentage_has_derivative_0_at_the_target():
    slopes = jax.grad(absolute_percentage_error, argnums=(0, 1))(2.0, 2.0)
    assert slopes == (0, 0)


def test_percentage_refuses_an_epsilon_of_0():
    with pytest.raises(ValueError, match="`epsilon` must be above 0, got 0"):
        absolute_percentage_error(jnp.ones(2), jnp.ones(2), epsilon=0)


def test_logarithmic_error_by_hand():
    # log 4 - log 2 is log 2.
    value = squared_logarithmic_error(jnp.float32(3), 1)
    np.testing.assert_allclose(value, np.log(2) ** 2, rtol=1e-6)


def test_logarithmic_error_keeps_a_difference_of_one_last_digit():
    target = np.float32(1000)
    prediction = np.nextafter(target, np.float32(np.inf))
    exact = (float(prediction) - 1000) / 1001
    value = squared_logarithmic_error(prediction, target)
    np.testing.assert_allclose(value, exact**2, rtol=1e-6)
    slope = jax.grad(squared_logarithmic_error)(prediction, target)
    np.testing.assert_allclose(slope, 2 * exact / 1001, rtol=1e-6)


@pytest.mark.parametrize(
    ("prediction", "target", "value"),
    [
        (-1.0, 0.0, np.inf),
        (0.0, -1.0, np.inf),
        (-1.5, 0.0, np.nan),
        (-1.15, -1.2, np.nan),
    ],
)
def test_logarithmic_error_outside_its_domain(prediction, target, value):
    got = squared_logarithmic_error(prediction, target)
    np.testing.assert_array_equal(got, np.float32(value))
    slope = jax.grad(squared_logarithmic_error)(prediction, target)
    second = jax.jacrev(jax.grad(squared_logarithmic_error))(prediction, target)
    assert slope == 0 and not jnp.isnan(second)


def test_logarithmic_error_clips_negative_numbers_only_when_asked():
    # Keras: log 3 against log(1 + 1e-7), for the target -0.5.
    clipped = squared_logarithmic_error(jnp.float32(2), -0.5, clip=1e-7)
    np.testing.assert_allclose(clipped, 1.2069, rtol=1e-4)
    whole = squared_logarithmic_error(jnp.float32(2), -0.5)
    np.testing.assert_allclose(whole, np.log(6) ** 2, rtol=1e-6)
    slope = jax.grad(squared_logarithmic_error)
    assert slope(-0.5, 2.0, clip=1e-7) == 0 and slope(1e-7, 2.0, clip=1e-7) == 0
    assert slope(-0.5, 2.0) < 0
    assert jnp.isnan(squared_logarithmic_error(jnp.nan, 2.0, clip=1e-7))


def test_logarithmic_error_refuses_a_clip_of_minus_1():
    with pytest.raises(ValueError, match="`clip` must be above -1, got -1"):
        squared_logarithmic_error(jnp.ones(2), jnp.ones(2), clip=-1)


def test_pairwise_error_by_hand():
    # Errors -1, 1 and 2: differences 2, 3 and 1, squared and averaged 14 / 3.
    prediction, target = jnp.array([0.0, 3.0, 5.0]), jnp.array([1, 2, 3])
    value = mean_pairwise_squared_error(prediction, target)
    np.testing.assert_allclose(value, 14 / 3, rtol=1e-6)


def test_pairwise_error_ignores_a_common_level():
    prediction, target = jnp.array([0.0, 3.0, 5.0]), jnp.array([1, 2, 3])
    value = mean_pairwise_squared_error(prediction + 2.0**20, target)
    np.testing.assert_allclose(value, 14 / 3, rtol=1e-6)
    assert mean_pairwise_squared_error(jnp.full(3, 1e6), jnp.zeros(3)) == 0


@pytest.mark.parametrize("kept", [0, 1])
def test_pairwise_error_of_fewer_than_two_elements_is_0(kept):
    where = jnp.arange(3) < kept
    value, gradient = jax.value_and_grad(mean_pairwise_squared_error)(
        jnp.array([3.0, jnp.nan, jnp.inf]), jnp.zeros(3), where
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_pairwise_error_divides_by_the_pairs_that_count():
    where = jnp.array([True, False, True])
    value = mean_pairwise_squared_error(
        jnp.array([1.0, jnp.nan, 4.0]), jnp.zeros(3), where
    )
    np.testing.assert_allclose(value, 9, rtol=1e-6)


def test_pairwise_error_of_an_infinite_element_is_nan_with_gradient_0():
    value, gradient = jax.value_and_grad(mean_pairwise_squared_error)(
        jnp.array([3.0, 1.0, jnp.inf]), jnp.zeros(3)
    )
    assert jnp.isnan(value)
    np.testing.assert_array_equal(gradient, 0)
