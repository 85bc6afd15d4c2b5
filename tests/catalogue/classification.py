"""Rows of `jaxloss.losses.classification`."""

from functools import partial

import numpy as np
import scipy.special

from jaxloss import losses
from tests.catalogue._row import (
    FAR_LOGITS,
    FAR_TARGETS,
    Row,
    logits_and_label,
    logits_and_target,
)

WEIGHTS = np.linspace(0.5, 2.0, 7)


def integer_label_reference(logits, label, s=0.0, w=None, zeta=0.0, cap=None):
    w = np.ones(7) if w is None else w
    z = logits if cap is None else cap * np.tanh(logits / cap)
    log_p = scipy.special.log_softmax(z)
    value = -(1 - s) * w[label] * log_p[label] - s * np.mean(w * log_p)
    return value + zeta * scipy.special.logsumexp(z) ** 2


def soft_label_reference(logits, target, s=0.0, w=None):
    w = np.ones(7) if w is None else w
    mixed = (1 - s) * target + s / 7
    return -np.sum(w * mixed * scipy.special.log_softmax(logits))


_integer = partial(
    Row, draw=logits_and_label, differentiable=(0,), classes=7, extremes=FAR_LOGITS
)
_xent = losses.softmax_cross_entropy_with_integer_labels
ROWS = {
    "softmax_cross_entropy_with_integer_labels": _integer(
        _xent, reference=integer_label_reference
    ),
    "softmax_cross_entropy_with_integer_labels-every_option": _integer(
        partial(
            _xent,
            class_weights=WEIGHTS,
            label_smoothing=0.1,
            z_loss=0.01,
            soft_cap=5.0,
        ),
        reference=partial(
            integer_label_reference, s=0.1, w=WEIGHTS, zeta=0.01, cap=5.0
        ),
    ),
    "softmax_cross_entropy": Row(
        losses.softmax_cross_entropy,
        logits_and_target,
        soft_label_reference,
        extremes=FAR_TARGETS,
    ),
    "softmax_cross_entropy-every_option": Row(
        partial(
            losses.softmax_cross_entropy, class_weights=WEIGHTS, label_smoothing=0.1
        ),
        logits_and_target,
        partial(soft_label_reference, s=0.1, w=WEIGHTS),
    ),
    "safe_softmax_cross_entropy": Row(
        losses.safe_softmax_cross_entropy,
        logits_and_target,
        soft_label_reference,
        extremes=FAR_TARGETS,
    ),
}
