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


def test_dynamics_of_a_ledger_are_those_of_the_history():
    history, labels = draw(5, epochs=12)
    records, index = ledger.init(31), np.arange(30)  # the last is never seen
    for said in history.swapaxes(0, 1):
        records = ledger.update(
            records,
            index,
            losses=np.ones(30, np.float32),
            label_probabilities=said[index, labels].astype(np.float32),
            correct=said.argmax(axis=1) == labels,
        )
    course = audit.dynamics(records)
    wanted = audit.dynamics(history, labels)
    for name, got, want in zip(course._fields, course, wanted, strict=True):
        np.testing.assert_allclose(got[:30], want, rtol=1e-5, err_msg=name)
    unseen = [column[30] for column in course]
    np.testing.assert_array_equal(unseen, [np.nan, np.nan, np.nan, 0, -1])


def test_a_ledger_needs_label_probabilities_and_no_labels():
    with pytest.raises(ValueError, match="must have label probabilities, got a ledger"):
        audit.dynamics(ledger.init(3))
    with pytest.raises(ValueError, match="`labels` must be left out with a ledger"):
        audit.dynamics(ledger.init(3), [0, 1, 2])
    with pytest.raises(ValueError, match="`labels` must be given with a history"):
        audit.dynamics(np.ones((1, 1, 2)) / 2)


def test_one_set_of_probabilities_has_no_dynamics():
    with pytest.raises(ValueError, match=r"`history` must have shape \(N, T, C\), got"):
        audit.dynamics(np.eye(3), [0, 1, 2])
