"""Rows of `jaxloss.losses.multilabel`."""

import numpy as np

from jaxloss import losses
from tests.catalogue._row import FAR_LOGITS, Example, Row


def score_and_presence(rng: np.random.Generator) -> Example:
    return rng.normal(0, 2, 7), rng.choice([0.0, 1.0], 7)


def score_and_labels(rng: np.random.Generator) -> Example:
    return rng.normal(0, 2, 7), np.array(
        [*rng.choice(7, 3, replace=False), -1, 0, 1, 6]
    )


def margins(score, present):
    pairs = [
        max(0, 1 - score[j] + score[i])
        for j in present
        for i in range(7)
        if i not in present
    ]
    return np.sum(pairs) / 7


ROWS = {
    "multilabel_margin_loss": Row(
        losses.multilabel_margin_loss,
        score_and_presence,
        lambda s, y: margins(s, np.flatnonzero(y)),
        differentiable=(0,),
        extremes=tuple((z, np.eye(7)[0]) for z, _ in FAR_LOGITS),
    ),
    "multilabel_margin_loss_with_integer_labels": Row(
        losses.multilabel_margin_loss_with_integer_labels,
        score_and_labels,
        lambda s, labels: margins(s, list(labels[: np.argmax(labels == -1)])),
        differentiable=(0,),
        extremes=tuple((z, np.array([0] + [-1] * 6)) for z, _ in FAR_LOGITS),
    ),
}
