"""The report as files in a directory."""

import csv
from typing import Any

import numpy as np
import pytest

from jaxloss import report
from jaxloss.report import charts
from jaxloss.report.findings import find

PNG = b"\x89PNG\r\n\x1a\n"


def case(number=120):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, number)
    labels = np.where(np.arange(number) < 12, (truth + 1) % 3, truth)
    logits = 6 * np.eye(3)[truth] + rng.normal(size=(number, 3))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return {"labels": labels, "probabilities": probabilities}


def names(directory):
    return {path.name for path in directory.iterdir()}


def test_every_part_leaves_its_file(tmp_path):
    site = np.where(np.arange(120) < 12, "Lyon", "Graz")
    page = report.write(
        tmp_path / "new" / "report",
        **case(),
        images=np.zeros((120, 8, 8)),
        metadata={"site": site},
        parquet=True,
    )
    assert page == tmp_path / "new" / "report" / "index.html"
    pictures = ("suspects", "map", "losses", "confusion", "pairs", "slices")
    tables = {"samples.csv", "samples.parquet", "pairs.csv", "slices.csv"}
    written = names(page.parent)
    assert written == {"index.html", *tables, *(f"{name}.png" for name in pictures)}
    for name in pictures:
        assert (page.parent / f"{name}.png").read_bytes().startswith(PNG)
    html = page.read_text("utf-8")
    assert all(f'href="{name}"' in html for name in written - {"index.html"})
    with open(page.parent / "slices.csv", newline="") as file:
        (worst,) = csv.DictReader(file)
    assert (worst["column"], worst["value"], worst["count"]) == ("site", "Lyon", "12")
    with open(page.parent / "pairs.csv", newline="") as file:
        pairs = [(row["given"], row["suggested"]) for row in csv.DictReader(file)]
    assert set(pairs) == {("1", "0"), ("2", "1"), ("0", "2")}


def test_a_report_is_not_overwritten_unless_it_is_meant(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "slices.csv").write_text("of an earlier report")
    with pytest.raises(FileExistsError, match="has slices.csv already.* `force`"):
        report.write(tmp_path, **case())
    assert names(tmp_path) == {"notes.txt", "slices.csv"}
    report.write(tmp_path, **case(), force=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert "index.html" in names(tmp_path) and "slices.csv" not in names(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros(7, int)}, "`labels`"),
        ({"images": np.zeros((120, 3, 5, 5))}, "`images` must have shape"),
        ({"images": np.zeros((7, 5, 5))}, "`images` must have one entry for each"),
        ({"text": ["one"]}, "`text` must have one entry for each of the 120"),
    ],
)
def test_nothing_is_written_if_an_argument_is_wrong(tmp_path, change, message):
    (tmp_path / "index.html").write_text("an earlier report")
    with pytest.raises(ValueError, match=message):
        report.write(tmp_path, **{**case(), **change}, force=True)
    assert (tmp_path / "index.html").read_text() == "an earlier report"
    assert names(tmp_path) == {"index.html"}


@pytest.mark.parametrize(
    "arguments",
    [
        {"labels": np.zeros(0, int), "probabilities": np.zeros((0, 3))},
        {"labels": [0, 0], "probabilities": [[1.0, 0.0], [1.0, 0.0]]},
        {"labels": [0, 1], "scores": [0.0, 1.0]},
        {"labels": [1, 1, 0], "probabilities": np.eye(2)[[0, 1, 0]]},
        {"labels": [0, 1], "probabilities": np.full((2, 2), np.nan)},
    ],
    ids=["empty", "all agree", "scores alone", "certain and wrong", "all nan"],
)
def test_small_and_odd_data_have_a_report_too(tmp_path, arguments):
    page = report.write(tmp_path, **arguments)
    assert page.exists() and (tmp_path / "samples.csv").exists()


def test_histograms_count_every_finite_loss_once():
    found = find(**case())
    drawn: Any = charts.loss_histograms(found, 2)
    every, *some = drawn.panels
    assert every.others.sum() + every.suspects.sum() == 120
    assert every.suspects.sum() == found.suspects.sum()
    assert len(some) == 2
    for panel in some:
        here = found.labels == int(panel.name)
        assert panel.others.sum() + panel.suspects.sum() == here.sum()
        assert panel.suspects.sum() == found.suspects[here].sum()


def test_the_confusion_counts_what_was_suggested():
    found = find(
        labels=[0, 0, 1, 2, 2], scores=np.arange(5.0), suggested=[0, 1, 1, 0, 0]
    )
    drawn: Any = charts.confusion(found, 3)
    np.testing.assert_array_equal(drawn.counts, [[1, 1, 0], [0, 1, 0], [2, 0, 0]])
    fewer: Any = charts.confusion(found, 2)
    np.testing.assert_array_equal(fewer.classes, [0, 2])
    np.testing.assert_array_equal(fewer.counts, [[1, 0], [2, 0]])


@pytest.mark.parametrize("flagged", [0, 3, 50, 97, 100])
def test_points_are_spread_and_suspects_come_first(flagged):
    suspects = np.arange(100) < flagged
    some = charts.some(suspects, 30)
    assert len(np.unique(some)) == 30
    kept = suspects[some].sum()
    assert kept == min(flagged, max(20, 30 - (100 - flagged)))
    np.testing.assert_array_equal(charts.some(suspects, 200), np.arange(100))
