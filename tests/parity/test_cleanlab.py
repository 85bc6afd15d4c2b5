"""The confident joint and its rules beside cleanlab's, on the same probabilities.

Both are written from Northcutt et al., *Confident Learning*, 2021; where the paper
leaves a choice (rounding, a class that would lose all its examples), ours is made to
agree. Which of several equal margins is selected is left open: no case here has such a
tie.
"""

import warnings

import numpy as np
import pytest
from cleanlab.count import (
    calibrate_confident_joint,
    compute_confident_joint,
    estimate_latent,
)
from cleanlab.filter import find_label_issues
from sklearn import datasets
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import GaussianNB

from jaxloss import audit
from jaxloss.audit import joint

RULES = [
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "predicted_neq_given",
]


def random_case(seed):
    """Few or many classes, equal or rare; a model that is good, poor or blind."""
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 12))
    size = int(rng.integers(2 * classes, 600))
    share = rng.dirichlet(np.full(classes, rng.choice([0.3, 1.0, 10.0])))
    labels = rng.choice(classes, size, p=share)
    labels[:classes] = np.arange(classes)
    said = np.where(rng.random(size) < 0.2, rng.integers(0, classes, size), labels)
    logits = rng.normal(size=(size, classes)) * rng.choice([0.1, 1.0, 4.0])
    logits += rng.choice([0.0, 1.0, 3.0]) * np.eye(classes)[said]
    return audit.probabilities(logits), labels


def real_case(name):
    load = getattr(datasets, f"load_{name}")
    features, labels = load(return_X_y=True)
    rng = np.random.default_rng(0)
    wrong = rng.random(len(labels)) < 0.15
    labels = np.where(wrong, rng.integers(0, labels.max() + 1, len(labels)), labels)
    features = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
    models = {"digits": LogisticRegression(max_iter=500), "wine": GaussianNB()}
    model = models.get(name, LogisticRegression())
    return cross_val_predict(model, features, labels, method="predict_proba"), labels


CASES = {f"random-{seed}": (random_case, seed) for seed in range(60)} | {
    name: (real_case, name) for name in ("digits", "wine", "breast_cancer", "iris")
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES.keys())
def case(request):
    draw, argument = request.param
    return draw(argument)


@pytest.mark.parametrize("calibrate", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_confident_joint_is_cleanlabs(case, calibrate, dtype):
    probabilities, labels = case
    probabilities = probabilities.astype(dtype)
    np.testing.assert_array_equal(
        audit.confident_joint(probabilities, labels, calibrate=calibrate),
        compute_confident_joint(labels, probabilities, calibrate=calibrate),
    )


@pytest.mark.parametrize("rule", RULES)
def test_the_same_examples_are_selected(case, rule):
    probabilities, labels = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes of few examples
        theirs = find_label_issues(labels, probabilities, filter_by=rule, n_jobs=1)
    ours = audit.find_issues(probabilities, labels, how=rule)
    np.testing.assert_array_equal(ours, theirs)


def test_the_noise_matrices_are_cleanlabs(case):
    probabilities, labels = case
    counts = audit.confident_joint(probabilities, labels)
    if (counts.sum(axis=0) == 0).any():
        return  # ours says nan of a class to which nothing belongs
    _, noise, inverse = estimate_latent(counts, labels)
    np.testing.assert_allclose(audit.noise_matrix(counts), noise, atol=1e-6)
    np.testing.assert_allclose(audit.inverse_noise_matrix(counts), inverse, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 5, 10, 30, 100])
def test_counts_are_rounded_as_cleanlab_rounds_them(classes):
    rng = np.random.default_rng(classes)
    for rate in (0.3, 2, 20):
        counts = rng.poisson(rate, (classes, classes))
        counts += np.diag(rng.integers(1, 50, classes))
        counts = np.asfortranarray(counts)  # as cleanlab's own joint lies
        number = counts.sum(axis=1) + rng.integers(0, 60, classes)
        labels = np.repeat(np.arange(classes), number)
        blind = np.full((len(labels), classes), 1 / classes)
        reading = joint._arrays.read("probabilities", blind, labels)
        np.testing.assert_array_equal(
            joint.calibrated(counts, reading), calibrate_confident_joint(counts, labels)
        )
