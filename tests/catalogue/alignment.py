"""Rows of `jaxloss.losses.alignment`."""

import functools
import itertools

import numpy as np

from jaxloss import losses
from tests.catalogue._row import Row


def two_series(rng):
    """Up to 4 steps against up to 5, of 2 features; the rest is padding."""
    x, y = rng.normal(0, 1, (4, 2)), rng.normal(0, 1, (5, 2))
    return x, y, rng.integers(3, 5, ()), rng.integers(3, 6, ())


@functools.cache
def alignments(rows, columns):
    """All of them, each as the pairs it passes."""
    if not (rows and columns):
        return [] if rows or columns else [()]
    here = ((rows - 1, columns - 1),)
    if rows == columns == 1:
        return [here]
    before = itertools.product((rows - 1, rows), (columns - 1, columns))
    return [
        path + here
        for rows_before, columns_before in list(before)[:3]
        for path in alignments(rows_before, columns_before)
        if path
    ]


def costs(x, y, rows, columns, bandwidth=None):
    """What each alignment costs, by enumeration."""
    pair = ((x[:, None] - y[None]) ** 2).sum(-1)
    if bandwidth is not None:
        away = np.subtract.outer(np.arange(len(x)), np.arange(len(y)))
        pair = np.where(np.abs(away) <= bandwidth, pair, np.inf)
    each = [sum(pair[p] for p in path) for path in alignments(int(rows), int(columns))]
    return np.array([cost for cost in each if cost < np.inf])


def soft_minimum(x, y, rows, columns, gamma=1.0, bandwidth=None):
    each = costs(x, y, rows, columns, bandwidth)
    if not len(each):
        return np.inf
    return -gamma * np.logaddexp.reduce(-each / gamma)


def _series(*steps):
    return np.array(steps, float)[:, None]


_soft_dtw = functools.partial(
    Row,
    draw=two_series,
    bounded=False,
    extremes=tuple(
        (x, y, np.array(rows), np.array(columns))
        for x, y in [
            (_series(0, 0, 0), _series(0, 0, 0)),
            (_series(0, 1e4, 0), _series(-1e4, 0, 1e4)),
            (_series(0, 1e30, 0), _series(0, 0, 1e30)),
            (_series(3e38, 0, 0), _series(-3e38, 0, 0)),
            (_series(0, np.inf, 0), _series(0, 0, 0)),
            (_series(0, np.inf, 0), _series(0, np.inf, 0)),
            (_series(0, -np.inf, 0), _series(0, np.inf, 0)),
        ]
        for rows, columns in [(3, 3), (1, 3), (2, 1), (0, 3), (2, 0), (0, 0), (4, 3)]
    ),
)
ROWS = {
    "soft_dtw": _soft_dtw(losses.soft_dtw, reference=soft_minimum),
    "soft_dtw-band": _soft_dtw(
        functools.partial(losses.soft_dtw, gamma=0.25, bandwidth=2),
        reference=functools.partial(soft_minimum, gamma=0.25, bandwidth=2),
    ),
}
