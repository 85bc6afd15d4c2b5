"""What is peculiar to the losses of one list: values by hand, corners, peers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxloss import losses, per_sample


def test_ranking_softmax_loss_by_hand():
    scores = jnp.log(jnp.array([1.0, 2.0, 5.0]))  # chances 1/8, 2/8, 5/8
    target = jnp.array([0.0, 1.0, 3.0])
    np.testing.assert_allclose(
        losses.ranking_softmax_loss(scores, target),
        -np.log(2 / 8) - 3 * np.log(5 / 8),
        rtol=1e-6,
    )


def test_a_masked_item_is_not_in_the_list():
    scores, target = jnp.log(jnp.array([1.0, 2.0, 5.0])), jnp.array([0.0, 1.0, 3.0])
    where = jnp.array([True, True, False])
    got = losses.ranking_softmax_loss(scores, target, where)
    np.testing.assert_allclose(got, -np.log(2 / 3), rtol=1e-6)


def test_lists_are_those_of_optax():
    rng = np.random.default_rng(0)
    scores = jnp.asarray(rng.normal(size=(4, 6)), jnp.float32)
    target = jnp.asarray(rng.uniform(size=(4, 6)), jnp.float32)
    where = jnp.asarray(rng.random((4, 6)) < 0.6).at[2].set(False)
    np.testing.assert_allclose(
        per_sample(losses.ranking_softmax_loss)(scores, target, where),
        optax.losses.ranking_softmax_loss(scores, target, where=where, reduce_fn=None),
        rtol=1e-5,
        atol=1e-6,
    )


def test_nothing_relevant_costs_nothing_and_moves_nothing():
    scores = jnp.array([1.0, 300.0, -2.0])
    value, gradient = jax.value_and_grad(losses.ranking_softmax_loss)(
        scores, jnp.zeros(3)
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_a_list_with_no_item_left_has_no_derivative_of_any_order():
    nowhere = jnp.zeros(3, bool)

    def loss(scores):
        return losses.ranking_softmax_loss(scores, jnp.ones(3), nowhere)

    for scores in (jnp.ones(3), jnp.full(3, jnp.nan)):
        assert loss(scores) == 0
        np.testing.assert_array_equal(jax.grad(loss)(scores), 0)
        np.testing.assert_array_equal(jax.jacrev(jax.grad(loss))(scores), 0)
        np.testing.assert_array_equal(jax.hessian(loss)(scores), 0)
