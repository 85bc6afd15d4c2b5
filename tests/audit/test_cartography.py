"""Dataset cartography, followed epoch by epoch."""

import numpy as np
import pytest

from jaxloss import audit, ledger


def draw(seed, size=30, epochs=7, classes=3):
    rng = np.random.default_rng(seed)
    history = rng.dirichlet(np.ones(classes), (size, epochs))
    return history, rng.integers(0, classes, size)


def follow(epochs, label):
    """One example's course, in a loop over the epochs where it was seen."""
    seen = [p for p in epochs if not np.isnan(p).any()]
    own = [p[label] for p in seen]
    correct = [int(np.argmax(p)) == label for p in seen]
    forgotten = sum(a and not b for a, b in zip(correct, correct[1:], strict=False))
    first = next(
        (
            t
            for t, p in enumerate(epochs)
            if not np.isnan(p).any() and np.argmax(p) == label
        ),
        -1,
    )
    return np.mean(own), np.std(own), np.mean(correct), forgotten, first


def assert_followed(history, labels):
    course = audit.dynamics(history, labels)
    wanted = zip(*map(follow, history, labels), strict=True)
    for name, got, want in zip(course._fields, course, wanted, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("seed", range(3))
def test_dynamics_are_their_definition(seed):
    assert_followed(*draw(seed))


def test_an_epoch_with_nan_is_as_if_it_had_not_been():
    history, labels = draw(3)
    history[np.random.default_rng(0).random(history.shape[:2]) < 0.4] = np.nan
    history[:, 2] = 1 / 3
    assert_followed(history, labels)


def test_an_example_that_was_never_seen_is_named():
    history, labels = draw(4)
    history[5] = np.nan
    with pytest.warns(UserWarning, match="`history` has nan.* 1 row: 5"):
        course = audit.dynamics(history, labels)
    assert np.isnan([course.confidence[5], course.variability[5]]).all()
    assert np.isnan(course.correctness[5])
    assert course.forgetting[5] == 0 and course.first_learnt[5] == -1


def test_forgetting_is_that_of_the_ledger():
    history, labels = draw(5, epochs=12)
    correct = history.argmax(axis=-1) == labels[:, None]
    records, index = ledger.init(30), np.arange(30)
    for now in correct.T:
        records = ledger.update(
            records, index, losses=np.ones(30, np.float32), correct=now
        )
    course = audit.dynamics(history, labels)
    np.testing.assert_array_equal(course.forgetting, records.forgotten)
    np.testing.assert_allclose(course.correctness, np.asarray(records.correct) / 12)


def test_one_set_of_probabilities_has_no_dynamics():
    with pytest.raises(ValueError, match=r"`history` must have shape \(N, T, C\), got"):
        audit.dynamics(np.eye(3), [0, 1, 2])
