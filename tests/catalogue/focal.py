"""Rows of `jaxloss.losses.focal`."""

from functools import partial

import numpy as np
import scipy.special

from jaxloss import losses
from tests.catalogue._row import (
    FAR_LOGITS,
    FAR_TARGETS,
    Row,
    answers,
    elementwise,
    far,
    logits_and_label,
    logits_and_target,
)

WEIGHTS = np.linspace(0.5, 2.0, 7)


def sigmoid_reference(logits, target, alpha=None, gamma=2.0):
    p = scipy.special.expit(logits)
    right = target * p + (1 - target) * (1 - p)
    surprise = -scipy.special.xlogy(target, p) - scipy.special.xlogy(1 - target, 1 - p)
    balance = 1 if alpha is None else alpha * target + (1 - alpha) * (1 - target)
    return np.mean(balance * (1 - right) ** gamma * surprise)


def softmax_reference(logits, target, w=None, gamma=2.0, s=0.0):
    w = np.ones(7) if w is None else w
    if np.ndim(target) == 0:
        target = np.eye(7)[target]
    log_p = scipy.special.log_softmax(logits)
    mixed = (1 - s) * target + s / 7
    return -np.sum(w * mixed * (1 - np.exp(log_p)) ** gamma * log_p)


def poly_reference(logits, target, epsilon=2.0):
    p = scipy.special.softmax(logits)
    return np.sum(target * (-np.log(p) + epsilon * (1 - p)))


_sigmoid = partial(elementwise, draw=answers, extremes=far([0.0, 0.3, 1.0]))
_integer = partial(
    Row, draw=logits_and_label, differentiable=(0,), classes=7, extremes=FAR_LOGITS
)
_soft = partial(Row, draw=logits_and_target, extremes=FAR_TARGETS)
ROWS = {
    "sigmoid_focal_loss": _sigmoid(
        losses.sigmoid_focal_loss, reference=sigmoid_reference
    ),
    "sigmoid_focal_loss-every_option": _sigmoid(
        partial(losses.sigmoid_focal_loss, alpha=0.25, gamma=0.5),
        reference=partial(sigmoid_reference, alpha=0.25, gamma=0.5),
    ),
    "softmax_focal_loss_with_integer_labels": _integer(
        losses.softmax_focal_loss_with_integer_labels, reference=softmax_reference
    ),
    "softmax_focal_loss_with_integer_labels-every_option": _integer(
        partial(
            losses.softmax_focal_loss_with_integer_labels,
            class_weights=WEIGHTS,
            gamma=0.5,
        ),
        reference=partial(softmax_reference, w=WEIGHTS, gamma=0.5),
    ),
    "softmax_focal_loss": _soft(losses.softmax_focal_loss, reference=softmax_reference),
    "softmax_focal_loss-every_option": Row(
        partial(
            losses.softmax_focal_loss,
            class_weights=WEIGHTS,
            gamma=0.5,
            label_smoothing=0.1,
        ),
        logits_and_target,
        partial(softmax_reference, w=WEIGHTS, gamma=0.5, s=0.1),
    ),
    "poly_loss_cross_entropy": _soft(
        losses.poly_loss_cross_entropy, reference=poly_reference
    ),
    "poly_loss_cross_entropy-epsilon": _soft(
        partial(losses.poly_loss_cross_entropy, epsilon=-1.0),
        reference=partial(poly_reference, epsilon=-1.0),
    ),
}
