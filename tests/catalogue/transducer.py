"""Rows of `jaxloss.losses.transducer`."""

import functools
import itertools

import numpy as np
import scipy.special

from jaxloss import losses
from tests.catalogue._row import Row


def frames_and_labels(rng):
    """Up to 4 frames of 4 classes and up to 2 of 3 labels; the rest is padding."""
    labels = np.append(rng.integers(1, 4, 2), -7)
    return rng.normal(0, 2, (4, 4, 4)), labels, rng.integers(2, 5, ()), rng.integers(3)


def ways(frames, labels):
    """All orders of so many blanks (True) and labels in which a blank is the last."""
    moves = [True] * frames + [False] * labels
    return {way for way in itertools.permutations(moves) if way[-1:] != (False,)}


def way_sum(logits, labels, logit_length, label_length, blank_id=0):
    """By enumeration of all ways through the frames and labels."""
    found = []
    for way in ways(int(logit_length), int(label_length)):
        t = u = total = 0
        for silent in way:
            log_p = scipy.special.log_softmax(logits[t, u])
            total += log_p[blank_id if silent else labels[u]]
            t, u = (t + 1, u) if silent else (t, u + 1)
        found.append(total)
    return -np.logaddexp.reduce(found) if found else np.inf


def last_class_blank(rng):
    logits, labels, *lengths = frames_and_labels(rng)
    return logits, labels - 1, *lengths


_rnnt = functools.partial(
    Row,
    draw=frames_and_labels,
    reference=way_sum,
    differentiable=(0,),
    extremes=tuple(
        (
            np.tile(np.array(z, float), (2, 3, 1)),
            np.array(labels),
            np.array(t),
            np.array(u),
        )
        for z in (
            [0, 0, 0],
            [1e4, 0, -1e4],
            [-1e4, 0, 1e4],
            [0, 0, -np.inf],
            [-np.inf, 0, 0],
            [0, -np.inf, -np.inf],
            [-np.inf, -np.inf, -np.inf],
            [np.inf, 0, 1e8],
            [0, np.inf, 1e8],
            [np.inf, np.inf, np.inf],
        )
        for labels, t, u in [
            ([1, 2], 2, 2),
            ([1, 1], 2, 1),
            ([1, 2], 1, 2),
            ([1, 2], 0, 2),
            ([1, 2], 0, 0),
            ([1, 2], 2, 0),
            ([0, 3], 2, 2),
            ([1, 2], 3, 3),
        ]
    ),
)
ROWS = {
    "rnnt_loss": _rnnt(losses.rnnt_loss),
    "rnnt_loss-last_class_blank": _rnnt(
        functools.partial(losses.rnnt_loss, blank_id=3),
        draw=last_class_blank,
        reference=functools.partial(way_sum, blank_id=3),
        extremes=(),
    ),
}
