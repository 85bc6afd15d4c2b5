"""Rows of `jaxloss.losses.sequence`."""

import functools
import itertools

import numpy as np
import scipy.special

from jaxloss import losses
from tests.catalogue._row import Row


def frames_and_labels(rng):
    """Up to 5 frames of 4 classes and up to 2 of 3 labels; the rest is padding."""
    labels = np.append(rng.integers(1, 4, 2), -7)
    return rng.normal(0, 2, (5, 4)), labels, rng.integers(3, 6, ()), rng.integers(3)


@functools.cache
def paths(frames, classes, labels, blank_id):
    """All paths that give these labels, one a row."""
    return np.array(
        [
            path
            for path in itertools.product(range(classes), repeat=frames)
            if tuple(c for c, _ in itertools.groupby(path) if c != blank_id) == labels
        ],
        int,
    )


def path_sum(logits, labels, logit_length, label_length, blank_id=0):
    """By enumeration of all paths."""
    log_p = scipy.special.log_softmax(logits[:logit_length], axis=-1)
    wanted = tuple(int(label) for label in labels[:label_length])
    fitting = paths(*log_p.shape, wanted, blank_id)
    if not len(fitting):
        return np.inf
    return -scipy.special.logsumexp(log_p[np.arange(len(log_p)), fitting].sum(axis=-1))


def forward_sum(logits, labels, logit_length, label_length):
    return losses.ctc_loss_with_forward_probs(
        logits, labels, logit_length, label_length
    )[0]


def last_class_blank(rng):
    logits, labels, *lengths = frames_and_labels(rng)
    return logits, labels - 1, *lengths


_sequence = functools.partial(
    Row,
    draw=frames_and_labels,
    reference=path_sum,
    differentiable=(0,),
    extremes=tuple(
        (z, np.array(labels), np.array(frames), np.array(length))
        for z in (
            np.zeros((3, 3)),
            1e4 * np.eye(3),
            np.array([[0, 0, -np.inf]] * 3),
            np.array([[-np.inf, 0, 0]] * 3),
            np.array([[0, -np.inf, -np.inf]] * 3),
            np.full((3, 3), -np.inf),
            np.array([[np.inf, 0, 1e8]] * 3),
            np.full((3, 3), np.inf),
        )
        for labels, frames, length in [
            ([1, 2], 3, 2),
            ([1, 1], 3, 2),
            ([1, 1], 2, 2),
            ([1, 2], 0, 2),
            ([1, 2], 0, 0),
            ([1, 2], 3, 0),
            ([0, 3], 3, 2),
            ([1, 2], 4, 3),
        ]
    ),
)
ROWS = {
    "ctc_loss": _sequence(losses.ctc_loss),
    "ctc_loss-last_class_blank": _sequence(
        functools.partial(losses.ctc_loss, blank_id=3, zero_infinity=True),
        draw=last_class_blank,
        reference=functools.partial(path_sum, blank_id=3),
        extremes=(),
    ),
    "ctc_loss_with_forward_probs": _sequence(forward_sum),
}
