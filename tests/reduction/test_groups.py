"""Means of groups and of sequences: what each counts, and what spoils what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import reduction
from jaxloss.reduction import group_means, group_totals, per_sequence, weighted_mean

NAN = jnp.nan


def test_group_means_are_those_of_each_group_alone():
    rng = np.random.default_rng(0)
    losses = rng.normal(size=40).astype(np.float32)
    groups, weights = rng.integers(0, 4, 40), rng.uniform(size=40).astype(np.float32)
    got = group_means(losses, groups, 5, weights=weights)
    want = [
        np.average(losses[groups == g], weights=weights[groups == g]) for g in range(4)
    ]
    np.testing.assert_allclose(got, np.array([*want, 0]), rtol=5e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32])
def test_a_group_out_of_range_is_no_group(dtype):
    info = np.iinfo(dtype)
    wrong = [
        g for g in (-1, -3, 3, 100, info.max, info.min) if info.min <= g <= info.max
    ]
    wrong = [g for g in wrong if not 0 <= g < 3]
    groups = jnp.array([0, 2, *wrong], dtype)
    losses = jnp.array([1.0, 2.0] + [NAN] * len(wrong))
    results = jax.value_and_grad(lambda x: group_means(x, groups, 3).sum())
    np.testing.assert_array_equal(group_means(losses, groups, 3), [1, 0, 2])
    np.testing.assert_array_equal(results(losses)[1], [1, 1] + [0] * len(wrong))


def test_a_nan_spoils_its_own_group_only():
    losses, groups = jnp.array([1.0, NAN, 3.0, NAN]), jnp.array([0, 1, 2, 0])
    weights = jnp.array([1, 1, 1, 0])
    got = group_means(losses, groups, 3, weights=weights)
    np.testing.assert_array_equal(got, [1, NAN, 3])
    gradient = jax.grad(lambda x: group_means(x, groups, 3, weights=weights)[0])
    np.testing.assert_array_equal(gradient(losses), [1, 0, 0, 0])


def test_group_totals_add_up_over_batches():
    rng = np.random.default_rng(1)
    losses, groups = rng.normal(size=30).astype(np.float32), rng.integers(0, 4, 30)
    parts = [slice(0, 7), slice(7, 7), slice(7, 30)]
    first, second, third = (group_totals(losses[p], groups[p], 4) for p in parts)
    np.testing.assert_allclose(
        (first + second + third).mean(), group_means(losses, groups, 4), rtol=1e-5
    )


def test_groups_and_shapes_are_checked():
    losses = jnp.ones(3)
    with pytest.raises(TypeError, match="`groups` must be integers, got float32"):
        group_means(losses, jnp.zeros(3), 2)
    with pytest.raises(
        ValueError, match=r"`groups` must have shape \(3,\), got \(2,\)"
    ):
        group_means(losses, jnp.zeros(2, jnp.int32), 2)
    with pytest.raises(ValueError, match="`num_groups` must be a whole number"):
        group_means(losses, jnp.zeros(3, jnp.int32), 2.0)  # pyright: ignore[reportArgumentType] (the test)


# Sequences.

LENGTHS = [3, 0, 5, 1]


def tokens(seed=0):
    """Four sequences in rows of six tokens, nan behind the mask."""
    rng = np.random.default_rng(seed)
    where = np.arange(6) < np.array(LENGTHS)[:, None]
    return np.where(where, rng.normal(size=(4, 6)), np.nan).astype(np.float32), where


@pytest.mark.parametrize("by", ["mean", "sum", 8.0])
def test_per_sequence_is_the_loop_over_sequences(by):
    losses, where = tokens()
    got, weights = per_sequence(losses, where, by=by)
    divisor = {"mean": np.maximum(LENGTHS, 1), "sum": 1}.get(by, by)
    sums = np.where(where, losses.astype(np.float64), 0).sum(1)
    np.testing.assert_allclose(got, sums / divisor, rtol=1e-6)
    np.testing.assert_array_equal(weights, [1, 0, 1, 1])


@pytest.mark.parametrize("by", ["mean", "sum", 8.0])
def test_packed_sequences_have_the_losses_of_unpacked_ones(by):
    losses, where = tokens()
    # The first and third share a row; the fourth has one to itself.
    first, third, fourth = (losses[i, : LENGTHS[i]] for i in (0, 2, 3))
    pad = np.full(3, np.nan, np.float32)
    packed = np.stack([np.r_[first, third, pad[:1]], np.r_[fourth, pad, pad, pad[:2]]])
    ids = np.array([[0] * 3 + [1] * 5 + [-1], [0] + [-1] * 8])
    alone, _ = per_sequence(losses, where, by=by)
    got, weights = per_sequence(
        packed, ids >= 0, by=by, segment_ids=ids, num_segments=3
    )
    want = [[alone[0], alone[2], 0], [alone[3], 0, 0]]
    np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_array_equal(weights, [[1, 1, 0], [1, 0, 0]])
    # An id that is not one of the segments is padding, also without a mask.
    again = per_sequence(packed, by=by, segment_ids=ids, num_segments=3)[0]
    np.testing.assert_array_equal(again, got)


def test_more_padding_changes_nothing():
    losses, where = tokens()
    wider = np.pad(losses, ((0, 0), (0, 7)), constant_values=np.nan)
    got = per_sequence(wider, np.pad(where, ((0, 0), (0, 7))))
    for one, other in zip(got, per_sequence(losses, where), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("by", ["mean", "sum", 4.0])
def test_tokens_left_out_have_gradient_0_and_the_others_their_share(by):
    losses, where = tokens()
    divisor = {"mean": np.maximum(LENGTHS, 1)[:, None], "sum": 1}.get(by, by)
    want = np.where(where, 1, 0) / np.broadcast_to(divisor, where.shape)
    gradient = jax.grad(lambda x: per_sequence(x, where, by=by)[0].sum())
    np.testing.assert_allclose(gradient(jnp.asarray(losses)), want, rtol=1e-6)
    ids = np.where(where, 0, -1)
    packed = jax.grad(
        lambda x: per_sequence(x, by=by, segment_ids=ids, num_segments=1)[0].sum()
    )
    np.testing.assert_allclose(packed(jnp.asarray(losses)), want, rtol=1e-6)


def test_a_nan_token_spoils_its_own_sequence_only():
    losses = jnp.array([[1.0, NAN, 3.0, 5.0], [2.0, 2.0, 2.0, 2.0]])
    ids = jnp.array([[0, 0, 1, 1], [0, 0, 1, 1]])
    got, _ = per_sequence(losses, segment_ids=ids, num_segments=2)
    np.testing.assert_array_equal(got, [[NAN, 4], [2, 2]])
    np.testing.assert_array_equal(per_sequence(losses)[0], [NAN, 2])


def test_the_mean_over_sequences_is_not_the_mean_over_tokens():
    losses = jnp.array([[1.0, 1.0, 1.0, 1.0], [5.0, 0.0, 0.0, 0.0]])
    where = jnp.array([[True] * 4, [True] + [False] * 3])
    assert weighted_mean(*per_sequence(losses, where)) == 3
    np.testing.assert_allclose(weighted_mean(losses, where), 9 / 5, rtol=1e-6)


def test_no_sequences_and_no_tokens():
    for shape in ((0, 5), (3, 0)):
        losses, weights = per_sequence(jnp.ones(shape))
        np.testing.assert_array_equal(losses, np.zeros(shape[0]))
        np.testing.assert_array_equal(weights, np.zeros(shape[0]))
        ids = jnp.zeros(shape, jnp.int32)
        packed = per_sequence(jnp.ones(shape), segment_ids=ids, num_segments=2)
        assert packed[0].shape == packed[1].shape == (shape[0], 2)


def test_half_precision_tokens_are_summed_in_float32():
    losses = jnp.full((2, 4096), 1.001, jnp.bfloat16)
    got, _ = per_sequence(losses, by="sum")
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, float(losses[0, 0]) * 4096, rtol=1e-6)


def test_bad_options_of_per_sequence_are_refused():
    losses, ids = jnp.ones((2, 3)), jnp.zeros((2, 3), jnp.int32)
    refused = [
        (lambda: per_sequence(jnp.ones(3)), r"must have shape \(batch, tokens\)"),
        (lambda: per_sequence(losses, by="tokens"), '`by` must be "mean", "sum"'),
        (lambda: per_sequence(losses, by=0), "`by` must be above 0"),
        (lambda: per_sequence(losses, segment_ids=ids), "must be given together"),
        (lambda: per_sequence(losses, num_segments=2), "must be given together"),
        (lambda: per_sequence(losses, jnp.ones((2, 1), bool)), "`where` must have"),
    ]
    for call, message in refused:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="`where` must be boolean"):
        per_sequence(losses, jnp.ones((2, 3)))


def test_groups_and_sequences_compile_once():
    traces = []

    @jax.jit
    def together(losses, groups, by):
        traces.append(1)
        folded = losses.reshape(4, 6)
        means = reduction.group_means(losses, groups, 3)
        return means.sum() + per_sequence(folded, by=by)[0].sum()

    rng = np.random.default_rng(2)
    for step in range(3):
        groups = rng.integers(-1, 4, 24)
        together(rng.normal(size=24).astype(np.float32), groups, 1.0 + step)
    assert len(traces) == 1
