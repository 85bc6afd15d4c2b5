"""Rows of `jaxloss.losses.multiclass_hinge`."""

from functools import partial

import numpy as np

from jaxloss import losses
from tests.catalogue._row import (
    FAR_LOGITS,
    FAR_TARGETS,
    Example,
    Row,
    logits_and_label,
)

WEIGHTS = np.linspace(0.5, 2.0, 7)


def score_and_one_hot(rng: np.random.Generator) -> Example:
    return rng.normal(0, 2, 7), np.eye(7)[rng.integers(0, 7)]


def crammer_singer(score, label, margin=1.0):
    return np.max(score + margin * (np.arange(7) != label)) - score[label]


def weston_watkins(score, label, p=1, margin=1.0, w=None):
    short = np.maximum(0, margin - score[label] + np.delete(score, label))
    return (1 if w is None else w[label]) * np.sum(short**p) / 7


def keras_hinge(score, target):
    return max(0, 1 + np.max((1 - target) * score) - np.sum(target * score))


_integer = partial(
    Row, draw=logits_and_label, differentiable=(0,), classes=7, extremes=FAR_LOGITS
)
ROWS = {
    "multiclass_hinge_loss": _integer(
        losses.multiclass_hinge_loss, reference=crammer_singer
    ),
    "multiclass_hinge_loss-margin": _integer(
        partial(losses.multiclass_hinge_loss, margin=2.5),
        reference=partial(crammer_singer, margin=2.5),
    ),
    "multiclass_perceptron_loss": _integer(
        losses.multiclass_perceptron_loss, reference=partial(crammer_singer, margin=0)
    ),
    "multi_margin_loss": _integer(losses.multi_margin_loss, reference=weston_watkins),
    "multi_margin_loss-every_option": _integer(
        partial(losses.multi_margin_loss, p=2, margin=2.0, class_weights=WEIGHTS),
        reference=partial(weston_watkins, p=2, margin=2.0, w=WEIGHTS),
    ),
    "categorical_hinge_loss": Row(
        losses.categorical_hinge_loss,
        score_and_one_hot,
        keras_hinge,
        extremes=FAR_TARGETS,
    ),
}
