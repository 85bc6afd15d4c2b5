"""Weights by how hard an example is, and schedules of the share."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

from jaxloss import reduction
from jaxloss.weighting import curriculum, self_paced, superloss

NAN, INF = jnp.nan, jnp.inf


@pytest.mark.parametrize(
    ("start", "end", "power"), [(0.2, 1.0, 1.0), (0.1, 0.9, 2.0), (1.0, 0.6, 1.0)]
)
def test_curriculum_is_its_formula(start, end, power):
    schedule = jax.jit(curriculum(start, end, 50, power))
    for step in (0, 1, 7, 25, 49, 50, 51, 10**9):
        way = start**power + (end**power - start**power) * min(step / 50, 1)
        np.testing.assert_allclose(schedule(step), way ** (1 / power), rtol=2e-6)
    assert schedule(0) == np.float32(start) and schedule(50) == np.float32(end)
    shares = jax.vmap(schedule)(jnp.arange(60))
    assert (np.diff(shares) * np.sign(end - start) >= 0).all()


def test_a_linear_curriculum_is_that_of_optax_and_joins_its_schedules():
    ours, theirs = curriculum(0.2, 1.0, 10), optax.linear_schedule(0.2, 1.0, 10)
    for step in range(13):
        np.testing.assert_allclose(ours(step), theirs(step), rtol=1e-6)
    joined = optax.join_schedules([optax.constant_schedule(0.5), ours], [3])
    np.testing.assert_allclose(joined(2), 0.5)
    np.testing.assert_allclose(joined(8), 0.6, rtol=1e-6)


def test_a_curriculum_without_steps_is_over_and_from_0_it_is_finite():
    assert curriculum(0.2, 0.7, 0)(0) == np.float32(0.7)
    assert curriculum(0.0, 1.0, 10, 2.0)(0) == 0


def test_bad_curricula_are_refused():
    refused = [
        ((1.2, 1.0, 10), r"`init_value` must be in \[0, 1\], got 1.2"),
        ((0.2, -1.0, 10), r"`end_value` must be in \[0, 1\], got -1"),
        ((0.2, 1.0, -1), "`transition_steps` must be a whole number"),
        ((0.2, 1.0, 10, 0.0), "`power` must be above 0, got 0"),
    ]
    for arguments, message in refused:
        with pytest.raises(ValueError, match=message):
            curriculum(*arguments)


def test_self_paced_weights_minimise_their_objective():
    rng = np.random.default_rng(0)
    losses, threshold = rng.exponential(size=6).astype(np.float32), 0.8
    grid = np.stack(np.meshgrid(*[[0, 0.5, 1]] * 6, indexing="ij"), -1).reshape(-1, 6)
    objective = grid @ losses - threshold * grid.sum(1)
    np.testing.assert_array_equal(
        self_paced(losses, threshold), grid[np.argmin(objective)]
    )


def test_self_paced_leaves_out_the_edge_padding_and_what_is_not_finite():
    losses = jnp.array([1.0, 0.5, NAN, -INF, 0.2])
    where = jnp.array([True, True, True, True, False])
    np.testing.assert_array_equal(self_paced(losses, 1.0, where=where), [0, 1, 0, 0, 0])


@pytest.mark.parametrize(("tau", "lam"), [(0.0, 1.0), (1.5, 0.25), (-2.0, 10.0)])
def test_superloss_weights_minimise_their_objective(tau, lam):
    losses = np.array([-3.0, -0.5, 0.0, 0.9, 1.4, 2.0, 5.0, 40.0], np.float32)
    got = superloss(losses, tau, lam)
    for loss, weight in zip(losses, got, strict=True):

        def objective(log_weight, loss=float(loss)):
            return (loss - tau) * np.exp(log_weight) + lam * log_weight**2

        # Bounded as in the paper: beyond, no minimum exists.
        result: Any = scipy.optimize.minimize_scalar(
            objective, bounds=(-10, 1), method="bounded", options={"xatol": 1e-10}
        )
        best = result.x
        np.testing.assert_allclose(weight, np.exp(best), rtol=1e-4)


def test_superloss_is_e_for_the_easy_1_at_tau_and_falls_to_0():
    losses = jnp.array([-3e38, -1e3, 2.0 - 2 / np.e, 2.0, 1e3, 1e30, 3e38])
    weights = superloss(losses, 2.0)
    assert jnp.isfinite(weights).all() and (np.diff(weights) <= 0).all()
    np.testing.assert_allclose(weights[:2], np.e, rtol=1e-6)
    np.testing.assert_allclose(weights[2], np.e, rtol=1e-3)  # a square root starts here
    np.testing.assert_allclose(weights[3], 1, rtol=1e-6)
    assert weights[-1] < 1e-35
    assert jnp.isfinite(superloss(losses, 2.0, 1e-30)).all()


def test_the_weighted_gradient_is_that_of_the_superloss():
    def value(losses):
        weights = superloss(losses, 0.7, 0.5)
        return jnp.sum(weights * (losses - 0.7) + 0.5 * jnp.log(weights) ** 2)

    losses = np.array([0.1, 0.6, 1.0, 3.0], np.float64)
    with jax.enable_x64(True):
        got = jax.grad(lambda x: reduction.weighted_sum(x, superloss(x, 0.7, 0.5)))
        gradient = got(jnp.asarray(losses))
        for i in range(4):
            step = np.eye(4)[i] * 1e-6
            slope = (value(losses + step) - value(losses - step)) / 2e-6
            np.testing.assert_allclose(gradient[i], slope, rtol=1e-6)


@pytest.mark.parametrize("weigh", [self_paced, superloss])
def test_padding_nan_and_inf_have_weight_0_and_nothing_else_moves(weigh):
    losses = jnp.array([0.5, 2.0, NAN, INF, -INF, 7.0])
    where = jnp.array([True, True, True, True, True, False])
    got = weigh(losses, 1.0, where=where)
    np.testing.assert_array_equal(got[2:], 0)
    np.testing.assert_array_equal(got[:2], weigh(losses[:2], 1.0))
    assert weigh(jnp.zeros(0), 1.0).shape == (0,)
    narrow = weigh(jnp.array([0.5], jnp.bfloat16), 1.0)
    assert narrow.dtype == jnp.float32 and narrow > 0


@pytest.mark.parametrize("weigh", [self_paced, superloss])
def test_no_gradient_flows_through_and_options_are_traced(weigh):
    traces = []

    @jax.jit
    def gradients(losses, threshold):
        traces.append(1)
        return jax.grad(lambda x, t: weigh(x, t).sum(), (0, 1))(losses, threshold)

    for threshold in (0.5, 1.0, 2.0):
        for gradient in gradients(jnp.array([0.1, 3.0]), threshold):
            np.testing.assert_array_equal(gradient, 0)
    assert len(traces) == 1


def test_superloss_refuses_a_scale_that_is_not_above_0():
    with pytest.raises(ValueError, match="`lam` must be above 0, got 0"):
        superloss(jnp.ones(2), 1.0, 0)
