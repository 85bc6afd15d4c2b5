"""Rows of `jaxloss.losses.sampled`."""

from functools import partial

import numpy as np
import scipy.special

from jaxloss import losses
from tests.catalogue._row import Example, Row


def sampled_example(rng: np.random.Generator) -> Example:
    label = rng.integers(0, 7, ())
    return (
        rng.normal(0, 1, 3),
        label,
        rng.normal(0, 1, (7, 3)),
        rng.normal(0, 1, 7),
        np.array([label, *rng.integers(0, 7, 4)]),  # an accidental hit at least
        rng.normal(0, 1, ()),
        rng.normal(0, 1, 5),
    )


def corrected(x, label, weights, biases, sampled, true, others, hits):
    kept = (sampled != label) | (not hits)
    logits = weights @ x + biases
    return logits[label] - true, (logits[sampled] - others)[kept]


def softmax_reference(*example, hits=True):
    true, others = corrected(*example, hits=hits)
    return scipy.special.logsumexp([true, *others]) - true


def nce_reference(*example, hits=False):
    true, others = corrected(*example, hits=hits)
    return np.log1p(np.exp(-true)) + np.sum(np.log1p(np.exp(others)))


_sampled = partial(Row, draw=sampled_example, differentiable=(0, 2, 3, 5, 6), classes=7)
ROWS = {
    "sampled_softmax_cross_entropy": _sampled(
        losses.sampled_softmax_cross_entropy, reference=softmax_reference
    ),
    "sampled_softmax_cross_entropy-hits_kept": _sampled(
        partial(losses.sampled_softmax_cross_entropy, remove_accidental_hits=False),
        reference=partial(softmax_reference, hits=False),
    ),
    "nce_loss": _sampled(losses.nce_loss, reference=nce_reference),
    "nce_loss-hits_removed": _sampled(
        partial(losses.nce_loss, remove_accidental_hits=True),
        reference=partial(nce_reference, hits=True),
    ),
}
