"""Inputs that are there twice, or nearly so, whatever a model thinks of them."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxloss.audit import _arrays

_TILE = 2048  # examples on each side of a block of distances
_SAMPLE = 512  # examples whose nearest neighbours say what is near


class Duplicates(NamedTuple):
    """Pairs of nearly equal examples, the closest first.

    Attributes:
        pairs: indices of the two, the smaller first, shape ``(M, 2)``.
        distance: Euclidean distance between them, shape ``(M,)``.
        differing: whether their labels differ, shape ``(M,)``; None without labels.
    """

    pairs: NDArray[np.intp]
    distance: NDArray[np.float64]
    differing: NDArray[np.bool_] | None


def near_duplicates(
    features: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    within: float = 0.1,
    max_pairs: int = 1_000_000,
) -> Duplicates:
    r"""Finds pairs of examples that are much closer than neighbours usually are.

    A pair counts when its Euclidean distance is at most `within` times the median
    distance of an example to its nearest neighbour that is not equal to it. Nothing is
    trained; the features may be the inputs themselves, or an embedding.

    Two examples that are nearly equal and have different labels are a contradiction
    that needs no model. Two that are on both sides of a split into training and test
    are a leak.

    Args:
        features: shape ``(N, ...)``; each example is flattened.
        labels: given labels, shape ``(N,)``, integer; None to leave them out.
        within: share of the usual distance. With 0 only equal examples are found, in
            time and memory linear in the number of examples; else every pair is looked
            at, in blocks.
        max_pairs: the most pairs that are returned.

    Returns:
        The pairs, sorted by distance, then by index.

    Raises:
        ValueError: a shape is wrong, `within` is negative, or there are more than
            `max_pairs` pairs.
        TypeError: `labels` is not integer.

    Guarantees:
        - Every pair within the distance is found, and no other, but for rounding in
          float64; equal examples are always found.
        - The pairs do not depend on a shift of all features, nor on their scale.
        - An example with nan has no duplicates, and is named in a warning.

    Examples:
        >>> x = np.array([[0.0, 1.0], [3.0, 1.0], [0.0, 1.0], [9.0, 9.0]])
        >>> found = near_duplicates(x, [0, 1, 1, 0])
        >>> found.pairs, found.distance, found.differing
        (array([[0, 2]]), array([0.]), array([ True]))
    """
    features = np.asarray(features)
    if features.ndim < 1:
        raise ValueError(f"`features` must have shape (N, ...), got {features.shape}.")
    if not within >= 0:
        raise ValueError(f"`within` must not be negative, got {within}.")
    given = None if labels is None else _arrays.integers("labels", labels)
    if given is not None and given.shape != features.shape[:1]:
        raise ValueError(
            f"`labels` must have shape ({len(features)},), got {given.shape}."
        )
    flat = features.reshape(len(features), math.prod(features.shape[1:]))
    if flat.dtype not in (np.float32, np.float64):
        flat = flat.astype(np.float32 if flat.dtype.itemsize < 4 else np.float64)
    finite = np.concatenate(
        [
            np.zeros(0, bool),
            *(np.isfinite(flat[s]).all(axis=1) for s in _arrays.spans(flat)),
        ]
    )
    _arrays.warn_left_out("features", ~finite, stacklevel=3)
    rows = np.flatnonzero(finite)
    flat = flat if finite.all() else flat[rows]

    found = _equal(flat, max_pairs)
    if within:
        radius = within * _usual_distance(flat)
        near = _near(flat, radius, max_pairs)
        found = np.unique(np.concatenate([found, near]), axis=0)
    distance = _distances(flat, found)
    order = np.lexsort((found[:, 1], found[:, 0], distance))
    pairs, distance = rows[found[order]], distance[order]
    differing = None if given is None else given[pairs[:, 0]] != given[pairs[:, 1]]
    return Duplicates(pairs, distance, differing)


def _equal(flat: NDArray, max_pairs: int) -> NDArray[np.intp]:
    """All pairs of equal rows: those whose bytes are the same."""
    if flat.shape[1] == 0 or len(flat) < 2:
        return np.zeros((0, 2), np.intp)
    same = np.ascontiguousarray(flat + 0.0)  # -0 equals 0, but not in its bytes
    keys = same.view(np.dtype((np.void, same.dtype.itemsize * same.shape[1]))).ravel()
    _, group, size = np.unique(keys, return_inverse=True, return_counts=True)
    _refuse_more(int((size * (size - 1) // 2).sum()), max_pairs)
    order = np.argsort(group, kind="stable")
    starts = np.cumsum(size) - size
    pairs = [np.zeros((0, 2), np.intp)]
    for start, many in zip(starts[size > 1], size[size > 1], strict=True):
        one, other = np.triu_indices(many, 1)
        members = order[start : start + many]
        pairs.append(np.stack([members[one], members[other]], axis=1))
    return np.concatenate(pairs)


def _usual_distance(flat: NDArray) -> float:
    """Median distance to the nearest example that differs, over some spread evenly."""
    some = np.unique(np.linspace(0, len(flat) - 1, min(_SAMPLE, len(flat))).astype(int))
    shift, scale = _frame(flat)
    picked = (flat[some].astype(np.float64) - shift) / scale
    nearest = np.full(len(some), np.inf)
    for start in range(0, len(flat), _TILE):
        tile = (flat[start : start + _TILE].astype(np.float64) - shift) / scale
        lengths = (picked**2).sum(axis=1)[:, None] + (tile**2).sum(axis=1)
        squares = lengths - 2 * (picked @ tile.T)
        squares[squares <= 1e-12 * lengths] = np.inf  # equal, but for rounding
        nearest = np.minimum(nearest, squares.min(axis=1))
    nearest = nearest[np.isfinite(nearest)]
    return float(np.median(np.sqrt(nearest)) * scale) if nearest.size else 0.0


def _near(flat: NDArray, radius: float, max_pairs: int) -> NDArray[np.intp]:
    """All pairs within the radius, from blocks of products in float32.

    A product cannot tell distances that are small beside the lengths. So a pair is let
    through when it may be near, and measured again by its difference.
    """
    shift, scale = _frame(flat)
    # One product of rows (-2 x, 1, |x|^2) and (y, |y|^2, 1) gives the squared distance;
    # the norms are taken smaller by what its rounding can amount to.
    slack = 2 * (flat.shape[1] + 8) * np.finfo(np.float32).eps
    edge = np.float32((radius / scale) ** 2 * (1 + 1e-6))
    pairs, number = [np.zeros((0, 2), np.intp)], 0
    for i in range(0, len(flat), _TILE):
        x, norms = _tile(flat, i, shift, scale, slack)
        one = np.concatenate([-2 * x, np.ones_like(norms), norms], axis=1)
        for j in range(i, len(flat), _TILE):
            y, norms = _tile(flat, j, shift, scale, slack)
            other = np.concatenate([y, norms, np.ones_like(norms)], axis=1)
            maybe = one @ other.T <= edge
            found = np.argwhere(np.triu(maybe, 1) if i == j else maybe) + (i, j)
            found = found[_distances(flat, found) <= radius]
            pairs.append(found)
            number += len(found)
            _refuse_more(number, max_pairs)
    return np.concatenate(pairs)


def _tile(
    flat: NDArray, start: int, shift: NDArray, scale: float, slack: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A block of rows in float32, and the squares of their norms, less the slack."""
    x = ((flat[start : start + _TILE] - shift) / scale).astype(np.float32)
    return x, (x**2).sum(axis=1, keepdims=True) * np.float32(1 - slack)


def _frame(flat: NDArray) -> tuple[NDArray[np.float64], float]:
    """Where the features lie and how far they reach, so that squares stay exact."""
    shift = flat.mean(axis=0, dtype=np.float64) if len(flat) else np.zeros(1)
    reach = max((np.abs(flat[s] - shift).max() for s in _arrays.spans(flat)), default=0)
    return shift, float(reach) or 1.0


def _distances(flat: NDArray, pairs: NDArray[np.intp]) -> NDArray[np.float64]:
    result = np.empty(len(pairs))
    for rows in _arrays.spans(np.broadcast_to(flat[:1], (len(pairs), flat.shape[1]))):
        one, other = pairs[rows].T
        difference = flat[one].astype(np.float64) - flat[other]
        result[rows] = np.sqrt((difference**2).sum(axis=1))
    return result


def _refuse_more(number: int, max_pairs: int) -> None:
    if number > max_pairs:
        raise ValueError(
            f"`features` has {number} or more pairs of near duplicates, above "
            f"`max_pairs`, {max_pairs}. Give a smaller `within` or a larger limit."
        )
