"""Which labels are held to be wrong, and what is suggested instead."""

from typing import get_args

import numpy as np
import pytest

from jaxloss import audit
from jaxloss.audit.issues import Rule

RULES = get_args(Rule)
every_rule = pytest.mark.parametrize("how", RULES)


def draw(seed, size=300, classes=4, epochs=None, wrong=0.2, sharpness=4.0):
    """Probabilities of a good model, and labels of which some are wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, size)
    flipped = rng.random(size) < wrong
    labels = np.where(
        flipped, (truth + rng.integers(1, classes, size)) % classes, truth
    )
    shape = (size, epochs or 1, classes)
    logits = rng.normal(size=shape) + sharpness * np.eye(classes)[truth][:, None]
    probabilities = audit.probabilities(logits)
    return probabilities if epochs else probabilities[:, 0], labels, flipped


def off_diagonal(joint):
    return joint.sum() - np.trace(joint)


@every_rule
@pytest.mark.parametrize("epochs", [None, 4])
def test_a_good_model_finds_most_of_the_wrong_labels(how, epochs):
    probabilities, labels, flipped = draw(0, epochs=epochs)
    found = audit.find_issues(probabilities, labels, how=how)
    assert (found & flipped).sum() > 0.75 * flipped.sum()
    assert (found & ~flipped).sum() < 0.1 * found.sum()


@every_rule
def test_nothing_is_found_where_the_model_agrees(how):
    probabilities, labels, _ = draw(1, wrong=0.0, sharpness=12.0)
    assert not audit.find_issues(probabilities, labels, how=how).any()


@every_rule
@pytest.mark.parametrize("seed", range(3))
def test_a_label_that_is_the_most_probable_is_never_found(how, seed):
    probabilities, labels, _ = draw(seed, sharpness=0.5)
    found = audit.find_issues(probabilities, labels, how=how)
    assert (probabilities[found].argmax(axis=1) != labels[found]).all()


@every_rule
def test_the_order_of_the_examples_does_not_matter(how):
    probabilities, labels, _ = draw(2, epochs=3)
    order = np.random.default_rng(0).permutation(len(labels))
    np.testing.assert_array_equal(
        audit.find_issues(probabilities[order], labels[order], how=how),
        audit.find_issues(probabilities, labels, how=how)[order],
    )


@every_rule
def test_an_example_of_nan_is_not_found_and_moves_no_other(how):
    probabilities, labels, _ = draw(3)
    poisoned = probabilities.copy()
    poisoned[4, 0] = np.nan
    with pytest.warns(UserWarning, match="1 row: 4"):
        found = audit.find_issues(poisoned, labels, how=how)
    rest = audit.find_issues(
        np.delete(probabilities, 4, 0), np.delete(labels, 4), how=how
    )
    assert not found[4]
    np.testing.assert_array_equal(np.delete(found, 4), rest)


@pytest.mark.parametrize("epochs", [None, 3])
def test_margin_takes_the_highest_scores_as_many_as_the_joint_says(epochs):
    probabilities, labels, _ = draw(4, epochs=epochs, sharpness=2.0)
    number = off_diagonal(audit.confident_joint(probabilities, labels))
    scores = audit.scores(probabilities, labels)
    found = audit.find_issues(probabilities, labels)
    first = audit.ranking(scores)[:number]
    assert set(np.flatnonzero(found)) == {i for i in first if scores[i] > 0}


def test_prune_by_class_takes_the_least_probable_of_each_class():
    probabilities, labels, _ = draw(5, sharpness=2.0)
    joint = audit.confident_joint(probabilities, labels)
    wanted = set()
    for given in range(4):
        members = [i for i in range(len(labels)) if labels[i] == given]
        members.sort(key=lambda i, given=given: probabilities[i, given])
        wanted |= set(members[: joint[given].sum() - joint[given, given]])
    wanted = {i for i in wanted if probabilities[i].argmax() != labels[i]}
    found = audit.find_issues(probabilities, labels, how="prune_by_class")
    assert set(np.flatnonzero(found)) == wanted


def test_prune_by_noise_rate_takes_the_largest_margins_of_each_pair():
    probabilities, labels, _ = draw(6, sharpness=2.0)
    joint = audit.confident_joint(probabilities, labels)
    wanted = set()
    for given in range(4):
        for other in set(range(4)) - {given}:
            members = [i for i in range(len(labels)) if labels[i] == given]
            margin = probabilities[:, given] - probabilities[:, other]
            members.sort(key=lambda i, margin=margin: margin[i])
            wanted |= set(members[: joint[given, other]])
    wanted = {i for i in wanted if probabilities[i].argmax() != labels[i]}
    found = audit.find_issues(probabilities, labels, how="prune_by_noise_rate")
    assert set(np.flatnonzero(found)) == wanted


def test_both_is_what_the_two_agree_on():
    probabilities, labels, _ = draw(7, sharpness=1.0)
    one, other, both = (
        audit.find_issues(probabilities, labels, how=how)
        for how in ("prune_by_noise_rate", "prune_by_class", "both")
    )
    np.testing.assert_array_equal(both, one & other)
    assert (one != other).any()


def test_confident_learning_finds_what_the_joint_counts_elsewhere():
    probabilities, labels, _ = draw(8, sharpness=3.0)
    found = audit.find_issues(probabilities, labels, how="confident_learning")
    joint = audit.confident_joint(probabilities, labels, calibrate=False)
    given = np.bincount(labels[found], minlength=4)
    assert (given <= joint.sum(axis=1) - joint.diagonal()).all()
    threshold = [probabilities[labels == c, c].mean() for c in range(4)]
    reached = probabilities >= threshold
    assert reached[found].any(axis=1).all()


@pytest.mark.parametrize("how", ["prune_by_noise_rate", "prune_by_class", "both"])
def test_each_class_keeps_an_example(how):
    probabilities, labels, _ = draw(9, size=40, wrong=0.9, sharpness=9.0)
    found = audit.find_issues(probabilities, labels, how=how)
    assert found.sum() > 20
    assert set(labels[~found]) == set(labels)


def test_memory_for_margins_changes_nothing(monkeypatch):
    from jaxloss.audit import issues

    probabilities, labels, _ = draw(10, classes=7)
    wanted = audit.find_issues(probabilities, labels, how="prune_by_noise_rate")
    monkeypatch.setattr(issues, "_HELD", 100)
    found = audit.find_issues(probabilities, labels, how="prune_by_noise_rate")
    np.testing.assert_array_equal(found, wanted)


def test_an_unknown_rule_is_refused():
    with pytest.raises(
        ValueError, match="`how` must be one of .*'margin'.* got 'otsu'"
    ):
        audit.find_issues(np.eye(2), [0, 1], how="otsu")  # pyright: ignore[reportArgumentType] (that is the test)


@every_rule
def test_no_examples_have_no_issues(how):
    assert audit.find_issues(np.zeros((0, 3)), [], how=how).shape == (0,)


def test_suggested_labels_are_the_most_probable_over_time():
    history, labels, flipped = draw(11, epochs=4)
    suggested = audit.suggested_labels(history, labels)
    own = history[np.arange(len(labels)), :, labels]
    weights = np.mean(1 - own, axis=0)
    mean = np.sum([w * history[:, t] for t, w in enumerate(weights)], axis=0)
    np.testing.assert_array_equal(suggested, mean.argmax(axis=1))


def test_a_tie_suggests_the_given_label_and_nan_suggests_none():
    probabilities = np.array([[0.5, 0.5], [0.5, 0.5], [np.nan, np.nan]])
    with pytest.warns(UserWarning, match="1 row: 2"):
        suggested = audit.suggested_labels(probabilities, [1, 0, 1])
    np.testing.assert_array_equal(suggested, [1, 0, -1])
