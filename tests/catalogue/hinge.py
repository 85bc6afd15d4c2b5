"""Rows of `jaxloss.losses.hinge`."""

from functools import partial

import numpy as np

from jaxloss import losses
from tests.catalogue._row import (
    elementwise,
    far,
    sides,
)

_sided = partial(elementwise, draw=sides, extremes=far([-1.0, 1.0]))
ROWS = {
    "hinge_loss": _sided(
        losses.hinge_loss, reference=lambda s, y: np.mean(np.maximum(0, 1 - y * s))
    ),
    "squared_hinge_loss": _sided(
        losses.squared_hinge_loss,
        reference=lambda s, y: np.mean(np.maximum(0, 1 - y * s) ** 2),
    ),
    "squared_hinge_loss-margin": _sided(
        partial(losses.squared_hinge_loss, margin=2.5),
        reference=lambda s, y: np.mean(np.maximum(0, 2.5 - y * s) ** 2),
    ),
    "perceptron_loss": _sided(
        losses.perceptron_loss, reference=lambda s, y: np.mean(np.maximum(0, -y * s))
    ),
}
