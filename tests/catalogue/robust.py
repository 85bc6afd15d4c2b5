"""Rows of `jaxloss.losses.robust`."""

from functools import partial

import numpy as np
import scipy.special

from jaxloss import losses
from tests.catalogue._row import (
    FAR_LOGITS,
    Example,
    Row,
    logits_and_label,
)


def chances_and_label(rng: np.random.Generator) -> Example:
    return rng.uniform(0.05, 0.95, 7), rng.integers(0, 7, ())


def of_chance(p, label, q):
    return (1 - p[label] ** q) / q if q else -np.log(p[label])


def of_logits(logits, label, q=0.7):
    return of_chance(scipy.special.softmax(logits), label, q)


_logits = partial(
    Row, draw=logits_and_label, differentiable=(0,), classes=7, extremes=FAR_LOGITS
)
_chance = partial(
    Row,
    draw=chances_and_label,
    differentiable=(0,),
    classes=7,
    extremes=tuple((np.eye(7)[0], np.array(label)) for label in (0, 1)),
)
ROWS = {
    "generalized_cross_entropy": _logits(
        losses.generalized_cross_entropy, reference=of_logits
    ),
    "generalized_cross_entropy-none": _logits(
        partial(losses.generalized_cross_entropy, q=0.0),
        reference=partial(of_logits, q=0.0),
    ),
    "generalized_cross_entropy-wrong": _logits(
        partial(losses.generalized_cross_entropy, q=1.0),
        reference=partial(of_logits, q=1.0),
    ),
    "categorical_generalized_cross_entropy": _chance(
        losses.categorical_generalized_cross_entropy,
        reference=partial(of_chance, q=0.5),
    ),
    "categorical_generalized_cross_entropy-q": _chance(
        partial(losses.categorical_generalized_cross_entropy, q=0.9),
        reference=partial(of_chance, q=0.9),
    ),
}
