"""Which classes are taken for which."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxloss.audit import _arrays


class Confusions(NamedTuple):
    """Pairs of a given and another suggested class, the most frequent first.

    Attributes:
        given: the label in the data, shape ``(M,)``.
        suggested: the label that fits better, shape ``(M,)``.
        counts: examples with this pair, shape ``(M,)``.
        shares: the same as a share of all examples with that given label.
    """

    given: NDArray[np.intp]
    suggested: NDArray[np.intp]
    counts: NDArray[np.int_]
    shares: NDArray[np.float64]


def confused_pairs(
    labels: ArrayLike,
    suggested: ArrayLike,
    *,
    where: ArrayLike | None = None,
    k: int | None = None,
) -> Confusions:
    """Counts which class is given where another one fits.

    Args:
        labels: given labels, shape ``(N,)``, integer.
        suggested: labels from `suggested_labels`, shape ``(N,)``; -1 counts for
            nothing.
        where: the examples to count, as from `find_issues`; None for all.
        k: how many pairs at most; None for all.

    Returns:
        The pairs that occur, by count, ties by given, then by suggested class.

    Raises:
        ValueError: the shapes differ, a given label is negative, or `k` is.
        TypeError: `labels` or `suggested` is not integer, or `where` not boolean.

    Examples:
        >>> pairs = confused_pairs([0, 0, 0, 1, 1], [1, 1, 0, 0, 1])
        >>> pairs.given, pairs.suggested, pairs.counts, pairs.shares.round(2)
        (array([0, 1]), array([1, 0]), array([2, 1]), array([0.67, 0.5 ]))
    """
    labels = _arrays.integers("labels", labels)
    suggested = _arrays.integers("suggested", suggested)
    if labels.ndim != 1 or labels.shape != suggested.shape:
        raise ValueError(
            "`labels` and `suggested` must have the same shape (N,), got "
            f"{labels.shape} and {suggested.shape}."
        )
    negative = np.flatnonzero(labels < 0)
    if negative.size:
        wrong = _arrays.named(negative, "wrong row")
        raise ValueError(f"`labels` must not be negative, got {wrong}.")
    if k is not None and k < 0:
        raise ValueError(f"`k` must not be negative, got {k}.")
    counts = (suggested >= 0) & (labels != suggested)
    if where is not None:
        counts &= _arrays.mask("where", where, labels.size)
    pairs = np.stack([labels[counts], suggested[counts]], axis=1)
    pairs, count = np.unique(pairs, axis=0, return_counts=True)
    order = np.argsort(-count, kind="stable")[:k]
    given, other = pairs[order].T
    return Confusions(
        given, other, count[order], count[order] / np.bincount(labels)[given]
    )
