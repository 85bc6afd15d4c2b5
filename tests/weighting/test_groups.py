"""Group DRO: the shares follow the losses, and nothing unknown moves them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import reduction
from jaxloss.weighting import GroupState, group_weights, init_groups

NAN = jnp.nan


def reference(losses, groups, shares, step_size):
    """One step as in the paper, with a loss of 0 for a group that is not there."""
    means = np.array(
        [
            losses[groups == g].mean() if (groups == g).any() else 0.0
            for g in range(len(shares))
        ]
    )
    shares = shares * np.exp(step_size * means)
    return shares / shares.sum(), means


def test_group_weights_follow_the_paper_over_many_steps():
    rng = np.random.default_rng(0)
    state, shares, traces = init_groups(4), np.full(4, 0.25), []

    @jax.jit
    def step(losses, groups, state, step_size):
        traces.append(1)
        return group_weights(losses, groups, state, step_size=step_size)

    for t in range(20):
        losses = rng.exponential(size=16).astype(np.float32)
        groups = rng.integers(0, 3 + t % 2, 16)
        weights, state = step(losses, groups, state, 0.5)
        shares, means = reference(losses, groups, shares, 0.5)
        np.testing.assert_allclose(jnp.exp(state.log_share), shares, rtol=1e-5)
        np.testing.assert_allclose(
            reduction.weighted_sum(losses, weights), shares @ means, rtol=1e-5
        )
    assert len(traces) == 1


def test_shares_sum_to_1_and_weights_too_when_all_groups_are_there():
    losses, groups = jnp.array([1.0, 2.0, 3.0, 9.0]), jnp.array([0, 1, 1, 2])
    weights, state = group_weights(losses, groups, init_groups(3), step_size=1.0)
    np.testing.assert_allclose(jnp.exp(state.log_share).sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-6)
    assert weights[1] == weights[2]


def test_padding_nan_and_unknown_groups_have_weight_0_and_move_nothing():
    clean, groups = jnp.array([1.0, 2.0, 5.0]), jnp.array([0, 1, 1])
    want, want_state = group_weights(clean, groups, init_groups(2), step_size=0.3)
    losses = jnp.array([1.0, NAN, 2.0, jnp.inf, 99.0, 7.0, 8.0, 5.0])
    groups = jnp.array([0, 0, 1, 1, 0, -1, 2, 1])
    where = losses != 99
    got, state = group_weights(
        losses, groups, init_groups(2), step_size=0.3, where=where
    )
    np.testing.assert_allclose(got[jnp.array([0, 2, 7])], want, rtol=1e-6)
    np.testing.assert_array_equal(got[jnp.array([1, 3, 4, 5, 6])], 0)
    np.testing.assert_allclose(state.log_share, want_state.log_share, rtol=1e-6)


def test_the_worst_group_wins_and_a_lost_share_comes_back():
    state, groups = init_groups(2), jnp.array([0, 1])
    for _ in range(50):
        _, state = group_weights(jnp.array([1.0, 100.0]), groups, state, step_size=1.0)
    assert state.log_share[0] < -1000
    for _ in range(60):
        _, state = group_weights(jnp.array([100.0, 1.0]), groups, state, step_size=1.0)
    np.testing.assert_allclose(jnp.exp(state.log_share), [1, 0], atol=1e-6)


def test_no_loss_overflows():
    state = init_groups(3)
    for _ in range(5):
        losses = jnp.array([3e38, -3e38, 0.0])
        weights, state = group_weights(losses, jnp.arange(3), state, step_size=10.0)
        assert jnp.isfinite(state.log_share).all()
        np.testing.assert_allclose(weights, [1, 0, 0])


def test_an_empty_batch_moves_nothing():
    none = jnp.zeros(0, jnp.int32)
    weights, state = group_weights(jnp.zeros(0), none, init_groups(2))
    assert weights.shape == (0,)
    np.testing.assert_allclose(jnp.exp(state.log_share), 0.5)


def test_the_state_is_a_pytree_that_a_scan_carries():
    losses = jnp.ones((7, 4), jnp.bfloat16)
    groups = jnp.tile(jnp.array([0, 1, 1, 0]), (7, 1))

    def step(state, batch):
        losses, groups = batch
        weights, state = group_weights(losses, groups, state)
        return state, weights

    state, weights = jax.lax.scan(step, init_groups(2), (losses, groups))
    assert isinstance(state, GroupState) and weights.dtype == jnp.float32
    np.testing.assert_allclose(weights, 0.25, rtol=1e-6)


def test_no_gradient_flows_through():
    def total(losses, step_size, state):
        weights, state = group_weights(
            losses, jnp.array([0, 1]), state, step_size=step_size
        )
        return weights[0] + state.log_share[1]

    gradients = jax.grad(total, (0, 1, 2))(jnp.array([1.0, 2.0]), 0.1, init_groups(2))
    for gradient in jax.tree.leaves(gradients):
        np.testing.assert_array_equal(gradient, 0)


def test_bad_input_is_refused():
    state, losses = init_groups(2), jnp.ones(3)
    with pytest.raises(ValueError, match="`step_size` must not be below 0, got -1"):
        group_weights(losses, jnp.zeros(3, jnp.int32), state, step_size=-1)
    with pytest.raises(TypeError, match="`groups` must be integers"):
        group_weights(losses, losses, state)
    with pytest.raises(
        ValueError, match=r"`groups` must have shape \(3,\), got \(2,\)"
    ):
        group_weights(losses, jnp.zeros(2, jnp.int32), state)
    wrong: Any
    for wrong in (0, -1, 1.5):
        with pytest.raises(ValueError, match="`num_groups` must be"):
            init_groups(wrong)
