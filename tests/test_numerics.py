"""The shared primitives at the points where the plain ones fail."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import _numerics


@pytest.mark.parametrize("scale", [1e-36, 1.0, 1e30, 1e37])
def test_norm_unit_and_cosine_do_not_depend_on_scale(scale):
    x = scale * jnp.array([3.0, 0.0, -4.0])
    np.testing.assert_allclose(_numerics.norm(x), 5 * np.float32(scale), rtol=1e-6)
    np.testing.assert_allclose(_numerics.unit(x), [0.6, 0, -0.8], rtol=1e-6)
    np.testing.assert_allclose(jax.grad(_numerics.norm)(x), [0.6, 0, -0.8], rtol=1e-6)
    np.testing.assert_allclose(_numerics.cosine(x, jnp.array([0.0, 0, 2])), -0.8)


@pytest.mark.parametrize(
    "length",
    [
        _numerics.norm,
        _numerics.largest,
        lambda x: _numerics.minkowski(x, jnp.array(0.5)),
        lambda x: _numerics.minkowski(x, jnp.array(1.0)),
        lambda x: _numerics.minkowski(x, jnp.array(3.0)),
        lambda x: _numerics.cosine(x, jnp.ones(3)),
    ],
)
def test_the_zero_vector_has_derivatives_of_zero(length):
    zero = jnp.zeros(3)
    assert length(zero) == 0
    np.testing.assert_array_equal(jax.grad(length)(zero), 0)
    assert not jnp.isnan(jax.hessian(length)(zero)).any()
    assert not jnp.isnan(jax.jacrev(jax.grad(length))(zero)).any()


def test_cosine_never_leaves_its_range():
    vectors = jnp.asarray(np.random.default_rng(0).normal(size=(500, 7)), jnp.float32)
    same = jax.vmap(_numerics.cosine)(vectors, vectors)
    assert (same <= 1).all() and (
        jax.vmap(_numerics.cosine)(vectors, -vectors) >= -1
    ).all()


def test_power_counts_an_infinite_slope_as_zero():
    slope = jax.grad(_numerics.power, argnums=(0, 1))
    np.testing.assert_array_equal(slope(0.0, 0.5), 0)
    np.testing.assert_allclose(slope(4.0, 0.5), [0.25, 2 * np.log(4)], rtol=1e-6)


def test_logsumexp_where_of_nothing_is_minus_infinity_without_slope():
    x, where = jnp.array([1.0, 300.0, jnp.nan]), jnp.array([True, False, False])
    value, gradient = jax.value_and_grad(_numerics.logsumexp_where)(x, where)
    assert value == 1
    np.testing.assert_array_equal(gradient, [1, 0, 0])
    nowhere = jnp.zeros(3, bool)
    assert _numerics.logsumexp_where(x, nowhere) == -jnp.inf
    gradient = jax.grad(_numerics.logsumexp_where)(x, nowhere)
    np.testing.assert_array_equal(gradient, 0)
