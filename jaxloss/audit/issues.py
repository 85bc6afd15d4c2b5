"""Which labels are wrong, and what they should have been."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxloss.audit import _arrays, joint
from jaxloss.audit.margins import scores

Rule = Literal[
    "margin", "prune_by_noise_rate", "prune_by_class", "both", "confident_learning"
]


def find_issues(
    probabilities: ArrayLike, labels: ArrayLike, *, how: Rule = "margin"
) -> NDArray[np.bool_]:
    """Decides which labels are wrong.

    Args:
        probabilities: shape ``(N, C)``, or ``(N, T, C)`` for T epochs; floating.
        labels: given labels, shape ``(N,)``, integer.
        how: the rule.

    Returns:
        Shape ``(N,)``, True for a label that is held to be wrong.
    """
    if how not in get_args(Rule):
        raise ValueError(f"`how` must be one of {get_args(Rule)}, got {how!r}.")
    if how == "margin":
        return scores(probabilities, labels) > 0
    probabilities, labels, usable = _arrays.read(probabilities, labels)
    counts, confident = joint.count(probabilities, labels, usable)
    denied = np.zeros(len(labels), np.bool_)
    own = np.full(len(labels), np.nan)
    for rows, p in _arrays.means(probabilities, usable):
        given = labels[rows]
        own[rows] = p[np.arange(len(p)), given]
        denied[rows] = p.argmax(axis=1) != given
    if how == "confident_learning":
        return denied & (confident >= 0) & (confident != labels)
    counts = _leave_one(joint.calibrated(counts, labels[usable]))
    found = denied
    if how in ("prune_by_class", "both"):
        found = found & _least_probable(own, labels, counts)
    if how in ("prune_by_noise_rate", "both"):
        found = found & _largest_margins(probabilities, labels, usable, counts)
    return found


def suggested_labels(probabilities: ArrayLike, labels: ArrayLike) -> NDArray[np.intp]:
    """The class that fits each example best, by the mean of the probabilities.

    Args:
        probabilities: shape ``(N, C)``, or ``(N, T, C)`` for T epochs; floating.
        labels: given labels, shape ``(N,)``, integer.

    Returns:
        Shape ``(N,)``; the given label itself where nothing is more probable, and -1
        for an example without probabilities.

    Raises:
        ValueError: a shape is wrong, a label is not in ``[0, C)``, or probabilities are
            negative or do not sum to 1; the rows are named.
        TypeError: `probabilities` is not floating, or `labels` not integer.

    Examples:
        >>> suggested_labels(np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]]), [0, 1, 0])
        array([1, 1, 0])
    """
    probabilities, labels, usable = _arrays.read(probabilities, labels)
    best = np.full(len(labels), -1)
    for rows, p in _arrays.means(probabilities, usable):
        given = labels[rows]
        own = p[np.arange(len(p)), given]
        best[rows] = np.where(p.max(axis=1) > own, p.argmax(axis=1), given)
    return best


def _leave_one(counts: NDArray[np.int_]) -> NDArray[np.int_]:
    """The counts, such that each class keeps an example of its own."""
    short = np.maximum(1 - counts.diagonal(), 0)
    others = np.maximum((counts > 0).sum(axis=1) - (counts.diagonal() > 0), 1)
    off = counts - (short / others)[:, None]
    np.fill_diagonal(off, np.maximum(counts.diagonal(), 1))
    return joint.whole(np.maximum(off, 0))


def _least_probable(
    own: NDArray[np.float64], labels: NDArray[np.intp], counts: NDArray[np.int_]
) -> NDArray[np.bool_]:
    """Of each class, as many of the lowest own probability as are counted elsewhere."""
    found = np.zeros(len(labels), np.bool_)
    for given, number in enumerate(counts.sum(axis=1) - counts.diagonal()):
        members = np.flatnonzero((labels == given) & ~np.isnan(own))
        if 0 < number < members.size:
            edge = np.partition(own[members], number)[number]
            found[members] = own[members] < edge
    return found


def _largest_margins(
    probabilities: NDArray,
    labels: NDArray[np.intp],
    usable: NDArray[np.bool_],
    counts: NDArray[np.int_],
) -> NDArray[np.bool_]:
    """Of each pair of classes, as many of the largest margin as are counted there."""
    found = np.zeros(len(labels), np.bool_)
    for given in np.flatnonzero(counts.sum(axis=1) > counts.diagonal()):
        members = np.flatnonzero(usable & (labels == given))
        p = _arrays.over_time(probabilities[members])
        for true in np.flatnonzero(counts[given]):
            if true != given:
                margin = p[:, true] - p[:, given]
                place = max(len(margin) - counts[given, true], 0)
                found[members] |= margin >= np.partition(margin, place)[place]
    return found
