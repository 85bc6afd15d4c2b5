"""Near duplicates, against every pair by its definition."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from jaxloss import audit
from jaxloss.audit import duplicates


def near_pairs(features, within):
    distance = cdist(features, features)
    others = np.where(distance > 0, distance, np.inf)
    radius = within * np.median(others.min(axis=1))
    return [
        (i, j)
        for i in range(len(features))
        for j in range(i + 1, len(features))
        if distance[i, j] <= radius
    ]


def draw(seed, size=150, columns=5):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(size, columns))
    copies = rng.choice(size, 24, replace=False)
    features[copies[:4]] = features[copies[4:8]]
    features[copies[8:16]] = features[copies[16:]] + 1e-3 * rng.normal(
        size=(8, columns)
    )
    return features


@pytest.mark.parametrize("within", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("tile", [7, 64, 2048])
def test_every_near_pair_is_found_and_no_other(monkeypatch, within, tile):
    monkeypatch.setattr(duplicates, "_TILE", tile)
    features = draw(0)
    found = audit.near_duplicates(features, within=within)
    assert sorted(map(tuple, found.pairs.tolist())) == near_pairs(features, within)
    one, other = features[found.pairs].swapaxes(0, 1)
    np.testing.assert_allclose(found.distance, np.linalg.norm(one - other, axis=1))
    assert (np.diff(found.distance) >= 0).all()


@pytest.mark.parametrize(("shift", "scale"), [(1e4, 1.0), (0.0, 1e-20), (0.0, 1e20)])
def test_neither_shift_nor_scale_changes_the_pairs(shift, scale):
    features = draw(1)
    moved = audit.near_duplicates(features * scale + shift)
    np.testing.assert_array_equal(moved.pairs, audit.near_duplicates(features).pairs)


def test_products_in_float32_lose_no_pair():
    # Neighbours at 1e-3 of their length: a product of float32 cannot see them.
    rng = np.random.default_rng(2)
    features = rng.choice([-1.0, 1.0], (60, 40))
    features = np.concatenate([features, features + 1e-5 * rng.normal(size=(60, 40))])
    found = audit.near_duplicates(features, within=1.0)
    assert sorted(map(tuple, found.pairs.tolist())) == near_pairs(features, 1.0)


def test_images_and_narrow_numbers_are_taken():
    images = np.random.default_rng(3).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    images[11] = images[4]
    images[17] = images[4]
    images[17, 0, 0] ^= 1
    found = audit.near_duplicates(images)
    assert found.pairs.tolist() == [[4, 11], [4, 17], [11, 17]]
    np.testing.assert_array_equal(found.distance, [0, 1, 1])


def test_zero_and_minus_zero_are_equal():
    found = audit.near_duplicates(np.array([[0.0, 1.0], [-0.0, 1.0]]), within=0)
    assert found.pairs.tolist() == [[0, 1]]


def test_pairs_with_differing_labels_are_marked():
    features = np.array([[0.0], [5.0], [0.0], [5.0], [9.0]])
    found = audit.near_duplicates(features, [1, 0, 2, 0, 0])
    assert found.pairs.tolist() == [[0, 2], [1, 3]]
    assert found.differing is not None
    np.testing.assert_array_equal(found.differing, [True, False])
    assert audit.near_duplicates(features).differing is None


def test_a_row_of_nan_has_no_duplicate_and_is_named():
    features = np.array([[np.nan, 1.0], [np.nan, 1.0], [2.0, 2.0], [2.0, 2.0]])
    with pytest.warns(UserWarning, match="`features` has nan.* 2 rows: 0, 1"):
        found = audit.near_duplicates(features)
    assert found.pairs.tolist() == [[2, 3]]


@pytest.mark.parametrize("size", [0, 1, 2])
def test_few_examples_are_no_trouble(size):
    features = np.arange(size, dtype=float)[:, None]
    assert audit.near_duplicates(features).pairs.shape == (0, 2)


def test_all_equal_examples_are_all_pairs_unless_they_are_too_many():
    assert len(audit.near_duplicates(np.ones((5, 2))).pairs) == 10
    with pytest.raises(ValueError, match="10 or more pairs.*`max_pairs`, 9"):
        audit.near_duplicates(np.ones((5, 2)), max_pairs=9)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="`within` must not be negative"):
        audit.near_duplicates(np.eye(2), within=-1.0)
    with pytest.raises(ValueError, match=r"`labels` must have shape \(2,\)"):
        audit.near_duplicates(np.eye(2), [0])
    with pytest.raises(ValueError, match=r"`features` must have shape \(N, ...\)"):
        audit.near_duplicates(1.0)
