"""Rows of `jaxloss.losses.scores`."""

from functools import partial

import numpy as np
import scipy.special

from jaxloss import losses
from tests.catalogue._row import (
    FAR_LOGITS,
    Row,
    logits_and_label,
)


def margin_reference(values, label):
    return values[label] - np.max(np.delete(values, label))


def error_norm_reference(logits, label):
    p = scipy.special.softmax(logits)
    return np.linalg.norm(p - np.eye(len(p))[label])


_integer = partial(
    Row, draw=logits_and_label, differentiable=(0,), classes=7, extremes=FAR_LOGITS
)
ROWS = {
    "error_norm": _integer(losses.error_norm, reference=error_norm_reference),
    "margin": _integer(losses.margin, reference=margin_reference, bounded=False),
    "margin-of_probabilities": _integer(
        partial(losses.margin, temperature=2.0),
        reference=lambda z, y: margin_reference(scipy.special.softmax(z / 2), y),
        bounded=False,
    ),
}
