"""Which labels are wrong, and what they should have been."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxloss.audit import _arrays, joint, margins

Rule = Literal[
    "margin",
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "predicted_neq_given",
]
_HELD = 1 << 23  # margins held at a time: 64 MiB
_ROUNDING = 1e-12  # probabilities no further apart are as good as equal


def find_issues(
    probabilities: ArrayLike, labels: ArrayLike, *, how: Rule = "margin"
) -> NDArray[np.bool_]:
    """Decides which labels are wrong.

    The calibrated `confident_joint` says how many; a ranking says which. No rule has a
    parameter, and each can find that nothing is wrong:

    - ``"margin"``: those with the highest `scores`, as many as the joint has off its
      diagonal.
    - ``"prune_by_noise_rate"``: for each pair of a given and another class, as many as
      the joint has there, those with the largest probability of the other less that of
      the given class.
    - ``"prune_by_class"``: of each given class, as many as the joint has off the
      diagonal, those with the lowest probability of the given class.
    - ``"both"``: what the last two agree on.
    - ``"confident_learning"``: those that the joint itself counts for another class.
    - ``"predicted_neq_given"``: all whose label is not the most probable; no joint.

    All but the first select what cleanlab selects, given the same ``(N, C)``; of equal
    margins at the border either may be taken. Where each of them is weak:

    - Of a model that is often wrong (overlapping classes), all of them select many
      right labels. ``"both"`` and ``"confident_learning"`` select fewest.
    - Of a history where the labels were known by heart for most of the epochs (a small
      dataset, a long training), ``"margin"`` selects too few; `cut` of the scores
      selects more, but also where nothing is wrong.
    - Of probabilities ``(N, C)`` in sample, all of them find next to nothing: the
      model has learnt the wrong labels. Give a history, or cross-validate.
    - Of the mean ``(N, C)`` of a history, as a ledger keeps, the rules with a joint
      find half: no wrong label looks as confident there as a right one.
      ``"predicted_neq_given"`` does well then, but out of fold it selects every
      mistake of the model.
    - ``"prune_by_class"`` and ``"prune_by_noise_rate"`` are coarse for classes of a few
      examples, where the joint is a count of one or two; ``"margin"`` only needs its
      total.

    Args:
        probabilities: shape ``(N, C)``, or ``(N, T, C)`` for T epochs; floating. The
            probabilities of a history are averaged with the weights of `scores`.
        labels: given labels, shape ``(N,)``, integer.
        how: the rule.

    Returns:
        Shape ``(N,)``, True for a label that is held to be wrong.

    Raises:
        ValueError: a shape is wrong, a label is not in ``[0, C)``, probabilities are
            negative or do not sum to 1, or `how` is none of the rules; rows are named.
        TypeError: `probabilities` is not floating, or `labels` not integer.

    Guarantees:
        - False for a label that is the most probable (by its score, for ``"margin"``).
        - By the three rules that prune, at least one example of each class is kept.
        - False for an example without probabilities; it is named in a warning.

    Examples:
        >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9], [0.9, 0.1]])
        >>> find_issues(p, [0, 0, 1, 1, 1])
        array([False, False, False, False,  True])

    References:
        Northcutt et al., *Confident Learning: Estimating Uncertainty in Dataset
        Labels*, 2021.
    """
    if how not in get_args(Rule):
        raise ValueError(f"`how` must be one of {get_args(Rule)}, got {how!r}.")
    reading = _arrays.read("probabilities", probabilities, labels)
    counts, confident = joint.count(reading)
    if how == "margin":
        counts = joint.calibrated(counts, reading)
        return _highest(margins.of(reading), counts.sum() - counts.trace())
    labels = reading.labels
    own = np.full(len(labels), np.nan)
    denied = np.zeros(len(labels), np.bool_)
    for rows, p in reading.means():
        own[rows] = p[np.arange(len(p)), labels[rows]]
        denied[rows] = p.max(axis=1) > own[rows] + _ROUNDING
    if how == "predicted_neq_given":
        return denied
    if how == "confident_learning":
        return denied & (confident >= 0) & (confident != labels)
    counts = _leave_one(joint.calibrated(counts, reading))
    found = denied
    if how in ("prune_by_class", "both"):
        found = found & _least_probable(own, labels, counts)
    if how in ("prune_by_noise_rate", "both"):
        found = found & _largest_margins(reading, counts)
    return found


def suggested_labels(probabilities: ArrayLike, labels: ArrayLike) -> NDArray[np.intp]:
    """The class that fits each example best.

    Args:
        probabilities: shape ``(N, C)``, or ``(N, T, C)`` for T epochs; floating. The
            probabilities of a history are averaged with the weights of `scores`.
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
    reading = _arrays.read("probabilities", probabilities, labels)
    best = np.full(len(reading.labels), -1)
    for rows, p in reading.means():
        given = reading.labels[rows]
        own = p[np.arange(len(p)), given]
        best[rows] = np.where(p.max(axis=1) > own, p.argmax(axis=1), given)
    return best


def _highest(scores: NDArray[np.float64], number: int) -> NDArray[np.bool_]:
    """At most that many of the highest scores above 0, ties by index."""
    found = np.zeros(scores.size, np.bool_)
    found[margins.ranking(scores)[:number]] = True
    return found & (scores > 0)


def _leave_one(counts: NDArray[np.int_]) -> NDArray[np.int_]:
    """The counts, such that each class keeps an example of its own."""
    empty = counts.diagonal() < 1
    rest = np.maximum(counts - empty[:, None], 0)
    np.fill_diagonal(rest, np.maximum(counts.diagonal(), 1))
    return rest


def _least_probable(
    own: NDArray[np.float64], labels: NDArray[np.intp], counts: NDArray[np.int_]
) -> NDArray[np.bool_]:
    """Of each class, as many of the lowest own probability as are counted elsewhere."""
    found = np.zeros(len(labels), np.bool_)
    for given, kept in enumerate(counts.diagonal()):
        members = np.flatnonzero((labels == given) & ~np.isnan(own))
        if members.size:
            found[members[_lowest(own[members], members.size - kept)]] = True
    return found


def _largest_margins(
    reading: _arrays.Reading, counts: NDArray[np.int_]
) -> NDArray[np.bool_]:
    """Of each pair of classes, as many of the largest margin as are counted there."""
    found = np.zeros(len(reading.labels), np.bool_)
    for given in np.flatnonzero(counts.sum(axis=1) > counts.diagonal()):
        members = np.flatnonzero(reading.usable & (reading.labels == given))
        others = np.flatnonzero(counts[given])
        others = others[others != given]
        step = max(1, _HELD // members.size)
        for part in np.split(others, range(step, others.size, step)):
            for other, margin in zip(
                part, _margins(reading, members, given, part), strict=True
            ):
                found[members[_lowest(-margin, counts[given, other])]] = True
    return found


def _lowest(values: NDArray[np.float64], number: int) -> NDArray[np.intp]:
    """Indices of that many of the lowest, of equal ones any."""
    number = min(number, values.size)
    return np.argpartition(values, max(number, 1) - 1)[: max(number, 0)]


def _margins(
    reading: _arrays.Reading,
    members: NDArray[np.intp],
    given: np.intp,
    others: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Probabilities of other classes less that of the given one, ``(others, n)``."""
    result = np.empty((others.size, members.size))
    for rows in _arrays.spans(
        np.broadcast_to(reading.history[:1], (members.size, *reading.history.shape[1:]))
    ):
        p = _arrays.over_time(
            reading.history[members[rows]].astype(np.float64), reading.weights
        )
        result[:, rows] = (p[:, others] - p[:, [given]]).T
    return result
