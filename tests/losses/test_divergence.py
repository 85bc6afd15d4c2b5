"""What is peculiar to the losses of `jaxloss.losses.divergence`."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss import per_sample
from jaxloss.losses import (
    convex_kl_divergence,
    generalized_kl_divergence,
    kl_divergence,
    kl_divergence_with_log_targets,
)

of_targets = pytest.mark.parametrize("loss", [kl_divergence, generalized_kl_divergence])


def test_kl_divergence_by_hand():
    # 3/4 log(3/4 / 1/2) + 1/4 log(1/4 / 1/2).
    log_p, t = jnp.log(jnp.array([0.5, 0.5])), jnp.array([0.75, 0.25])
    by_hand = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    for value in (
        kl_divergence(log_p, t),
        kl_divergence_with_log_targets(log_p, jnp.log(t)),
        generalized_kl_divergence(log_p, t),
    ):
        np.testing.assert_allclose(value, by_hand, rtol=1e-6)


def test_generalized_kl_divergence_by_hand():
    value = generalized_kl_divergence(jnp.log(jnp.array([2.0])), jnp.array([3.0]))
    np.testing.assert_allclose(value, 3 * math.log(1.5) + 2 - 3, rtol=1e-6)
    assert convex_kl_divergence is generalized_kl_divergence


@of_targets
def test_divergence_of_a_class_that_is_impossible_in_both_is_0(loss):
    log_p, t = jnp.array([0.0, -jnp.inf]), jnp.array([1.0, 0.0])
    results = jax.value_and_grad(loss, argnums=(0, 1))
    value, gradients = results(log_p, t)
    assert value == 0 and jnp.isfinite(jnp.stack(gradients)).all()
    assert loss(log_p, t[::-1]) == jnp.inf
    assert jnp.isfinite(jnp.stack(results(log_p, t[::-1])[1])).all()
    # 0 times infinity in optax.
    assert jnp.isnan(optax.losses.kl_divergence(log_p, t))


def test_log_target_divergence_of_a_class_that_is_impossible_in_both_is_0():
    log_p = jnp.array([0.0, -jnp.inf])
    loss = kl_divergence_with_log_targets
    value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(log_p, log_p)
    assert value == 0
    np.testing.assert_array_equal(gradients, [[-1, 0], [1, 0]])
    assert loss(log_p, log_p[::-1]) == jnp.inf
    for position in (0, 1):
        second = jax.jacrev(jax.grad(loss, argnums=position), argnums=position)
        assert jnp.isfinite(second(log_p, log_p)).all()
    assert jnp.isnan(optax.losses.kl_divergence_with_log_targets(log_p, log_p))


def test_kl_divergence_has_a_finite_derivative_by_a_target_of_0():
    log_p, t = jnp.log(jnp.array([0.75, 0.25])), jnp.array([1.0, 0.0])
    slope = jax.grad(kl_divergence, argnums=1)(log_p, t)
    tiny = float(jnp.finfo(jnp.float32).tiny)
    np.testing.assert_allclose(
        slope, [1 - math.log(0.75), math.log(tiny) + 1 - math.log(0.25)], rtol=1e-6
    )
    second = jax.jacrev(jax.grad(kl_divergence, argnums=1), argnums=1)(log_p, t)
    np.testing.assert_array_equal(second, [[1, 0], [0, 0]])
    assert jnp.isnan(jax.grad(optax.losses.kl_divergence, argnums=1)(log_p, t)[1])


@of_targets
@pytest.mark.parametrize("position", [0, 1])
def test_divergence_with_one_wrong_element_moves_nothing(loss, position):
    data = [jnp.log(jnp.array([0.5, 0.5])), jnp.array([0.5, 0.5])]
    for wrong in (jnp.nan, -0.1)[: position + 1]:
        data[position] = data[position].at[0].set(wrong)
        value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(*data)
        assert jnp.isnan(value)
        np.testing.assert_array_equal(gradients, 0)


def test_generalized_kl_divergence_is_accurate_and_not_negative_near_equality():
    log_p = jax.nn.log_softmax(jax.random.normal(jax.random.key(0), (500, 7)))
    near = jnp.exp(log_p) * (1 + 1e-6 * jax.random.normal(jax.random.key(1), (500, 7)))
    assert (per_sample(generalized_kl_divergence)(log_p, near) >= 0).all()
    log_p, t = jnp.array([0.0]), jnp.array([1 + 2**-10])
    gap = math.log1p(2**-10)
    exact = (1 + 2**-10) * gap - 2**-10
    np.testing.assert_allclose(generalized_kl_divergence(log_p, t), exact, rtol=1e-3)
