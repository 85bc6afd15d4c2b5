"""Rows of `jaxloss.losses.binary`."""

from functools import partial

import numpy as np
import scipy.special

from jaxloss import losses
from tests.catalogue._row import (
    answers,
    chances,
    elementwise,
    far,
)


def binary_reference(logits, target, s=0.0, q=1.0):
    y = (1 - s) * target + s / 2
    p = scipy.special.expit(logits)
    return np.mean(-q * scipy.special.xlogy(y, p) - scipy.special.xlogy(1 - y, 1 - p))


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
}
