"""Rows of `jaxloss.losses.likelihood`."""

from functools import partial

import numpy as np
import scipy.special
import scipy.stats

from jaxloss import losses
from tests.catalogue._row import elementwise, far


def log_rate_and_count(rng):
    # Between the integers too, since the loss has a derivative by the count.
    return rng.normal(0, 1, (3, 5)), rng.poisson(3, (3, 5)) + rng.uniform(0.1, 0.9)


def rate_and_count(rng):
    log_rate, count = log_rate_and_count(rng)
    return np.exp(log_rate), count


def mean_number_variance(rng):
    mean, number = rng.normal(0, 2, (2, 3, 5))
    return mean, number, rng.uniform(0.5, 4, (3, 5))


def mean_number_log_variance(rng):
    return tuple(rng.normal(0, 1, (3, 3, 5)))


def exact_poisson(rate, count):
    log_probability = count * np.log(rate) - rate - scipy.special.gammaln(count + 1)
    return -np.mean(log_probability)


def stirling_poisson(log_rate, count):
    above_one = np.where(count > 1, count, 1 / (2 * np.pi))
    constant = count * np.log(above_one) - count + np.log(2 * np.pi * above_one) / 2
    plain = np.exp(log_rate) - count * log_rate
    return np.mean(plain + np.where(count > 1, constant, 0))


def gaussian_reference(mean, number, variance):
    log_density = scipy.stats.norm.logpdf(number, mean, np.sqrt(variance))
    return -np.mean(log_density)


LOG_2_PI = np.log(2 * np.pi)
NUMBERS = np.array([-1e30, -1e4, 0.0, 1.0, 1e4, 1e30])
_poisson = partial(elementwise, losses.poisson_nll_loss, bounded=False)
_gaussian = partial(elementwise, bounded=False)
LOG_RATES = (
    *far([0.0, 0.5, 1.0, 7.0, 1e30, -1.0]),
    *((np.array([-np.inf, np.inf]), np.full(2, count)) for count in (0.0, 7.0)),
)
RATES = tuple(
    (np.array([0.0, 1e-30, 1.0, 1e30, -1.0]), np.full(5, count))
    for count in (0.0, 0.5, 1.0, 7.0, 1e30)
)
ROWS = {
    "poisson_nll_loss": _poisson(
        draw=log_rate_and_count,
        reference=lambda x, y: np.mean(np.exp(x) - y * x),
        extremes=LOG_RATES,
    ),
    "poisson_nll_loss-full": elementwise(
        partial(losses.poisson_nll_loss, full=True),
        log_rate_and_count,
        stirling_poisson,
        bounded=False,
        extremes=LOG_RATES,
    ),
    "poisson_nll_loss-exact": elementwise(
        partial(losses.poisson_nll_loss, full="exact"),
        log_rate_and_count,
        lambda x, y: exact_poisson(np.exp(x), y),
        extremes=LOG_RATES,
    ),
    "poisson_nll_loss-rate": elementwise(
        partial(losses.poisson_nll_loss, log_input=False, epsilon=1e-2),
        rate_and_count,
        lambda rate, y: np.mean(rate - y * np.log(rate + 1e-2)),
        bounded=False,
        extremes=RATES,
    ),
    "poisson_nll_loss-exact_rate": elementwise(
        partial(losses.poisson_nll_loss, log_input=False, epsilon=0.0, full="exact"),
        rate_and_count,
        exact_poisson,
        extremes=RATES,
    ),
    "gaussian_nll_loss": _gaussian(
        losses.gaussian_nll_loss,
        mean_number_variance,
        lambda m, y, v: gaussian_reference(m, y, v) - LOG_2_PI / 2,
        differentiable=(0, 1, 2),
        extremes=tuple(
            (NUMBERS, np.zeros(6), np.full(6, variance))
            for variance in (-1.0, 0.0, 1e-9, 1e-6, 1.0, 1e30)
        ),
    ),
    "gaussian_nll_loss-every_option": _gaussian(
        partial(losses.gaussian_nll_loss, full=True, epsilon=0.0),
        mean_number_variance,
        gaussian_reference,
        differentiable=(0, 1, 2),
        extremes=((NUMBERS, np.zeros(6), np.zeros(6)),),
    ),
    "gaussian_nll_loss_with_log_variance": _gaussian(
        losses.gaussian_nll_loss_with_log_variance,
        mean_number_log_variance,
        lambda m, y, s: gaussian_reference(m, y, np.exp(s)) - LOG_2_PI / 2,
        differentiable=(0, 1, 2),
        extremes=tuple(
            (NUMBERS, np.zeros(6), np.full(6, log_variance))
            for log_variance in (-np.inf, -1e4, -50.0, 0.0, 50.0, 1e4, np.inf)
        ),
    ),
    "gaussian_nll_loss_with_log_variance-full": _gaussian(
        partial(losses.gaussian_nll_loss_with_log_variance, full=True),
        mean_number_log_variance,
        lambda m, y, s: gaussian_reference(m, y, np.exp(s)),
        differentiable=(0, 1, 2),
    ),
}
