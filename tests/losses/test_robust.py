"""What is peculiar to the losses that wrong labels cannot pull far."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import losses


def test_generalized_cross_entropy_goes_from_surprise_to_being_wrong():
    logits = jnp.log(jnp.array([3.0, 1.0]))
    for q, want in [(0.0, np.log(4 / 3)), (1e-4, np.log(4 / 3)), (1.0, 0.25)]:
        loss = losses.generalized_cross_entropy(logits, 0, q=q)
        np.testing.assert_allclose(loss, want, rtol=1e-4)


@pytest.mark.parametrize("q", [0.3, 0.7, 1.0])
def test_generalized_cross_entropy_is_at_most_one_over_q(q):
    logits = jnp.array([-jnp.inf, 0.0])
    value, gradient = jax.value_and_grad(losses.generalized_cross_entropy)(
        logits, 0, q=q
    )
    np.testing.assert_allclose(value, 1 / q, rtol=1e-6)
    np.testing.assert_array_equal(gradient, 0)


def test_categorical_form_has_no_nan_gradient_at_zero():
    # Keras divides by 0 here and gives -inf or nan.
    value, gradient = jax.value_and_grad(losses.categorical_generalized_cross_entropy)(
        jnp.array([0.0, 1.0]), 0
    )
    assert value == 2
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("q", [0.0, 1e-3, 0.5, 1.0])
def test_q_takes_a_gradient(q):
    with jax.enable_x64(True):
        logits = jnp.array([1.0, 3.0])
        loss = losses.generalized_cross_entropy
        slope = jax.grad(lambda q: loss(logits, 0, q=q))(q)
        low, high = max(q - 1e-4, 0.0), min(q + 1e-4, 1.0)
        rise = loss(logits, 0, q=high) - loss(logits, 0, q=low)
        numeric = rise / (high - low)
        np.testing.assert_allclose(slope, numeric, rtol=5e-3)
