"""Rows of `jaxloss.losses.contrastive`."""

from functools import partial

import numpy as np
import scipy.special

from jaxloss import losses
from tests.catalogue._row import Row


def anchor_and_keys(rng):
    role = rng.integers(0, 3, 6)
    role[:2] = 0, 1  # at least one of each kind
    return rng.normal(0, 2, 4), rng.normal(0, 2, (6, 4)), role == 0, role == 1


def cosines(anchor, keys):
    return keys @ anchor / np.linalg.norm(keys, axis=1) / np.linalg.norm(anchor)


def ntxent_reference(anchor, keys, positive, negative, tau=0.07):
    s = cosines(anchor, keys) / tau
    pairs = [np.append(s[negative], s[p]) for p in np.flatnonzero(positive)]
    return np.mean([scipy.special.logsumexp(z) - z[-1] for z in pairs])


def circle_reference(anchor, keys, positive, negative, gamma=80.0, m=0.4):
    s = cosines(anchor, keys)
    p, n = s[positive, None], s[None, negative]
    exponents = gamma * np.maximum(n + m, 0) * (n - m)
    exponents = exponents - gamma * np.maximum(1 + m - p, 0) * (p - 1 + m)
    return scipy.special.logsumexp(np.append(exponents.ravel(), 0))


ANCHOR, ONE = np.array([1.0, -2.0, 0.0, 3.0]), np.array([True])
BOTH = np.array([True, False]), np.array([False, True])
CORNERS = (
    *(
        (scale * ANCHOR, scale * np.stack([ANCHOR, ANCHOR]), *BOTH)
        for scale in (1e-15, 1, 1e30)
    ),
    (ANCHOR, np.stack([-ANCHOR, ANCHOR]), *BOTH),
    (ANCHOR, np.zeros((2, 4)), *BOTH),
    (0 * ANCHOR, np.stack([ANCHOR, ANCHOR]), *BOTH),
    (ANCHOR, ANCHOR[None] + 1, ONE, ~ONE),
    (ANCHOR, ANCHOR[None] + 1, ~ONE, ONE),
    (ANCHOR, ANCHOR[None] + 1, ~ONE, ~ONE),
    (ANCHOR, np.full((1, 4), np.nan), ~ONE, ~ONE),
    (ANCHOR, np.zeros((0, 4)), np.zeros(0, bool), np.zeros(0, bool)),
)
_row = partial(Row, draw=anchor_and_keys, extremes=CORNERS)
ROWS = {
    "ntxent": _row(losses.ntxent, reference=ntxent_reference),
    "ntxent-temperature": _row(
        partial(losses.ntxent, temperature=0.5),
        reference=partial(ntxent_reference, tau=0.5),
    ),
    "circle_loss": _row(losses.circle_loss, reference=circle_reference),
    "circle_loss-every_option": _row(
        partial(losses.circle_loss, gamma=10.0, margin=0.25),
        reference=partial(circle_reference, gamma=10.0, m=0.25),
    ),
}
