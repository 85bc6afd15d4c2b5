"""Rows of `jaxloss.losses.divergence`."""

from functools import partial

import numpy as np
import scipy.special

from jaxloss import losses
from tests.catalogue._row import Row


def log_distribution_and_distribution(rng):
    log_prediction, log_target = log_distributions(rng)
    return log_prediction, np.exp(log_target)


def log_distributions(rng):
    return tuple(scipy.special.log_softmax(rng.normal(0, 1, (2, 7)), axis=1))


def log_measure_and_measure(rng):
    return rng.normal(0, 1, 7), rng.uniform(0.1, 3, 7)


def generalized_reference(log_prediction, target):
    return np.sum(scipy.special.kl_div(target, np.exp(log_prediction)))


LOG_EDGES = np.array([-np.inf, -1e4, -200.0, -80.0, 0.0, 5.0])
EDGES = tuple(
    (LOG_EDGES, np.full(6, target)) for target in (-1.0, 0.0, 1e-30, 0.5, 1.0, 100.0)
)
_generalized = partial(
    Row,
    draw=log_measure_and_measure,
    reference=generalized_reference,
    extremes=EDGES,
)
ROWS = {
    "kl_divergence": Row(
        losses.kl_divergence,
        log_distribution_and_distribution,
        lambda log_p, t: np.sum(scipy.special.rel_entr(t, np.exp(log_p))),
        extremes=EDGES,
    ),
    "kl_divergence_with_log_targets": Row(
        losses.kl_divergence_with_log_targets,
        log_distributions,
        lambda log_p, log_t: np.sum(
            scipy.special.rel_entr(np.exp(log_t), np.exp(log_p))
        ),
        extremes=tuple((LOG_EDGES, np.full(6, log_t)) for log_t in LOG_EDGES),
    ),
    "generalized_kl_divergence": _generalized(losses.generalized_kl_divergence),
    "convex_kl_divergence": _generalized(losses.convex_kl_divergence),
}
