"""Which classes are taken for which."""

from collections import Counter

import numpy as np
import pytest

from jaxloss import audit


@pytest.mark.parametrize("seed", range(3))
def test_pairs_are_counted(seed):
    rng = np.random.default_rng(seed)
    labels, suggested = rng.integers(0, 5, (2, 200))
    where = rng.random(200) < 0.5
    pairs = audit.confused_pairs(labels, suggested, where=where)
    kept = zip(labels[where].tolist(), suggested[where].tolist(), strict=True)
    wanted = Counter((a, b) for a, b in kept if a != b)
    ordered = sorted(wanted, key=lambda pair: (-wanted[pair], pair))
    assert list(zip(pairs.given, pairs.suggested, strict=True)) == ordered
    assert pairs.counts.tolist() == [wanted[pair] for pair in ordered]
    shares = [wanted[pair] / (labels == pair[0]).sum() for pair in ordered]
    np.testing.assert_allclose(pairs.shares, shares)


def test_only_the_first_are_given():
    labels, suggested = [0, 0, 1, 2], [1, 1, 2, 0]
    pairs = audit.confused_pairs(labels, suggested, k=2)
    assert pairs.given.tolist() == [0, 1] and pairs.counts.tolist() == [2, 1]


def test_what_was_left_out_counts_for_nothing():
    pairs = audit.confused_pairs([0, 1], [-1, -1])
    assert all(column.shape == (0,) for column in pairs)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="must have the same shape"):
        audit.confused_pairs([0, 1], [0])
    with pytest.raises(
        ValueError, match="`labels` must not be negative, got 1 wrong row: 1"
    ):
        audit.confused_pairs([0, -1], [0, 0])
    with pytest.raises(ValueError, match="`k` must not be negative"):
        audit.confused_pairs([0], [0], k=-1)
    with pytest.raises(TypeError, match="`suggested` must be integers"):
        audit.confused_pairs([0], [0.5])
    with pytest.raises(TypeError, match="`where` must be boolean"):
        audit.confused_pairs([0], [0], where=[1])
    with pytest.raises(ValueError, match=r"`where` must have shape \(1,\)"):
        audit.confused_pairs([0], [0], where=[True, False])
