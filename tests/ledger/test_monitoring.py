"""The summary of a ledger, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import ledger


def records(losses, correct=None):
    """A ledger of these losses, nan for an example that was not seen."""
    losses = jnp.asarray(losses, jnp.float32)
    return ledger.update(
        ledger.init(losses.size),
        jnp.arange(losses.size),
        losses=losses,
        correct=correct,
        where=~jnp.isnan(losses),
    )


def test_it_is_what_numpy_says_of_the_losses_that_were_seen():
    rng = np.random.default_rng(0)
    losses = rng.gamma(0.5, size=64).astype(np.float32)
    losses[rng.permutation(64)[:13]] = np.nan
    weights = rng.random(64).astype(np.float32)
    found = jax.jit(lambda state: ledger.summary(state, weights=weights, k=5, bins=7))(
        records(losses)
    )
    seen = losses[~np.isnan(losses)]
    scalars = found["scalars"]
    assert scalars["examples/seen"] == np.float32(51 / 64)
    np.testing.assert_allclose(scalars["loss/mean"], seen.mean(), rtol=1e-6)
    assert scalars["loss/min"] == seen.min() and scalars["loss/max"] == seen.max()
    for q in (0.05, 0.25, 0.5, 0.75, 0.95):
        got = scalars[f"loss/quantile_{q}"]
        np.testing.assert_allclose(got, np.quantile(seen, q), rtol=1e-6)
    differences = np.abs(weights[:, None] - weights).sum()
    gini = differences / (2 * 64 * weights.sum())
    np.testing.assert_allclose(scalars["weights/gini"], gini, rtol=1e-6)
    counts, edges = found["histograms"]["loss"]
    np.testing.assert_array_equal(counts, np.histogram(seen, edges)[0])
    np.testing.assert_allclose(edges, np.histogram(seen, 7)[1], rtol=1e-5)
    assert counts.sum() == 51
    order = np.argsort(-np.nan_to_num(losses, nan=-1))[:5]
    np.testing.assert_array_equal(found["largest"]["index"], order)
    np.testing.assert_array_equal(found["largest"]["loss"], losses[order])


def test_the_shares_by_hand():
    state = ledger.init(5)
    for losses, correct in [
        ([1.0, jnp.inf, 1.0], [True, False, False]),
        ([2.0, 1.0, jnp.nan], [False, False, True]),
    ]:
        state = ledger.update(
            state,
            jnp.array([0, 1, 2]),
            losses=jnp.array(losses),
            correct=jnp.array(correct),
        )
    state = ledger.update(state, jnp.array([9, 3, 3]), losses=jnp.ones(3))
    scalars = ledger.summary(state, k=0)["scalars"]
    np.testing.assert_allclose(scalars["examples/seen"], 4 / 5)
    np.testing.assert_allclose(scalars["examples/learnt"], 1 / 3)
    np.testing.assert_allclose(scalars["examples/never_learnt"], 1 / 3)
    np.testing.assert_allclose(scalars["examples/forgotten"], 1 / 3)
    np.testing.assert_allclose(scalars["loss/non_finite"], 2 / 8)
    assert scalars["examples/out_of_range"] == 1
    assert "weights/gini" not in scalars


@pytest.mark.parametrize("num_examples", [0, 3])
def test_over_nothing_it_is_nan_and_counts_nothing(num_examples):
    weights = jnp.zeros(num_examples)
    found = ledger.summary(ledger.init(num_examples), weights=weights, k=num_examples)
    scalars = found["scalars"]
    assert scalars.pop("weights/gini") == 0
    assert scalars.pop("examples/out_of_range") == 0
    if num_examples:
        assert scalars.pop("examples/seen") == 0
    assert all(np.isnan(value) for value in scalars.values())
    counts, edges = found["histograms"]["loss"]
    np.testing.assert_array_equal(counts, np.zeros(30))
    np.testing.assert_allclose(edges, np.linspace(0, 1, 31), rtol=1e-6)
    assert (found["largest"]["index"] == -1).all()
    assert jnp.isnan(found["largest"]["loss"]).all()


def test_equal_losses_and_places_left_over():
    found = ledger.summary(records([2.0, np.nan, 2.0, 2.0]), k=4, bins=2)
    np.testing.assert_array_equal(found["largest"]["index"], [0, 2, 3, -1])
    np.testing.assert_array_equal(found["histograms"]["loss"][0], [3, 0])
    assert found["scalars"]["loss/quantile_0.25"] == 2


@pytest.mark.parametrize(
    ("weights", "want"), [([1, 1, 1, 1], 0), ([0, 0, 0, 8], 3 / 4), ([1, 0, 0, 1], 0.5)]
)
def test_gini_by_hand(weights, want):
    state = ledger.init(4)
    scalars = ledger.summary(state, weights=jnp.array(weights), k=0)["scalars"]
    np.testing.assert_allclose(scalars["weights/gini"], want, atol=1e-7)


def test_bad_arguments_are_refused():
    state = ledger.init(3)
    with pytest.raises(ValueError, match=r"`weights` .* shape \(3,\), got \(3, 1\)"):
        ledger.summary(state, weights=jnp.ones((3, 1)), k=0)
    with pytest.raises(ValueError, match="`k` must be a whole number.* at most 3"):
        ledger.summary(state, k=4)
    with pytest.raises(ValueError, match="`bins` must be above 0"):
        ledger.summary(state, k=1, bins=0)
