"""The contestants of the benchmarks answer the same question."""

import jax
import numpy as np
import pytest

from benchmarks import contestants
from benchmarks.cases import CASES, LOOKUP, ONE, POLYNOMIAL, SOFTMAX
from benchmarks.ratios import KERAS, OURS, PEERS, SHARES
from benchmarks.shapes import CLASSES, ELEMENTS, SMALL

# What `import torch._dynamo` does.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")


@pytest.fixture(autouse=True)
def as_users_have_it():
    """Optax is not written for strict promotion of dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.parametrize("mode", contestants.MODES)
@pytest.mark.parametrize("dtype", contestants.TOLERANCES)
@pytest.mark.parametrize("name", CASES)
def test_all_agree(name, dtype, mode):
    inputs = contestants.cast(
        CASES[name].inputs(np.random.default_rng(0), SMALL), dtype
    )
    runs = contestants.field(CASES[name], inputs, mode)
    assert runs.keys() <= {OURS, *PEERS, KERAS}
    # It is the call of PyTorch; to compile them all takes minutes.
    runs.pop("torch.compile", None)
    for *case, who in contestants.DISAGREE:
        if case == [name, dtype, mode]:
            runs.pop(who)
    first, answers, failures = contestants.first_calls(runs, dtype == "bfloat16")
    contestants.assert_agreement(answers, dtype)
    assert first.keys() | failures.keys() == runs.keys()
    lacks = name == "multi_margin_loss" and dtype == "bfloat16"
    assert list(failures) == (["PyTorch"] if lacks else [])


def test_who_answers_otherwise_is_an_error():
    answers = {OURS: np.ones(3), "other": np.array([1, 1, 1.001])}
    with pytest.raises(AssertionError, match="jaxloss and other differ by up to 0.001"):
        contestants.assert_agreement(answers, "float32")
    contestants.assert_agreement(answers, "bfloat16")


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
    works = {case.work for case in CASES.values()}
    assert works - {None, LOOKUP} == SHARES.keys()
    assert SHARES.keys() == {POLYNOMIAL, ONE, SOFTMAX}
