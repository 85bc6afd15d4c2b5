"""Rows of `jaxloss.losses.binary`."""

from functools import partial

import numpy as np
import scipy.special

from jaxloss import losses
from tests.catalogue._row import (
    Row,
    answers,
    chances,
    elementwise,
    far,
    logits_and_target,
    sides,
)

WEIGHTS = np.linspace(0.5, 2.0, 7)


def binary_reference(logits, target, s=0.0, q=1.0, w: float | np.ndarray = 1.0):
    y = (1 - s) * target + s / 2
    p = scipy.special.expit(logits)
    yes, no = scipy.special.xlogy(y, p), scipy.special.xlogy(1 - y, 1 - p)
    return -np.mean(w * (q * yes + no))


ROWS = {
    "sigmoid_binary_cross_entropy": elementwise(
        losses.sigmoid_binary_cross_entropy,
        answers,
        binary_reference,
        extremes=far([0.0, 0.3, 1.0]),
    ),
    "sigmoid_binary_cross_entropy-every_option": elementwise(
        partial(
            losses.sigmoid_binary_cross_entropy, pos_weight=3.0, label_smoothing=0.1
        ),
        answers,
        partial(binary_reference, s=0.1, q=3.0),
        extremes=far([0.0, 0.3, 1.0]),
    ),
    "binary_cross_entropy": elementwise(
        losses.binary_cross_entropy,
        chances,
        lambda p, y: np.mean(
            -scipy.special.xlogy(y, p) - scipy.special.xlogy(1 - y, 1 - p)
        ),
        extremes=tuple((np.array([0.0, 1.0]), np.full(2, y)) for y in (0.0, 0.3, 1.0)),
    ),
    "binary_cross_entropy-every_option": elementwise(
        partial(losses.binary_cross_entropy, clip=1e-3, label_smoothing=0.1),
        chances,
        lambda p, y: np.mean(
            -scipy.special.xlogy(0.9 * y + 0.05, p)
            - scipy.special.xlogy(1 - (0.9 * y + 0.05), 1 - p)
        ),
        extremes=tuple((np.array([0.0, 1.0]), np.full(2, y)) for y in (0.0, 0.3, 1.0)),
    ),
    "binary_cross_entropy-min_log": elementwise(
        partial(losses.binary_cross_entropy, min_log=-1.5),
        chances,
        lambda p, y: (
            -np.mean(
                y * np.maximum(np.log(p), -1.5)
                + (1 - y) * np.maximum(np.log1p(-p), -1.5)
            )
        ),
        extremes=tuple((np.array([0.0, 1.0]), np.full(2, y)) for y in (0.0, 0.3, 1.0)),
    ),
    "weighted_sigmoid_cross_entropy": elementwise(
        partial(losses.weighted_sigmoid_cross_entropy, pos_weight=3.0),
        answers,
        partial(binary_reference, q=3.0),
        extremes=far([0.0, 0.3, 1.0]),
    ),
    "multilabel_soft_margin_loss": Row(
        losses.multilabel_soft_margin_loss,
        logits_and_target,
        binary_reference,
        extremes=far([0.0, 0.3, 1.0]),
    ),
    "multilabel_soft_margin_loss-class_weights": Row(
        partial(losses.multilabel_soft_margin_loss, class_weights=WEIGHTS),
        logits_and_target,
        partial(binary_reference, w=WEIGHTS),
    ),
    "soft_margin_loss": elementwise(
        losses.soft_margin_loss,
        sides,
        lambda s, y: np.mean(np.log1p(np.exp(-y * s))),
        extremes=far([-1.0, 1.0]),
    ),
}
