"""Worst slices: parts of the data by their metadata."""

import math
import statistics

import numpy as np
import pytest

from jaxloss import audit


def test_counts_means_and_errors_are_those_of_the_slice():
    rng = np.random.default_rng(0)
    values, site = rng.normal(size=60), rng.choice(["a", "b", "c"], 60)
    for part in audit.worst_slices(values, {"site": site}, min_size=1):
        inside = values[site == part.value].tolist()
        np.testing.assert_array_equal(part.where, site == part.value)
        assert part.size == len(inside)
        np.testing.assert_allclose(part.mean, statistics.fmean(inside))
        variance = statistics.pvariance(inside) + values.var() / len(inside)
        np.testing.assert_allclose(part.error, math.sqrt(variance / len(inside)))


def test_the_worst_slice_is_found_among_columns():
    rng = np.random.default_rng(1)
    site, hour = rng.choice(["a", "b", "c"], 3000), rng.uniform(0, 24, 3000)
    values = rng.exponential(size=3000) + 2.0 * ((hour >= 14) & (hour < 19))
    worst = audit.worst_slices(values, {"site": site, "hour": hour}, k=1)[0]
    assert worst.column == "hour"
    assert values[worst.where].mean() > values.mean() + 1


def test_a_tiny_slice_does_not_win_by_chance():
    rng = np.random.default_rng(2)
    values = rng.normal(size=2000)
    tiny = np.repeat(np.arange(200), 10).astype(str)  # 200 slices of pure chance
    large = np.where(np.arange(2000) % 2, "odd", "even")
    values[large == "odd"] += 0.5
    parts = audit.worst_slices(values, {"tiny": tiny, "large": large}, k=300)
    assert max(parts, key=lambda part: part.mean).column == "tiny"
    assert (parts[0].column, parts[0].value) == ("large", "odd")


def test_equal_values_by_chance_make_no_certain_mean():
    values = np.r_[np.full(10, 1.0), np.tile([0.0, 2.0], 100)]
    part = audit.worst_slices(values, {"x": ["few"] * 10 + ["rest"] * 200}, k=2)
    assert all(p.error > 0 for p in part)


def test_numbers_are_cut_at_their_quantiles():
    column = np.arange(100, dtype=float) ** 2
    parts = audit.worst_slices(column, {"x": column}, bins=4)
    assert sorted(part.size for part in parts) == [25] * 4
    assert np.sum([part.where for part in parts], axis=0).tolist() == [1] * 100
    last = max(parts, key=lambda part: part.mean)
    assert last.value.endswith("9801]") and parts[0] is last


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (np.array([3, 1, 3, 1]), {"1", "3"}),
        (np.array([True, False, True, False]), {"False", "True"}),
        (["a", "b", None, "b"], {"None", "a", "b"}),
        (np.array([1.5, np.nan, 1.5, np.nan]), {"1.5", "nan"}),
        (np.full(4, np.nan), {"nan"}),
        (np.arange(4.0), {"[0, 1.5)", "[1.5, 3]"}),
    ],
)
def test_each_kind_of_column_has_its_parts(column, values):
    parts = audit.worst_slices(np.arange(4.0), {"x": column}, min_size=1, bins=2)
    assert {part.value for part in parts} == values
    assert sum(part.size for part in parts) == 4


def test_values_of_nan_count_for_nothing():
    parts = audit.worst_slices([1.0, np.nan, 3.0], {"x": ["a", "a", "a"]}, min_size=2)
    assert (parts[0].size, parts[0].mean) == (2, 2.0)
    assert audit.worst_slices([np.nan], {"x": ["a"]}, min_size=1) == []


def test_small_slices_and_surplus_ones_are_left_out():
    values, column = np.arange(12.0), ["a"] * 9 + ["b"] * 2 + ["c"]
    assert len(audit.worst_slices(values, {"x": column}, min_size=2)) == 2
    assert len(audit.worst_slices(values, {"x": column}, min_size=1, k=1)) == 1


def test_a_column_of_ids_takes_no_square_of_memory():
    ids = np.arange(20_000).astype(str)
    assert audit.worst_slices(np.arange(20_000.0), {"id": ids}) == []


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"`columns\['x'\]` must have the shape of"):
        audit.worst_slices([1.0, 2.0], {"x": ["a"]})
    for name in ("min_size", "k", "bins"):
        with pytest.raises(ValueError, match=f"`{name}` must be at least 1, got 0"):
            audit.worst_slices([1.0], {"x": ["a"]}, **{name: 0})
