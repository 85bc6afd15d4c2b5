"""The primitives that losses share, where the plain ones would fail."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import _numerics


@pytest.mark.parametrize(("q", "slope"), [(0.0, 0), (0.5, 0), (1.0, 1), (2.0, 0)])
def test_power_has_a_finite_slope_at_zero(q, slope):
    value, got = jax.value_and_grad(_numerics.power)(0.0, q)
    assert value == float(q == 0) and got == slope


@pytest.mark.parametrize("label", [0, 1])
def test_log_odds_against_do_not_cancel(label):
    for logits in ([17.0, 0.0], [1e8, 1e8], [1000.0, 990.0], [-1e8, 1e8]):
        odds, gradient = jax.value_and_grad(_numerics.log_odds_against)(
            jnp.array(logits), jnp.int32(label)
        )
        np.testing.assert_allclose(odds, logits[1 - label] - logits[label])
        np.testing.assert_array_equal(gradient, [-1, 1] if label == 0 else [1, -1])


def test_log_odds_against_at_the_ends():
    def odds(logits, label):
        return jax.value_and_grad(_numerics.log_odds_against)(
            jnp.array(logits), jnp.int32(label)
        )

    assert odds([1.0, -jnp.inf], 0)[0] == -jnp.inf
    assert odds([1.0, -jnp.inf], 1)[0] == jnp.inf
    assert odds([1.0], 0)[0] == -jnp.inf
    for logits, label in (([1.0, 2.0], -1), ([1.0, jnp.nan], 0), ([jnp.nan, 1.0], 0)):
        value, gradient = odds(logits, label)
        assert jnp.isnan(value)
        np.testing.assert_array_equal(gradient, 0)


def test_smooth_keeps_the_sum():
    kept = jnp.array([True, False, True])
    smoothed = _numerics.smooth(jnp.array([0.25, 0.0, 0.75]), kept, 0.2)
    np.testing.assert_allclose(smoothed, [0.3, 0.0, 0.7], rtol=1e-6)


def test_an_argument_without_a_slope_says_so():
    @_numerics.slopes(lambda x, label: jnp.ones_like(x), _numerics.no_slope)
    def loss(x, label):
        return x + label.astype(x.dtype)

    assert jax.grad(loss)(1.0, jnp.int32(2)) == 1
    with pytest.raises(TypeError, match="no derivative"):
        jax.grad(loss, argnums=1)(1.0, jnp.float32(2))
