"""The confident joint, counted by its definition."""

import numpy as np
import pytest

from jaxloss import audit


def draw(seed, size=200, classes=4, epochs=None):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, size)
    truth = np.where(rng.random(size) < 0.2, rng.integers(0, classes, size), labels)
    shape = (size, classes) if epochs is None else (size, epochs, classes)
    logits = rng.normal(size=shape)
    logits += 2 * (
        np.eye(classes)[truth] if epochs is None else np.eye(classes)[truth][:, None]
    )
    return audit.probabilities(logits), labels


def confident_class(probabilities, labels):
    """Of one epoch, in loops; None where no class reaches its threshold."""
    classes = range(len(probabilities[0]))
    threshold = [
        np.mean([p[c] for p, y in zip(probabilities, labels, strict=True) if y == c])
        for c in classes
    ]
    chosen = []
    for p in probabilities:
        reached = [c for c in classes if p[c] >= threshold[c]]
        best = max(classes, key=lambda c, p=p: p[c])
        chosen.append(
            None if not reached else reached[0] if len(reached) == 1 else best
        )
    return chosen


def counts(chosen, labels, classes=4):
    joint = np.zeros((classes, classes), int)
    for c, y in zip(chosen, labels, strict=True):
        if c is not None:
            joint[y, c] += 1
    return np.where(np.eye(classes), np.maximum(joint, 1), joint)


@pytest.mark.parametrize("seed", range(5))
def test_the_joint_is_its_definition(seed):
    probabilities, labels = draw(seed)
    joint = audit.confident_joint(probabilities, labels, calibrate=False)
    wanted = counts(confident_class(probabilities, labels), labels)
    np.testing.assert_array_equal(joint, wanted)


def test_the_joint_of_a_history_counts_each_example_where_most_epochs_count_it():
    history, labels = draw(0, epochs=5)
    epochs = range(5)
    weights = [
        np.mean([1 - p[t][y] for p, y in zip(history, labels, strict=True)])
        for t in epochs
    ]
    chosen = [confident_class(history[:, t], labels) for t in epochs]
    winners = []
    for i, label in enumerate(labels):
        votes = {}
        for t in epochs:
            if chosen[t][i] is not None:
                votes[chosen[t][i]] = votes.get(chosen[t][i], 0) + weights[t]
        best = max(votes.values(), default=0)
        tied = [c for c, v in votes.items() if v == best]
        winners.append(None if not votes else label if label in tied else min(tied))
    joint = audit.confident_joint(history, labels, calibrate=False)
    np.testing.assert_array_equal(joint, counts(winners, labels))


@pytest.mark.parametrize("seed", range(5))
def test_calibrated_rows_sum_to_the_given_labels(seed):
    probabilities, labels = draw(seed, classes=6)
    raw = audit.confident_joint(probabilities, labels, calibrate=False)
    joint = audit.confident_joint(probabilities, labels)
    number = np.bincount(labels, minlength=6)
    np.testing.assert_array_equal(joint.sum(axis=1), number)
    exact = raw / raw.sum(axis=1, keepdims=True) * number[:, None]
    assert np.abs(joint - exact).max() < 1.5  # rounded, and at most one to keep the sum


def test_a_class_that_is_never_given_gets_nothing():
    probabilities, labels = draw(1)
    labels[labels == 3] = 0
    joint = audit.confident_joint(probabilities, labels)
    assert joint[3].sum() == 0 and joint[:, 3].sum() == 0
    raw = audit.confident_joint(probabilities, labels, calibrate=False)
    np.testing.assert_array_equal(raw[3], [0, 0, 0, 1])


def test_an_example_of_nan_is_not_in_the_joint():
    probabilities, labels = draw(2)
    poisoned = probabilities.copy()
    poisoned[7] = np.nan
    with pytest.warns(UserWarning, match="1 row: 7"):
        joint = audit.confident_joint(poisoned, labels)
    rest = audit.confident_joint(np.delete(probabilities, 7, 0), np.delete(labels, 7))
    np.testing.assert_array_equal(joint, rest)


def test_a_joint_of_no_examples_has_only_its_diagonal():
    joint = audit.confident_joint(np.zeros((0, 3)), [], calibrate=False)
    np.testing.assert_array_equal(joint, np.eye(3))
    np.testing.assert_array_equal(
        audit.confident_joint(np.zeros((0, 3)), []), np.zeros((3, 3))
    )


def test_noise_matrices_are_conditional_probabilities():
    rng = np.random.default_rng(0)
    true, noise = np.array([0.5, 0.3, 0.2]), rng.dirichlet(np.ones(3), 3).T
    joint = noise * true  # P(given, true)
    np.testing.assert_allclose(audit.noise_matrix(1000 * joint), noise)
    back = audit.inverse_noise_matrix(1000 * joint)
    np.testing.assert_allclose(back @ joint.sum(axis=1), true)
    np.testing.assert_allclose(back.sum(axis=0), 1)


def test_the_matrix_of_a_known_noise_is_recovered():
    rng = np.random.default_rng(3)
    noise = np.array([[0.8, 0.1, 0.0], [0.2, 0.9, 0.1], [0.0, 0.0, 0.9]])
    true = rng.integers(0, 3, 20_000)
    given = (rng.random(20_000)[:, None] > noise.T[true].cumsum(axis=1)).sum(axis=1)
    probabilities = audit.probabilities(
        rng.normal(size=(true.size, 3)) + 6 * np.eye(3)[true]
    )
    estimate = audit.noise_matrix(audit.confident_joint(probabilities, given))
    np.testing.assert_allclose(estimate, noise, atol=0.03)


def test_columns_of_nothing_are_nan():
    np.testing.assert_array_equal(
        audit.noise_matrix([[2, 0], [2, 0]]), [[0.5, np.nan], [0.5, np.nan]]
    )
    np.testing.assert_array_equal(
        audit.inverse_noise_matrix([[2, 2], [0, 0]]), [[0.5, np.nan], [0.5, np.nan]]
    )


@pytest.mark.parametrize("function", [audit.noise_matrix, audit.inverse_noise_matrix])
def test_a_joint_is_square_and_counts(function):
    with pytest.raises(ValueError, match=r"`joint` must have shape \(C, C\)"):
        function(np.ones((2, 3)))
    with pytest.raises(ValueError, match="`joint` must be counts"):
        function([[1, -1], [0, 1]])


def test_an_example_above_two_thresholds_counts_for_its_most_probable_class():
    # Thresholds 0.3 and 0.6: all four are above both.
    p = np.array([[0.3, 0.7], [0.3, 0.7], [0.4, 0.6], [0.4, 0.6]])
    joint = audit.confident_joint(p, [0, 0, 1, 1], calibrate=False)
    np.testing.assert_array_equal(joint, [[1, 2], [0, 2]])  # a class keeps one
