"""Cuts: from scores alone to a decision."""

import numpy as np
import pytest

from jaxloss import audit


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


@pytest.mark.parametrize("how", ["otsu", "mixture"])
def test_both_cuts_part_two_groups_that_lie_apart(how):
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(-0.8, 0.05, 90), rng.normal(0.5, 0.1, 10)])
    scores = np.append(scores, np.nan)
    wanted = np.r_[np.zeros(90, bool), np.ones(10, bool), False]
    np.testing.assert_array_equal(audit.cut(scores, how=how), wanted)


def test_the_mixture_gives_each_score_to_the_more_probable_normal():
    # A wide and a narrow group: the border is where the densities are equal.
    rng = np.random.default_rng(1)
    scores = np.concatenate([rng.normal(-0.9, 0.02, 4000), rng.normal(0.2, 0.3, 1000)])
    found = audit.cut(scores, how="mixture")
    x = np.linspace(-0.9, 0.2, 100_001)
    narrow = np.log(0.8 / 0.02) - ((x + 0.9) / 0.02) ** 2 / 2
    wide = np.log(0.2 / 0.3) - ((x - 0.2) / 0.3) ** 2 / 2
    border = x[np.argmax(wide > narrow)]
    assert scores[~found].max() < border + 0.01 and scores[found].min() > border - 0.01


def test_a_cut_has_one_axis_and_a_known_name():
    with pytest.raises(ValueError, match=r"`scores` must have shape \(N,\)"):
        audit.cut(np.ones((2, 2)))
    with pytest.raises(ValueError, match=r'`how` must be "otsu" or "mixture", got'):
        audit.cut([0.0, 1.0], how="median")  # pyright: ignore[reportArgumentType] (that is the test)
