"""Rows of `jaxloss.losses.relative`."""

from functools import partial

import numpy as np

from jaxloss import losses
from tests.catalogue._row import elementwise, far, numbers


def away_from_zero(rng):
    target = rng.choice([-1.0, 1.0], (3, 5)) * rng.uniform(0.5, 4, (3, 5))
    return rng.normal(0, 2, (3, 5)), target


def above_minus_one(rng):
    return rng.uniform(-0.9, 6, (3, 5)), rng.uniform(-0.9, 6, (3, 5))


def percentage_reference(prediction, target, epsilon=1e-7, scale=100.0):
    size = np.maximum(np.abs(target), epsilon)
    return scale * np.mean(np.abs(prediction - target) / size)


def logarithmic_reference(prediction, target, clip=-1.0):
    logs = [np.log1p(np.maximum(x, clip)) for x in (prediction, target)]
    return np.mean((logs[0] - logs[1]) ** 2)


def pairwise_reference(prediction, target):
    errors = (prediction - target).ravel()
    pairs = [
        (one - other) ** 2
        for i, one in enumerate(errors)
        for j, other in enumerate(errors)
        if i != j
    ]
    return np.mean(pairs)


EDGES = tuple(
    (np.array([-2.0, -1.0, -0.9999999, 0.0, 1e4, 1e30]), np.full(6, target))
    for target in (-1.5, -1.0, -0.9999999, 0.0, 1e30)
)
ROWS = {
    "absolute_percentage_error": elementwise(
        losses.absolute_percentage_error,
        away_from_zero,
        percentage_reference,
        extremes=far([0.0, 1e-30, 1e4, 1e30]),
    ),
    "absolute_percentage_error-every_option": elementwise(
        partial(losses.absolute_percentage_error, epsilon=1.5, scale=1.0),
        away_from_zero,
        partial(percentage_reference, epsilon=1.5, scale=1.0),
        extremes=far([0.0, 1.5, 1e4]),
    ),
    "squared_logarithmic_error": elementwise(
        losses.squared_logarithmic_error,
        above_minus_one,
        logarithmic_reference,
        extremes=EDGES,
    ),
    "squared_logarithmic_error-clip": elementwise(
        partial(losses.squared_logarithmic_error, clip=1e-7),
        above_minus_one,
        partial(logarithmic_reference, clip=1e-7),
        extremes=EDGES,
    ),
    "mean_pairwise_squared_error": elementwise(
        losses.mean_pairwise_squared_error,
        numbers,
        pairwise_reference,
        separable=False,
        extremes=(*far([0.0, 1e4, 1e30]), (np.ones(1), np.zeros(1))),
    ),
}
