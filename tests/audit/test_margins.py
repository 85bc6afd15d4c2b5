"""The audit: rankings and decisions, on the host."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import audit, ledger


def with_margins(margins, num_examples=4):
    records = ledger.init(num_examples)
    for row in np.asarray(margins, np.float32):
        index = jnp.arange(row.size)
        records = ledger.update(
            records, index, losses=jnp.ones(row.size), margins=jnp.asarray(row)
        )
    return records


def test_suspicion_is_the_mean_margin_turned_round():
    records = with_margins([[0.5, -1.0, 0.25], [1.0, 0.5, -0.75]])
    np.testing.assert_allclose(audit.suspicion(records), [-0.75, 0.25, 0.25, np.nan])


def test_logit_margins_are_refused():
    with pytest.raises(ValueError, match=r"margins of probabilities.* got a mean of 7"):
        audit.suspicion(with_margins([[0.5, 7.0]]))
    with pytest.raises(ValueError, match="must have margins, got none"):
        audit.suspicion(ledger.init(3))


def test_ranking_puts_the_most_suspicious_first_and_nan_last():
    got = audit.ranking([0.1, np.nan, 0.7, 0.1, -1.0])
    np.testing.assert_array_equal(got, [2, 0, 3, 4, 1])


def brute_force_cut(scores):
    """Otsu by its definition: least variance within the two groups."""
    best = min(
        np.unique(scores)[:-1],
        key=lambda t: sum(
            group.size * group.var()
            for group in (scores[scores <= t], scores[scores > t])
        ),
    )
    return scores > best


@pytest.mark.parametrize("seed", range(5))
def test_cut_leaves_the_least_variance_within(seed):
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(-0.8, 0.2, 90), rng.normal(0.5, 0.3, 10)])
    scores = np.round(scores, 1 + seed % 3)  # with ties
    np.testing.assert_array_equal(audit.cut(scores), brute_force_cut(scores))


def test_cut_never_parts_equal_scores():
    np.testing.assert_array_equal(audit.cut([0, 0, 0, 1, 1]), [0, 0, 0, 1, 1])


def test_cut_leaves_nan_out():
    np.testing.assert_array_equal(audit.cut([np.nan, 0.0, 1.0]), [False, False, True])


@pytest.mark.parametrize("scores", [[], [1.0], [2.0, 2.0], [np.nan, 1.0]])
def test_cut_says_when_there_is_nothing_to_split(scores):
    with pytest.raises(ValueError, match="at least two different values"):
        audit.cut(scores)


def test_scores_have_one_axis():
    for function in (audit.cut, audit.ranking):
        with pytest.raises(ValueError, match=r"`scores` must have shape \(N,\)"):
            function(np.ones((2, 2)))
