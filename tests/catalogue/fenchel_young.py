"""Rows of `jaxloss.losses.fenchel_young`."""

import jax
import numpy as np
import scipy.optimize
import scipy.special

from jaxloss import losses
from tests.catalogue._row import (
    FAR_LOGITS,
    Row,
    answers,
    elementwise,
    far,
    logits_and_label,
    logits_and_target,
)


def sparse_reference(logits, target):
    """The conjugate of p (p - 1) over [0, 1], by its maximiser."""
    p = np.clip((logits + 1) / 2, 0, 1)
    return np.mean(p * logits - p * (p - 1) - target * logits)


def multiclass_sparse_reference(score, label):
    """The projection by the root of its threshold."""
    threshold = scipy.optimize.brentq(
        lambda t: np.sum(np.maximum(score - t, 0)) - 1,
        np.max(score) - 1,
        np.max(score),
        xtol=1e-15,
    )
    p = np.maximum(score - threshold, 0)
    return 0.5 + p @ (score - score[label]) - 0.5 * p @ p


ROWS = {
    "sparsemax_loss": elementwise(
        losses.sparsemax_loss,
        answers,
        sparse_reference,
        extremes=far([0.0, 0.3, 1.0]),
    ),
    "multiclass_sparsemax_loss": Row(
        losses.multiclass_sparsemax_loss,
        logits_and_label,
        multiclass_sparse_reference,
        differentiable=(0,),
        classes=7,
        extremes=FAR_LOGITS,
    ),
    "make_fenchel_young_loss": Row(
        losses.make_fenchel_young_loss(jax.nn.logsumexp),
        logits_and_target,
        lambda s, y: scipy.special.logsumexp(s) - y @ s,
        bounded=False,
    ),
}
