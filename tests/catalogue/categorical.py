"""Rows of `jaxloss.losses.categorical`."""

from functools import partial

import numpy as np
import scipy.special

from jaxloss import losses
from tests.catalogue._row import (
    Example,
    Row,
    chances_and_target,
)

WEIGHTS = np.linspace(0.5, 2.0, 7)


def chances_and_label(rng: np.random.Generator) -> Example:
    return rng.uniform(0.05, 0.95, 7), rng.integers(0, 7, ())


def log_chances_and_label(rng: np.random.Generator) -> Example:
    return scipy.special.log_softmax(rng.normal(0, 2, 7)), rng.integers(0, 7, ())


_integer = partial(Row, differentiable=(0,), classes=7)
CERTAIN = tuple((np.eye(7)[0], np.array(label)) for label in (0, 1))
ROWS = {
    "categorical_cross_entropy": Row(
        losses.categorical_cross_entropy,
        chances_and_target,
        lambda p, y: -np.sum(scipy.special.xlogy(y, p)),
        extremes=tuple(
            (np.array([1.0, 0, 0]), np.array(y)) for y in ([1.0, 0, 0], [0, 0.5, 0.5])
        ),
    ),
    "categorical_cross_entropy-every_option": Row(
        partial(
            losses.categorical_cross_entropy,
            normalize=True,
            clip=1e-3,
            label_smoothing=0.1,
        ),
        chances_and_target,
        lambda p, y: (
            -np.sum((0.9 * y + 0.1 / 7) * np.log(np.clip(p / p.sum(), 1e-3, 1 - 1e-3)))
        ),
        extremes=((np.zeros(3), np.ones(3)), (np.eye(3)[0], np.eye(3)[1])),
    ),
    "sparse_categorical_cross_entropy": _integer(
        losses.sparse_categorical_cross_entropy,
        chances_and_label,
        lambda p, y: -np.log(p[y]),
        extremes=CERTAIN,
    ),
    "sparse_categorical_cross_entropy-every_option": _integer(
        partial(losses.sparse_categorical_cross_entropy, normalize=True, clip=1e-3),
        chances_and_label,
        lambda p, y: -np.log(np.clip(p[y] / p.sum(), 1e-3, 1 - 1e-3)),
        extremes=(*CERTAIN, (np.zeros(7), np.array(0))),
    ),
    "nll_loss": _integer(
        losses.nll_loss,
        log_chances_and_label,
        lambda log_p, y: -log_p[y],
        extremes=tuple(
            (np.where(np.eye(7)[0] > 0, 0, -np.inf), np.array(y)) for y in (0, 1)
        ),
    ),
    "nll_loss-class_weights": _integer(
        partial(losses.nll_loss, class_weights=WEIGHTS),
        log_chances_and_label,
        lambda log_p, y: -WEIGHTS[y] * log_p[y],
    ),
}
