"""Rows of `jaxloss.losses.embedding`."""

import math
from functools import partial

import numpy as np
import scipy.spatial.distance

from jaxloss import losses
from tests.catalogue._row import Row, elementwise


def two(rng):
    return rng.normal(0, 2, 5), rng.normal(0, 2, 5)


def two_and_side(rng):
    return *two(rng), rng.choice([-1.0, 1.0])


def three(rng):
    return *two(rng), rng.normal(0, 2, 5)


def distance_and_side(rng):
    return rng.uniform(0, 3, (3, 5)), rng.choice([-1.0, 1.0], (3, 5))


def scores_and_side(rng):
    return (
        rng.normal(0, 2, (3, 5)),
        rng.normal(0, 2, (3, 5)),
        rng.choice([-1.0, 1.0], (3, 5)),
    )


def cosine_embedding_reference(a, b, y, margin=0.0):
    cosine = 1 - scipy.spatial.distance.cosine(a, b)
    return 1 - cosine if y > 0 else max(0.0, cosine - margin)


def distance(a, b, k=2.0):
    return np.linalg.norm(a - b, k)


def triplet_reference(a, p, n, d=distance, margin=1.0, swap=False, smooth=False):
    far = min(d(a, n), d(p, n)) if swap else d(a, n)
    short = d(a, p) - far + margin
    return np.log1p(np.exp(short)) if smooth else max(0.0, short)


BASE = np.array([3.0, -1.0, 0.0, 0.5, 2.0])
CORNERS = tuple(
    (scale * BASE, other)
    for scale in (1e-15, 1.0, 1e30)
    for other in (scale * BASE, -scale * BASE, np.zeros(5), np.ones(5))
) + ((np.zeros(5), np.zeros(5)), (np.zeros(5), BASE), (np.ones(5), 2 * np.ones(5)))
PAIRS = tuple((a, b, np.array(y)) for a, b in CORNERS for y in (-1.0, 1.0))
TRIPLETS = tuple((a, b, c) for a, b in CORNERS for c in (a, b, BASE))
DISTANCES = tuple((np.array([0.0, 1.0, 1e4, 1e30]), np.full(4, y)) for y in (-1.0, 1.0))
SCORES = tuple((-x, x, y) for x, y in DISTANCES) + tuple(
    (x, x, y) for x, y in DISTANCES
)

_cosine = partial(Row, draw=two_and_side, differentiable=(0, 1), extremes=PAIRS)
_hinge = partial(elementwise, draw=distance_and_side, differentiable=(0,))
_distance = partial(Row, losses.pairwise_distance, two, extremes=CORNERS)
_triplet = partial(Row, draw=three, differentiable=(0, 1, 2), extremes=TRIPLETS)
ROWS = {
    "cosine_embedding_loss": _cosine(
        losses.cosine_embedding_loss, reference=cosine_embedding_reference
    ),
    "cosine_embedding_loss-margin": _cosine(
        partial(losses.cosine_embedding_loss, margin=0.2),
        reference=partial(cosine_embedding_reference, margin=0.2),
    ),
    "hinge_embedding_loss": _hinge(
        losses.hinge_embedding_loss,
        reference=lambda d, y: np.mean(np.where(y > 0, d, np.maximum(0, 1 - d))),
        extremes=DISTANCES,
    ),
    "hinge_embedding_loss-margin": _hinge(
        partial(losses.hinge_embedding_loss, margin=2.5),
        reference=lambda d, y: np.mean(np.where(y > 0, d, np.maximum(0, 2.5 - d))),
        extremes=DISTANCES,
    ),
    "margin_ranking_loss": elementwise(
        losses.margin_ranking_loss,
        scores_and_side,
        lambda a, b, y: np.mean(np.maximum(0, -y * (a - b))),
        extremes=SCORES,
    ),
    "margin_ranking_loss-margin": elementwise(
        partial(losses.margin_ranking_loss, margin=1.5),
        scores_and_side,
        lambda a, b, y: np.mean(np.maximum(0, 1.5 - y * (a - b))),
        extremes=SCORES,
    ),
    "pairwise_distance": _distance(reference=scipy.spatial.distance.euclidean),
    "triplet_margin_loss": _triplet(
        losses.triplet_margin_loss, reference=triplet_reference
    ),
    "triplet_margin_loss-swap": _triplet(
        partial(losses.triplet_margin_loss, swap=True, margin=3.0),
        reference=partial(triplet_reference, swap=True, margin=3.0),
    ),
    "triplet_margin_loss-smooth": _triplet(
        partial(losses.triplet_margin_loss, smooth=True, norm_degree=3.0),
        reference=partial(triplet_reference, d=partial(distance, k=3), smooth=True),
    ),
    "triplet_margin_loss-eps_in_the_sum": _triplet(
        partial(losses.triplet_margin_loss, eps=0.5, margin=4.0),
        reference=partial(
            triplet_reference,
            d=lambda a, b: math.sqrt(np.sum((a - b) ** 2) + 0.5),
            margin=4.0,
        ),
    ),
    "triplet_margin_loss-eps_in_each": _triplet(
        partial(
            losses.triplet_margin_loss, eps=0.5, eps_mode="elementwise", margin=4.0
        ),
        reference=partial(
            triplet_reference, d=lambda a, b: np.linalg.norm(a - b + 0.5), margin=4.0
        ),
    ),
    "triplet_margin_with_distance_loss": _triplet(
        losses.triplet_margin_with_distance_loss, reference=triplet_reference
    ),
    "triplet_margin_with_distance_loss-every_option": _triplet(
        partial(
            losses.triplet_margin_with_distance_loss,
            distance_fn=partial(losses.pairwise_distance, norm_degree=1.0),
            margin=4.0,
            swap=True,
        ),
        reference=partial(
            triplet_reference,
            d=scipy.spatial.distance.cityblock,
            margin=4.0,
            swap=True,
        ),
    ),
}
ROWS |= {
    f"pairwise_distance-degree_{str(k).replace('.', '_')}": Row(
        partial(losses.pairwise_distance, norm_degree=k),
        two,
        partial(distance, k=k)
        if k >= 1
        else partial(scipy.spatial.distance.minkowski, p=k),
        extremes=CORNERS,
    )
    for k in (0.5, 1.0, 1.5, 3.0, math.inf)
}
ROWS["pairwise_distance-eps"] = Row(
    partial(losses.pairwise_distance, eps=0.5),
    two,
    lambda a, b: np.linalg.norm(a - b + 0.5),
    extremes=CORNERS,
)
