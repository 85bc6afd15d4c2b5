"""The contestants of the benchmarks answer the same question."""

import json
import sys

import jax
import numpy as np
import pytest

from benchmarks import __main__, contestants, devices, provenance
from benchmarks.cases import CASES, LOOKUP, ONE, POLYNOMIAL, SOFTMAX
from benchmarks.ratios import KERAS, MODES, OURS, OURS_512, PEERS, READ, SHARES
from benchmarks.shapes import CLASSES, ELEMENTS, FROM_MEMORY, LARGE, SMALL

# What `import torch._dynamo` does.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")


@pytest.fixture(autouse=True)
def as_users_have_it():
    """Optax is not written for strict promotion of dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", contestants.TOLERANCES)
@pytest.mark.parametrize("name", CASES)
def test_all_agree(name, dtype, mode):
    inputs = contestants.cast(
        CASES[name].inputs(np.random.default_rng(0), SMALL), dtype
    )
    runs, elsewhere = contestants.field(CASES[name], inputs, mode, 2)
    assert runs.keys() == elsewhere.keys() <= {OURS, *PEERS, KERAS}
    # It is the call of PyTorch; to compile them all takes minutes.
    runs.pop("torch.compile", None)
    first, answers, failures = contestants.first_calls(runs, dtype == "bfloat16")
    may_differ = contestants.MAY_DIFFER.get((name, dtype, mode), ())
    different = contestants.disagreements(answers, dtype, may_differ)
    assert different.keys() <= set(may_differ)
    moved = {f"{who}, moved": elsewhere[who]() for who in {*answers} - {*different}}
    assert contestants.disagreements({OURS: answers[OURS]} | moved, dtype) == {}
    assert first.keys() | failures.keys() == runs.keys()
    lacks = name == "multi_margin_loss" and dtype == "bfloat16"
    assert list(failures) == (["PyTorch"] if lacks else [])


def test_what_is_timed_from_memory_is_the_same_again_and_again(monkeypatch):
    case = CASES["multi_margin_loss"]
    inputs = case.inputs(np.random.default_rng(0), SMALL)
    once = contestants.field(case, inputs, MODES[0], 1)[0][OURS]()
    for there in (False, True):
        monkeypatch.setattr(devices, "has_avx512", lambda there=there: there)
        runs = contestants.from_memory(case, inputs, 3)
        assert list(runs) == [OURS, *[OURS_512] * there, READ]
        np.testing.assert_allclose(runs[OURS](), np.tile(once, 3), rtol=1e-6)
        np.testing.assert_allclose(
            runs[READ](), np.tile(inputs[0].sum(-1), 3), rtol=1e-4, atol=1e-4
        )
    ours = {who: runs[who]() for who in (OURS, OURS_512)}
    assert contestants.disagreements(ours, "float32") == {}


def test_who_answers_otherwise_is_an_error_or_left_out():
    answers = {OURS: np.ones(4), "other": np.array([1, 1, 1, 1.001])}
    with pytest.raises(
        AssertionError, match="other: 25.00% of its numbers are too far"
    ):
        contestants.disagreements(answers, "float32")
    assert contestants.disagreements(answers, "float32", ["other"]).keys() == {"other"}
    assert contestants.disagreements(answers, "bfloat16") == {}
    nan = {OURS: np.ones(4), "other": np.array([1, 1, 1, np.nan])}
    with pytest.raises(AssertionError):
        contestants.disagreements(nan, "bfloat16")


def test_a_failure_is_an_error_where_none_may_fail():
    def lacks():
        raise TypeError("no bfloat16\nand more")

    with pytest.raises(TypeError):
        contestants.first_calls({OURS: lambda: 1, "other": lacks})
    with pytest.raises(TypeError):
        contestants.first_calls({OURS: lacks}, may_fail=True)
    *_, failures = contestants.first_calls({OURS: lambda: 1, "other": lacks}, True)
    assert failures == {"other": "TypeError: no bfloat16"}


def test_every_loss_has_a_peer_and_a_large_shape():
    for case in CASES.values():
        assert any((case.optax, case.torch, case.tensorflow))
        assert case.shapes in ((SMALL, *ELEMENTS), (SMALL, *CLASSES))


def test_every_claim_about_the_memory_is_about_some_loss():
    assert FROM_MEMORY.keys() == set(LARGE)
    works = {case.work for case in CASES.values()}
    assert works - {None, LOOKUP} == SHARES.keys()
    assert SHARES.keys() == {POLYNOMIAL, ONE, SOFTMAX}


@pytest.mark.parametrize("what", ["losses", "step"])
def test_every_run_leaves_its_samples_and_its_page(what, tmp_path, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "")  # so that the program does not start anew
    monkeypatch.setattr(provenance, "LATEST", tmp_path / "build" / "benchmarks")
    only = {"losses": ["squared_error"], "step": ["mlp"]}[what]
    arguments = [what, "--shapes", "small", "--rounds", "1", "--only", *only]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    __main__.main()
    left = {path.name: path for path in provenance.LATEST.iterdir()}
    assert left.keys() >= {f"{what}.json", f"{what}.md"}
    assert json.loads(left[f"{what}.json"].read_text())["about"]["device"] == "cpu"
