"""Rows of `jaxloss.losses.regression`."""

from functools import partial

import numpy as np
import scipy.special

from jaxloss import losses
from tests.catalogue._row import (
    elementwise,
    far,
    numbers,
)

_regression = partial(elementwise, draw=numbers, extremes=far([0.0, 1e4, 1e30]))
ROWS = {
    "squared_error": _regression(
        losses.squared_error, reference=lambda p, t: np.mean((p - t) ** 2)
    ),
    "l2_loss": _regression(
        losses.l2_loss, reference=lambda p, t: np.mean((p - t) ** 2) / 2
    ),
    "absolute_error": _regression(
        losses.absolute_error, reference=lambda p, t: np.mean(np.abs(p - t))
    ),
    "huber_loss": _regression(
        losses.huber_loss,
        reference=lambda p, t: np.mean(scipy.special.huber(1.0, p - t)),
    ),
    "huber_loss-delta": _regression(
        partial(losses.huber_loss, delta=2.5),
        reference=lambda p, t: np.mean(scipy.special.huber(2.5, p - t)),
    ),
    "smooth_l1_loss": _regression(
        losses.smooth_l1_loss,
        reference=lambda p, t: np.mean(scipy.special.huber(1.0, p - t)),
    ),
    "smooth_l1_loss-beta": _regression(
        partial(losses.smooth_l1_loss, beta=2.5),
        reference=lambda p, t: np.mean(scipy.special.huber(2.5, p - t)) / 2.5,
    ),
    "smooth_l1_loss-sharp": _regression(
        partial(losses.smooth_l1_loss, beta=0.0),
        reference=lambda p, t: np.mean(np.abs(p - t)),
    ),
    "log_cosh": _regression(
        losses.log_cosh, reference=lambda p, t: np.mean(np.log(np.cosh(p - t)))
    ),
}
