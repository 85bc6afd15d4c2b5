"""``python -m jaxloss audit``: what it takes, what it says, how it ends."""

import subprocess
import sys

import numpy as np
import pytest

from jaxloss.__main__ import main


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 40)
    logits = 6 * np.eye(3)[truth] + rng.normal(size=(40, 3))
    labels = np.where(np.arange(40) < 4, (truth + 1) % 3, truth)
    return {"labels": labels, "logits": logits}


def run(directory, arrays, *options):
    np.savez(directory / "scores.npz", **arrays)
    return main(
        ["audit", str(directory / "scores.npz"), "--out", str(directory / "out")]
        + ["--quiet", *options]
    )


def test_a_good_file_ends_with_0_and_a_summary(tmp_path, arrays, capsys):
    assert run(tmp_path, arrays) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "40 samples, 3 classes",
        "4 suspects (10.0%)",
        f"report: {tmp_path / 'out' / 'index.html'}",
    ]
    assert err == ""
    lines = (tmp_path / "out" / "samples.csv").read_text().splitlines()
    assert {int(line.split(",")[1]) for line in lines[1:5]} == {0, 1, 2, 3}


def test_logits_and_their_probabilities_give_the_same(tmp_path, arrays):
    logits = arrays.pop("logits")
    exp = np.exp(logits)
    probabilities = exp / exp.sum(axis=1, keepdims=True)
    for name, values in (("logits", logits), ("probabilities", probabilities)):
        (tmp_path / name).mkdir()
        assert run(tmp_path / name, {**arrays, name: values}) == 0
    tables = [
        (tmp_path / name / "out" / "samples.csv").read_text()
        for name in ("logits", "probabilities")
    ]
    assert tables[0] == tables[1]


def test_every_other_array_is_a_column(tmp_path, arrays):
    arrays |= {
        "ids": np.arange(40) + 500,
        "class_names": np.array(["ant", "bee", "<script>"]),
        "text": np.array([f"sentence {i}" for i in range(40)]),
        "losses": np.linspace(1, 2, 40),
        "camera": np.array(["left", "right"] * 20),
    }
    assert run(tmp_path, arrays, "--title", "My audit", "--rows", "7") == 0
    head, *rows = (tmp_path / "out" / "samples.csv").read_text().splitlines()
    assert head.split(",")[2:5] == ["id", "given", "suggested"]
    assert head.endswith("text,camera") and len(rows) == 40
    html = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert "<h1>My audit</h1>" in html and "the 7 most suspicious of 40" in html


def test_rows_with_nan_are_named_and_do_not_stop_the_others(tmp_path, arrays, capsys):
    arrays["logits"][[8, 31]] = np.nan
    assert run(tmp_path, arrays) == 0
    out, err = capsys.readouterr()
    assert "2 rows with nan left out, by index: 8, 31\n" in err
    assert "4 suspects (10.5%)" in out


def test_a_report_is_replaced_only_by_force(tmp_path, arrays, capsys):
    assert run(tmp_path, arrays) == 0
    assert run(tmp_path, arrays) == 1
    assert "has index.html already" in capsys.readouterr().err
    assert run(tmp_path, arrays, "--force") == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None}, "`labels` must be in the file, which has `logits`"),
        ({"logits": None}, "either `probabilities` or `logits` must be in the file"),
        ({"probabilities": np.eye(3)}, "either `probabilities` or `logits`"),
        ({"labels": np.zeros(39, int)}, "`labels` must have one label for each"),
        ({"labels": np.full(40, 3)}, "`labels` must be in [0, 3)"),
        ({"labels": np.zeros(40)}, "`labels` must be integers"),
        ({"logits": np.zeros(40)}, "must have shape (N, C) or (N, T, C)"),
        ({"logits": np.zeros((40, 3), int)}, "`logits` must be floating"),
        (
            {"logits": None, "probabilities": np.ones((40, 3))},
            "`probabilities` must not be negative and sum to 1",
        ),
        ({"camera": np.zeros((40, 2))}, "`metadata['camera']` must have one value"),
        ({"text": np.array(["a", None] * 20)}, "`text` holds Python objects"),
        ({"images": np.zeros((40, 3, 8, 8))}, "`images` must have shape"),
    ],
)
def test_a_wrong_file_ends_with_1_and_the_reason(
    tmp_path, arrays, capsys, change, message
):
    arrays |= change
    assert run(tmp_path, {k: v for k, v in arrays.items() if v is not None}) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 broken"])
def test_what_is_no_npz_is_said_to_be_none(tmp_path, capsys, content):
    (tmp_path / "scores.npz").write_bytes(content)
    file = str(tmp_path / "scores.npz")
    assert main(["audit", file, "--out", str(tmp_path / "out")]) == 1
    assert f"{file} is no .npz file" in capsys.readouterr().err


def test_a_missing_file_is_said_to_be_missing(tmp_path, capsys):
    assert main(["audit", str(tmp_path / "x.npz"), "--out", str(tmp_path)]) == 1
    assert "there is no file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["audit"], ["audit", "x.npz"], ["audit", "x", "--rows", "-1"]]
)
def test_a_wrong_command_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2 and "usage:" in capsys.readouterr().err


def test_it_is_run_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "jaxloss", "audit", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "exit codes: 0 the report is written" in done.stdout
