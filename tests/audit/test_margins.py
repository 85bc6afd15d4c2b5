"""Scores: how much a model contradicts each label."""

import tracemalloc

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from scipy import special

from jaxloss import audit, ledger
from jaxloss.audit import _arrays


def draw(seed, epochs, size=20, classes=4):
    rng = np.random.default_rng(seed)
    history = rng.dirichlet(np.ones(classes), (size, epochs))
    return history, rng.integers(0, classes, size)


def with_margins(margins, num_examples=4):
    records = ledger.init(num_examples)
    for row in np.asarray(margins, np.float32):
        index = jnp.arange(row.size)
        records = ledger.update(
            records, index, losses=jnp.ones(row.size), margins=jnp.asarray(row)
        )
    return records


def test_suspicion_is_the_mean_margin_turned_round():
    records = with_margins([[0.5, -1.0, 0.25], [1.0, 0.5, -0.75]])
    np.testing.assert_allclose(audit.suspicion(records), [-0.75, 0.25, 0.25, np.nan])


def test_logit_margins_are_refused():
    with pytest.raises(ValueError, match=r"margins of probabilities.* got a mean of 7"):
        audit.suspicion(with_margins([[0.5, 7.0]]))
    with pytest.raises(ValueError, match="must have margins, got none"):
        audit.suspicion(ledger.init(3))


def test_ranking_puts_the_most_suspicious_first_and_nan_last():
    got = audit.ranking([0.1, np.nan, 0.7, 0.1, -1.0])
    np.testing.assert_array_equal(got, [2, 0, 3, 4, 1])


def test_a_ranking_has_one_axis():
    with pytest.raises(ValueError, match=r"`scores` must have shape \(N,\)"):
        audit.ranking(np.ones((2, 2)))


def mean_margin(history, labels):
    """The definition, in loops."""
    epochs = range(len(history[0]))
    weights = [
        np.mean([1 - p[t][y] for p, y in zip(history, labels, strict=True)])
        for t in epochs
    ]
    scores = []
    for example, label in zip(history, labels, strict=True):
        total = 0.0
        for t in epochs:
            others = max(p for c, p in enumerate(example[t]) if c != label)
            total += weights[t] * (others - example[t][label])
        scores.append(total / sum(weights))
    return scores


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_a_history_are_the_definition(seed):
    history, labels = draw(seed, epochs=6)
    np.testing.assert_allclose(
        audit.scores(history, labels), mean_margin(history, labels), rtol=1e-12
    )


def test_one_set_of_probabilities_is_a_history_of_one_epoch():
    history, labels = draw(0, epochs=1)
    np.testing.assert_array_equal(
        audit.scores(history[:, 0], labels), audit.scores(history, labels)
    )
    np.testing.assert_allclose(
        audit.scores(history[:, 0], labels), mean_margin(history, labels), rtol=1e-12
    )


def test_an_epoch_in_which_all_is_known_by_heart_says_nothing():
    history, labels = draw(1, epochs=3)
    known = np.eye(4)[labels][:, None]
    np.testing.assert_allclose(
        audit.scores(np.concatenate([history, known], axis=1), labels),
        audit.scores(history, labels),
        atol=1e-6,
    )


def test_an_epoch_with_nan_is_left_out():
    history, labels = draw(2, epochs=4)
    part = history.copy()
    part[3, 1:] = np.nan
    scores = audit.scores(part, labels)
    own = part[3, 0, labels[3]]
    others = np.delete(part[3, 0], labels[3]).max()
    np.testing.assert_allclose(scores[3], others - own)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("epochs", [None, 3])
def test_an_example_of_nan_is_named_and_moves_no_other(epochs):
    history, labels = draw(3, epochs=epochs or 1)
    poisoned = history.copy()
    poisoned[[2, 5], :, 1] = np.nan
    kept = np.delete(np.arange(len(labels)), [2, 5])
    if epochs is None:
        history, poisoned = history[:, 0], poisoned[:, 0]
    with pytest.warns(UserWarning, match=r"`probabilities` has nan.* 2 rows: 2, 5\."):
        scores = audit.scores(poisoned, labels)
    assert np.isnan(scores[[2, 5]]).all()
    np.testing.assert_allclose(scores[kept], audit.scores(history[kept], labels[kept]))


