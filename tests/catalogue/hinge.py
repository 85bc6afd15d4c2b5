"""Rows of `jaxloss.losses.hinge`."""

import numpy as np

from jaxloss import losses
from tests.catalogue._row import (
    elementwise,
    far,
    sides,
)

ROWS = {
    "hinge_loss": elementwise(
        losses.hinge_loss,
        sides,
        lambda s, y: np.mean(np.maximum(0, 1 - y * s)),
        extremes=far([-1.0, 1.0]),
    ),
}
