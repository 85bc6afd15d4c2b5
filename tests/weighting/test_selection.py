"""Choosing by loss: beside a sort in NumPy, with ties, nan and padding."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import weighting

keep_small, keep_large = map(jax.jit, (weighting.keep_small, weighting.keep_large))
KEEPS = pytest.mark.parametrize(
    ("keep", "sign"), [(keep_small, 1), (keep_large, -1)], ids=["small", "large"]
)
INDICES = pytest.mark.parametrize(
    ("indices_of", "sign"),
    [(weighting.smallest_indices, 1), (weighting.largest_indices, -1)],
    ids=["smallest", "largest"],
)
SIZE = 9


def chosen(losses, where, sign):
    """Indices of what counts, in the order of choice, by a plain stable sort."""
    there = [i for i in range(len(losses)) if where[i] and np.isfinite(losses[i])]
    return sorted(there, key=lambda i: (sign * losses[i], i))


def batches(count):
    """Batches full of ties, signed zeros, nan, infinities and padding."""
    rng = np.random.default_rng(0)
    values = [0.0, -0.0, 1.0, 1.0, 2.5, -3.0, np.nan, np.inf, -np.inf]
    for _ in range(count):
        yield rng.choice(values, SIZE).astype(np.float32), rng.uniform(size=SIZE) < 0.7
    yield np.full(SIZE, np.nan, np.float32), np.ones(SIZE, bool)
    yield np.ones(SIZE, np.float32), np.zeros(SIZE, bool)


@KEEPS
def test_what_is_kept_is_the_start_of_the_sorted(keep, sign):
    for losses, where in batches(40):
        order = chosen(losses, where, sign)
        for share in (0.0, 0.1, 0.25, 0.5, 0.7, 1.0):
            want = np.zeros(SIZE)
            want[order[: int(np.floor(share * len(order) + 0.5))]] = 1
            np.testing.assert_array_equal(keep(losses, share, where=where), want)


@INDICES
@pytest.mark.parametrize("k", [0, 1, 5, SIZE])
def test_indices_are_the_start_of_the_sorted(indices_of, sign, k):
    compiled = jax.jit(indices_of, static_argnums=1)
    for losses, where in batches(40):
        indices, weights = compiled(losses, k, where=where)
        order = chosen(losses, where, sign)
        real = min(k, len(order))
        assert indices.shape == weights.shape == (k,) and indices.dtype == jnp.int32
        np.testing.assert_array_equal(indices[:real], order[:real])
        np.testing.assert_array_equal(weights, [1] * real + [0] * (k - real))
        if order:
            np.testing.assert_array_equal(indices[real:], order[0])


@KEEPS
def test_a_share_is_rounded_to_whole_examples(keep, sign):
    del sign
    for size in (1, 3, 7, 10, 29, 100):
        losses = np.arange(size, dtype=np.float32)
        for hundredths in range(0, 101, 3):
            kept = keep(losses, hundredths / 100).sum()
            assert kept == (hundredths * size * 2 + 100) // 200, (size, hundredths)


@KEEPS
def test_of_equal_losses_the_first_is_kept(keep, sign):
    del sign
    np.testing.assert_array_equal(keep(np.ones(4, np.float32), 0.5), [1, 1, 0, 0])


@KEEPS
def test_the_choice_moves_with_the_examples(keep, sign):
    rng = np.random.default_rng(0)
    losses, order = rng.normal(size=64).astype(np.float32), rng.permutation(64)
    np.testing.assert_array_equal(keep(losses[order], 0.3), keep(losses, 0.3)[order])
    np.testing.assert_array_equal(keep(losses * 1e30, 0.3), keep(losses, 0.3))
    assert sign * (losses[keep(losses, 0.3) > 0].mean() - losses.mean()) < 0


def test_reducible_holdout_loss_leaves_out_what_the_reference_finds_hard():
    losses = jnp.array([3.0, 3.0, 0.1, jnp.inf])
    reference = jnp.array([0.5, 3.0, 0.1, jnp.inf])  # the second is wrongly labelled
    np.testing.assert_array_equal(keep_large(losses - reference, 1 / 3), [1, 0, 0, 0])


@KEEPS
def test_an_empty_batch_and_half_precision(keep, sign):
    del sign
    assert keep(jnp.zeros(0), 0.5).shape == (0,)
    got = keep(jnp.array([1.0, 2.0], jnp.bfloat16), 0.5)
    assert got.dtype == jnp.float32 and got.sum() == 1


@INDICES
def test_indices_of_an_empty_batch_and_of_nothing_that_counts(indices_of, sign):
    del sign
    assert indices_of(jnp.zeros(0), 0)[0].shape == (0,)
    indices, weights = indices_of(jnp.full(3, jnp.nan), 2)
    np.testing.assert_array_equal(weights, 0)
    assert ((indices >= 0) & (indices < 3)).all()


@KEEPS
def test_no_gradient_flows_through(keep, sign):
    del sign
    losses = jnp.array([3.0, 1.0, jnp.nan, 2.0])
    gradient = jax.grad(lambda x: jnp.nansum(keep(x, 0.5) * x))(losses)
    np.testing.assert_array_equal(gradient, keep(losses, 0.5))


def test_a_schedule_of_shares_compiles_once():
    traces = []

    @jax.jit
    def step(losses, share):
        traces.append(1)
        return weighting.keep_small(losses, share)

    losses, schedule = jnp.arange(10.0), weighting.curriculum(0.2, 1.0, 4)
    kept = [step(losses, schedule(t)).sum() for t in range(6)]
    assert kept == [2, 4, 6, 8, 10, 10]
    assert len(traces) == 1


def test_bad_input_is_refused():
    losses = jnp.ones(4)
    with pytest.raises(ValueError, match=r"`share` must be in \[0, 1\], got 1.2"):
        weighting.keep_small(losses, 1.2)
    with pytest.raises(ValueError, match=r"`losses` must have shape \(batch,\), got"):
        weighting.keep_large(jnp.ones((4, 1)), 0.5)
    with pytest.raises(TypeError, match="`losses` must be floating, got int32"):
        weighting.keep_large(jnp.ones(4, jnp.int32), 0.5)
    with pytest.raises(TypeError, match="`where` must be boolean"):
        weighting.keep_small(losses, 0.5, where=jnp.ones(4))
    with pytest.raises(ValueError, match=r"`where` must have shape \(4,\)"):
        weighting.keep_small(losses, 0.5, where=jnp.ones((4, 1), bool))
    k: Any
    for k in (5, -1, 2.0):
        with pytest.raises(ValueError, match="`k` must be a whole number"):
            weighting.largest_indices(losses, k)