def test_the_size_of_the_pieces_changes_nothing(monkeypatch):
    history, labels = draw(4, epochs=3, size=50)
    whole = audit.scores(history, labels), audit.find_issues(history, labels)
    for elements in (1, 100, 250):
        monkeypatch.setattr(_arrays, "_CHUNK", elements)
        np.testing.assert_allclose(audit.scores(history, labels), whole[0], rtol=1e-13)
        np.testing.assert_array_equal(audit.find_issues(history, labels), whole[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_narrow_probabilities_are_taken(dtype):
    history, labels = draw(5, epochs=3)
    narrow = history.astype(dtype)
    scores = audit.scores(narrow, labels)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, audit.scores(history, labels), atol=0.02)


def test_nothing_of_the_size_of_the_probabilities_is_made(monkeypatch):
    monkeypatch.setattr(_arrays, "_CHUNK", 1 << 15)
    probabilities, labels = draw(6, epochs=1, size=20_000, classes=100)
    probabilities = probabilities[:, 0].astype(np.float32)
    wide = 8 * probabilities.size
    audit.find_issues(probabilities[:9], labels[:9])  # imports are no part of it
    for task in (audit.scores, audit.find_issues, audit.confident_joint):
        tracemalloc.start()
        task(probabilities, labels)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < wide / 4


@pytest.mark.parametrize(
    ("probabilities", "labels", "error", "match"),
    [
        (np.ones(3), [0, 1, 0], ValueError, r"shape \(N, C\) or \(N, T, C\).*\(3,\)"),
        (np.ones((3, 1)), [0, 0, 0], ValueError, "at least two classes"),
        (np.eye(2, dtype=int), [0, 1], TypeError, "must be floating, got int64"),
        (np.eye(2), [0, 1, 0], ValueError, "one label for each of the 2 rows"),
        (np.eye(2), np.eye(2, dtype=int), ValueError, "For one-hot labels take"),
        (np.eye(2), [0.0, 1.0], TypeError, "`labels` must be integers, got float64"),
        (np.eye(2), ["cat", "dog"], TypeError, "np.unique"),
        (np.eye(2), [0, 2], ValueError, r"in \[0, 2\), got 1 wrong row: 1; .* has 2"),
        (np.eye(2), [-1, -5], ValueError, "2 wrong rows: 0, 1; row 0 has -1"),
        (
            [[0.5, 0.5], [2.0, 1.0]],
            [0, 1],
            ValueError,
            "row: 1; row 1 sums to 3.*logits",
        ),
        ([[1.5, -0.5], [0.5, 0.5]], [0, 1], ValueError, "1 wrong row: 0"),
        ([[np.inf, 0.5], [0.5, 0.5]], [0, 1], ValueError, "1 wrong row: 0"),
        (
            np.full((30, 2), 0.4),
            [0] * 30,
            ValueError,
            "30 wrong rows: 0, .* and 20 more",
        ),
    ],
)
@pytest.mark.parametrize(
    "task",
    [
        audit.scores,
        audit.find_issues,
        audit.confident_joint,
        audit.suggested_labels,
    ],
)
def test_what_is_wrong_with_the_input_is_said(
    task, probabilities, labels, error, match
):
    with pytest.raises(error, match=match):
        task(probabilities, labels)


def test_probabilities_are_the_softmax():
    logits = np.random.default_rng(0).normal(size=(7, 3, 5)) * 30
    got = audit.probabilities(logits, temperature=2.0)
    np.testing.assert_allclose(got, special.softmax(logits / 2, axis=-1), rtol=1e-12)


def test_probabilities_may_be_written_over_the_logits():
    logits = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    wanted = audit.probabilities(logits)
    assert audit.probabilities(logits, out=logits) is logits
    np.testing.assert_array_equal(logits, wanted)
    with pytest.raises(ValueError, match=r"`out` must have the shape of `logits`"):
        audit.probabilities(logits, out=np.empty((4, 6)))


def test_probabilities_of_nan_are_nan_and_of_impossible_classes_zero():
    got = audit.probabilities(np.array([[0.0, -np.inf], [np.nan, 0.0], [np.inf, 0.0]]))
    np.testing.assert_array_equal(got, [[1, 0], [np.nan] * 2, [np.nan] * 2])


@pytest.mark.parametrize(
    ("logits", "temperature", "error", "match"),
    [
        (np.zeros((2, 0)), 1.0, ValueError, r"shape \(..., C\)"),
        (np.zeros((2, 2), int), 1.0, TypeError, "must be floating"),
        (np.zeros((2, 2)), 0.0, ValueError, "`temperature` must be above 0"),
    ],
)
def test_wrong_logits_are_refused(logits, temperature, error, match):
    with pytest.raises(error, match=match):
        audit.probabilities(logits, temperature=temperature)


@pytest.mark.parametrize("shape", [(30_000, 10), (300, 3, 4)])
def test_a_long_run_of_nan_rows_stops_nothing(shape):
    p = np.full(shape, 1 / shape[-1])
    p[:-1] = np.nan
    with pytest.warns(UserWarning, match="left out"):
        scores = audit.scores(p, np.zeros(len(p), int))
    assert np.isnan(scores[:-1]).all() and scores[-1] == 0
