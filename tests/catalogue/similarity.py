"""Rows of `jaxloss.losses.similarity`."""

from functools import partial

import numpy as np

from jaxloss import losses
from tests.catalogue._row import Row


def vectors(rng):
    return rng.normal(0, 1, 7), rng.normal(0, 1, 7)


def similarity_reference(a, b, epsilon=0.0):
    lengths = [max(np.sqrt(np.sum(x**2)), epsilon) for x in (a, b)]
    return np.sum(a * b) / (lengths[0] * lengths[1])


def distance_reference(a, b, epsilon=0.0):
    return 1 - similarity_reference(a, b, epsilon)


PAIRS = tuple(
    (np.array(a), np.array(b))
    for a, b in [
        ([0.0, 0, 0], [1.0, 2, 3]),
        ([1.0, 2, 3], [0.0, 0, 0]),
        ([0.0, 0, 0], [0.0, 0, 0]),
        ([1.0, 2, 3], [1.0, 2, 3]),
        ([1.0, 2, 3], [-1.0, -2, -3]),
        ([1e20, 0, 1e20], [1e20, 1e20, 0]),
        ([3e38, 3e38, 0], [3e38, 0, 3e38]),
        ([1e-15, 0, 1e-15], [1e20, 1e20, 0]),
        ([1.0, np.inf, 0], [1.0, 2, 3]),
    ]
)
_row = partial(Row, draw=vectors, extremes=PAIRS)
ROWS = {
    "cosine_similarity": _row(
        losses.cosine_similarity, reference=similarity_reference, bounded=False
    ),
    "cosine_similarity-epsilon": _row(
        partial(losses.cosine_similarity, epsilon=2.5),
        reference=partial(similarity_reference, epsilon=2.5),
        bounded=False,
    ),
    "cosine_distance": _row(losses.cosine_distance, reference=distance_reference),
    "cosine_distance-epsilon": _row(
        partial(losses.cosine_distance, epsilon=2.5),
        reference=partial(distance_reference, epsilon=2.5),
    ),
}
