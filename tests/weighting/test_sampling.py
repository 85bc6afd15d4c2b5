"""Choosing at random: the chances, measured and exact at the ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import reduction
from jaxloss.weighting import importance, keep_by_rank

NAN = jnp.nan
KEYS = jax.random.split(jax.random.key(0), 4000)


def test_the_chance_to_be_kept_is_the_rank_to_the_power():
    history = jnp.array([0.1, 0.2, 0.3, 0.4, NAN, 0.5, jnp.inf])
    losses = jnp.array([0.05, 0.1, 0.25, 0.45, 0.5, 9.0, NAN])
    kept = jax.vmap(lambda key: keep_by_rank(key, losses, history, 2.0))(KEYS)
    chance = np.array([0, 0.2, 0.4, 0.8, 1, 1, 0]) ** 2
    # Five standard errors of a share of 4000.
    np.testing.assert_allclose(kept.mean(0), chance, atol=5 * 0.5 / np.sqrt(4000))
    np.testing.assert_array_equal(kept[:, [0, 4, 5, 6]].std(0), 0)


def test_without_history_or_power_all_that_counts_is_kept():
    losses, key = jnp.array([1.0, NAN, 2.0, 3.0]), KEYS[0]
    where = jnp.array([True, True, True, False])
    for history in (jnp.zeros(0), jnp.full(3, NAN)):
        kept = keep_by_rank(key, losses, history, 4.0, where=where)
        np.testing.assert_array_equal(kept, [1, 0, 1, 0])
    kept = keep_by_rank(key, losses, jnp.full(3, 9.0), 0.0, where=where)
    np.testing.assert_array_equal(kept, [1, 0, 1, 0])


def test_no_scale_of_the_losses_changes_what_is_kept():
    rng = np.random.default_rng(0)
    losses, history = (rng.normal(size=n).astype(np.float32) for n in (50, 200))
    kept = keep_by_rank(KEYS[1], losses, history)
    np.testing.assert_array_equal(
        keep_by_rank(KEYS[1], np.exp(losses), np.exp(history)), kept
    )
    assert 0 < kept.sum() < 50


def exact(scores, losses):
    counted = np.isfinite(scores) & (scores >= 0)
    safe = np.where(counted, scores, 0)
    return counted, safe / safe.sum(), np.where(safe > 0, losses, 0)[counted].mean()


def test_importance_keeps_the_mean_and_lowers_its_variance():
    rng = np.random.default_rng(2)
    losses = np.exp(2 * rng.normal(size=20)).astype(np.float32)
    scores = (losses * rng.uniform(0.5, 2, 20)).astype(np.float32)
    scores[[3, 8]] = [0, np.nan]
    _, p, mean = exact(scores, losses)

    @jax.jit
    @jax.vmap
    def estimate(key):
        indices, weights, _ = importance(key, scores, 8)
        return reduction.batch_mean(jnp.asarray(losses)[indices], weights), indices

    estimates, indices = estimate(KEYS)
    spread = estimates.std()
    np.testing.assert_allclose(estimates.mean(), mean, atol=5 * spread / np.sqrt(4000))
    uniform = np.nanstd(losses) / np.sqrt(8)
    assert spread < uniform / 2
    drawn = np.bincount(indices.ravel(), minlength=20) / indices.size
    np.testing.assert_allclose(drawn, p, atol=5 * 0.5 / np.sqrt(32_000))
    assert drawn[3] == drawn[8] == 0


def test_the_gain_is_that_of_the_second_moment():
    scores = np.array([0.0, 1.0, 2.0, 5.0, 0.5])
    _, p, _ = exact(scores, scores)
    uniform = (scores**2).mean()
    weighted = sum(
        q * (s / (len(scores) * q)) ** 2 for s, q in zip(scores, p, strict=True) if q
    )
    gain = importance(KEYS[0], jnp.asarray(scores, jnp.float32), 1)[2]
    np.testing.assert_allclose(gain**2, uniform / weighted, rtol=1e-6)
    # As written in the paper, from the distance to uniform chances.
    distance = ((p - 1 / len(p)) ** 2).sum()
    paper = 1 / np.sqrt(1 - distance / (p**2).sum())
    np.testing.assert_allclose(gain, paper, rtol=1e-6)
    assert importance(KEYS[0], jnp.full(7, 3.3), 1)[2] == pytest.approx(1)


def test_weights_undo_the_chances():
    scores = jnp.array([1.0, 3.0, 4.0, 8.0])
    indices, weights, _ = importance(KEYS[2], scores, 64)
    np.testing.assert_allclose(weights, 16 / (4 * scores[indices]), rtol=1e-6)


def test_padding_and_bad_scores_are_never_drawn():
    scores = jnp.array([5.0, NAN, jnp.inf, -1.0, 0.0, 1e-30, 2.0, 9.0])
    where = jnp.array([False] + [True] * 7)
    draw = jax.jit(lambda key: importance(key, scores, 2000, where=where))
    indices, weights, _ = draw(KEYS[3])
    assert set(np.unique(indices)) == {6, 7}
    assert (weights > 0).all()


def test_scores_of_0_are_drawn_uniformly():
    where = jnp.array([True, False, True, True])
    indices, weights, gain = importance(KEYS[4], jnp.zeros(4), 300, where=where)
    assert set(np.unique(indices)) == {0, 2, 3}
    np.testing.assert_allclose(weights, 1, rtol=1e-6)
    assert gain == pytest.approx(1)


def test_nothing_to_draw_from():
    indices, weights, gain = importance(KEYS[5], jnp.full(3, NAN), 4)
    np.testing.assert_array_equal(weights, 0)
    assert ((indices >= 0) & (indices < 3)).all() and gain == 1
    indices, weights, gain = importance(KEYS[5], jnp.zeros(0), 0)
    assert indices.shape == weights.shape == (0,) and gain == 1
    with pytest.raises(ValueError, match="`k` must be a whole number.*at most 0"):
        importance(KEYS[5], jnp.zeros(0), 2)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_importance_does_not_see_the_scale(scale):
    scores = jnp.array([1.0, 2.0, 4.0, 8.0])
    want = importance(KEYS[6], scores, 16)
    got = importance(KEYS[6], scores * scale, 16)
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_allclose(got[1], want[1], rtol=1e-5)


def test_no_gradient_flows_through():
    losses = jnp.array([0.5, 1.0, 2.0])

    def total(losses, history, power):
        kept = keep_by_rank(KEYS[0], losses, history, power)
        _, weights, gain = importance(KEYS[0], losses, 4)
        return kept.sum() + weights.sum() + gain

    gradients = jax.grad(total, (0, 1, 2))(losses, losses, 1.0)
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)


def test_half_precision_and_bad_input():
    narrow = jnp.array([0.5, 1.0], jnp.bfloat16)
    assert keep_by_rank(KEYS[0], narrow, narrow).dtype == jnp.float32
    assert importance(KEYS[0], narrow, 3)[1].dtype == jnp.float32
    with pytest.raises(ValueError, match="`power` must not be below 0, got -1"):
        keep_by_rank(KEYS[0], jnp.ones(2), jnp.ones(2), -1)
    with pytest.raises(ValueError, match=r"`history` must have shape \(batch,\)"):
        keep_by_rank(KEYS[0], jnp.ones(2), jnp.ones((2, 2)))
    with pytest.raises(ValueError, match=r"`scores` must have shape \(batch,\)"):
        importance(KEYS[0], jnp.ones((2, 2)), 1)
