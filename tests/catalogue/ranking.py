"""Rows of `jaxloss.losses.ranking`."""

import numpy as np
import scipy.special

from jaxloss import losses
from tests.catalogue._row import FAR_TARGETS, Row, logits_and_target

ROWS = {
    "ranking_softmax_loss": Row(
        losses.ranking_softmax_loss,
        logits_and_target,
        lambda z, y: -np.sum(y * scipy.special.log_softmax(z)),
        masked=True,
        extremes=(*FAR_TARGETS, (np.ones(3), np.zeros(3)), (np.ones(1), np.ones(1))),
    ),
}
