"""What the report knows of each sample, beside references by hand."""

from typing import Any

import numpy as np
import pytest

from jaxloss import audit, ledger
from jaxloss.report import charts, findings

PROBABILITIES = np.array(
    [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.05, 0.05, 0.9], [0.6, 0.3, 0.1]]
)
LABELS = np.array([0, 1, 2, 1])


def find(**arguments) -> Any:  # a column may be None, but not where it is looked at
    return findings.find(**arguments)


def test_one_snapshot_gives_probabilities_and_losses():
    found = find(labels=LABELS, probabilities=PROBABILITIES)
    np.testing.assert_allclose(found.given_probability, [0.7, 0.8, 0.9, 0.3])
    np.testing.assert_allclose(found.other_probability, [0.2, 0.1, 0.05, 0.6])
    np.testing.assert_allclose(found.suggested_probability, [0.7, 0.8, 0.9, 0.6])
    np.testing.assert_allclose(found.losses, -np.log([0.7, 0.8, 0.9, 0.3]))
    np.testing.assert_array_equal(found.suggested, [0, 1, 2, 0])
    assert found.order[0] == 3
    assert found.dynamics == {} and found.class_names == ["0", "1", "2"]


def test_a_history_gives_means_over_its_epochs():
    sharper = np.array([[0.9, 0.1, 0], [0, 1, 0], [0.25, 0.25, 0.5], [0.8, 0.1, 0.1]])
    history = np.stack([PROBABILITIES, sharper], axis=1)
    found = find(labels=LABELS, probabilities=history)
    np.testing.assert_allclose(found.given_probability, [0.8, 0.9, 0.7, 0.2])
    np.testing.assert_allclose(found.other_probability, [0.15, 0.05, 0.15, 0.7])
    both = np.log([[0.7, 0.9], [0.8, 1], [0.9, 0.5], [0.3, 0.1]])
    np.testing.assert_allclose(found.losses, -both.mean(axis=1))
    np.testing.assert_allclose(found.dynamics["confidence"], [0.8, 0.9, 0.7, 0.2])


def test_scores_decisions_and_suggestions_are_those_of_the_audit():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 200)
    labels = rng.integers(0, 4, 200)
    found = find(labels=labels, probabilities=probabilities)
    np.testing.assert_array_equal(found.scores, audit.scores(probabilities, labels))
    issues = audit.find_issues(probabilities, labels)
    np.testing.assert_array_equal(found.suspects, issues)
    assert (np.diff(found.scores[found.order]) <= 0).all()


def test_what_is_given_goes_before_what_would_be_found():
    found = find(
        labels=LABELS,
        probabilities=PROBABILITIES,
        scores=[0.1, 0.9, 0.2, 0.3],
        suspects=[False, True, False, False],
        suggested=[0, 2, -1, 1],
        losses=[1.0, 2.0, 3.0, 4.0],
    )
    np.testing.assert_array_equal(found.order, [1, 3, 2, 0])
    np.testing.assert_array_equal(found.flagged, [False, True, False, False])
    np.testing.assert_allclose(found.suggested_probability, [0.7, 0.1, np.nan, 0.3])
    np.testing.assert_array_equal(found.losses, [1, 2, 3, 4])


def test_the_dynamics_of_a_ledger_make_the_map():
    probabilities = np.array([[0.9, 0.8, 0.1], [0.7, 0.9, 0.2]], np.float32)
    records = ledger.init(3)
    for seen in probabilities:
        records = ledger.update(
            records,
            np.arange(3),
            losses=-np.log(seen),
            label_probabilities=seen,
            correct=seen > 0.5,
        )
    dynamics = audit.dynamics(records)
    found = find(labels=[0, 1, 1], scores=[-0.9, -0.8, 0.7], dynamics=dynamics)
    drawn: Any = charts.dataset_map(found)
    np.testing.assert_allclose(drawn.x, probabilities.std(axis=0), rtol=1e-5)
    np.testing.assert_allclose(drawn.y, probabilities.mean(axis=0), rtol=1e-5)
    with pytest.raises(ValueError, match=r"`dynamics.confidence` must have one value"):
        find(labels=[0, 1], scores=[0.0, 1.0], dynamics=dynamics)


def test_scores_alone_are_cut_in_two():
    found = find(labels=[0, 1, 1], scores=[-0.9, -0.8, 0.7])
    np.testing.assert_array_equal(found.suspects, [False, False, True])
    assert found.suggested is None and found.losses is None
    assert not found.flagged.any()


def test_a_row_with_nan_changes_no_other():
    spoilt = np.vstack([PROBABILITIES, [[np.nan, 0.5, 0.5]]])
    whole = find(labels=LABELS, probabilities=PROBABILITIES)
    found = find(labels=[*LABELS, 0], probabilities=spoilt)
    np.testing.assert_array_equal(found.left_out, [4])
    np.testing.assert_array_equal(found.order, whole.order)
    for name in ("scores", "suspects", "losses", "given_probability"):
        np.testing.assert_array_equal(getattr(found, name)[:4], getattr(whole, name))
    assert not found.suspects[4] and np.isnan(found.losses[4])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels": [0, 1, 2]}, ValueError, r"`labels`.*\(4,\), got \(3,\)"),
        ({"labels": [0, 1, 2, 3]}, ValueError, r"`labels` must be in \[0, 3\)"),
        ({"labels": [0, 1, 2, -1]}, ValueError, r"`labels` must be in \[0, 3\)"),
        ({"labels": [0.0, 1.0, 2.0, 1.0]}, TypeError, "`labels` must be integers"),
        ({"probabilities": PROBABILITIES * 2}, ValueError, "sum to 1"),
        ({"probabilities": PROBABILITIES[0]}, ValueError, r"\(N, C\)"),
        ({"losses": [1.0]}, ValueError, r"`losses` must have one value for each"),
        ({"ids": ["a", "b"]}, ValueError, r"`ids` must have one value for each"),
        ({"suspects": [0.0] * 4}, TypeError, "`suspects` must be bool, got float64"),
        ({"suggested": [0, 1, 2, 3]}, ValueError, r"`suggested` .*\[-1, 3\), got 3"),
        ({"class_names": ["a", "b"]}, ValueError, "`class_names` .* 3 classes"),
        ({"metadata": {"site": [1]}}, ValueError, r"`metadata\['site'\]`"),
    ],
)
def test_wrong_input_is_refused_in_words(change, error, message):
    with pytest.raises(error, match=message):
        find(**{"labels": LABELS, "probabilities": PROBABILITIES, **change})


def test_neither_probabilities_nor_scores_is_refused():
    with pytest.raises(ValueError, match="`probabilities` or `scores` must be given"):
        find(labels=LABELS)
