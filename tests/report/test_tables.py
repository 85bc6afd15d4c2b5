"""The tables hold every sample, to the letter."""

import csv

import numpy as np
import pyarrow.parquet
import pytest

from jaxloss.report import tables
from jaxloss.report.findings import find

NAMES = ['a "quoted", name', "two\nlines", "<script>"]


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), 60)
    probabilities[7] = np.nan
    found = find(
        labels=rng.integers(0, 3, 60),
        probabilities=probabilities,
        class_names=NAMES,
        ids=np.arange(60) + 900,
        metadata={"score": np.arange(60), "day": np.arange(60) * 0.5},
    )
    return tables.columns(found, np.array([f"text, {i}" for i in range(60)]))


def test_the_csv_reads_back_as_it_was_written(tmp_path, table):
    tables.write_csv(tmp_path / "samples.csv", table)
    with open(tmp_path / "samples.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["sample"]) for row in rows] == table["sample"].tolist()
    assert sorted(int(row["id"]) for row in rows) == list(range(900, 960))
    assert [row["given"] for row in rows] == table["given"].tolist()
    assert [row["text"] for row in rows] == table["text"].tolist()
    scores = [float(row["score"]) for row in rows[:-1]]
    np.testing.assert_allclose(scores, table["score"][:-1], rtol=1e-5)


def test_what_is_left_out_comes_last_with_nothing_to_say(tmp_path, table):
    tables.write_csv(tmp_path / "samples.csv", table)
    with open(tmp_path / "samples.csv", newline="", encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    assert last["sample"] == "7" and last["score"] == last["loss"] == ""
    assert last["suggested"] == "" and last["suspect"] == "0"


def test_metadata_never_takes_the_place_of_a_finding(table):
    assert np.nanmax(table["score"]) <= 1
    assert sorted(table["metadata score"]) == list(range(60))


def test_parquet_holds_the_same(tmp_path, table):
    tables.write_parquet(tmp_path / "samples.parquet", table)
    read = pyarrow.parquet.read_table(tmp_path / "samples.parquet")
    assert read.column_names == list(table)
    assert read["given"].to_pylist() == table["given"].tolist()
    assert read["score"].to_pylist()[-1] is None
    np.testing.assert_array_equal(read["score"].to_pylist()[:-1], table["score"][:-1])
