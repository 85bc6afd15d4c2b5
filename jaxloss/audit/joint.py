"""How often one class is given for another: the confident joint and its matrices."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxloss.audit import _arrays

# Below its threshold by this much, a class is still confident: a probability that is
# the same for all examples of a class equals its own mean but for rounding.
_SLACK = 1e-6
_FLOOR = 2e-6  # of a threshold, for a class whose own examples are all denied


def confident_joint(
    probabilities: ArrayLike, labels: ArrayLike, *, calibrate: bool = True
) -> NDArray[np.int_]:
    r"""Estimates how many examples of each given label belong to each true class.

    .. math:: J_{jk} = \bigl|\{i : y_i = j,\ p_{ik} \ge t_k\}\bigr|, \qquad
        t_k = \operatorname*{mean}_{i : y_i = k} p_{ik}

    An example is counted for a class if its probability there reaches the mean of those
    who bear that label: a class which the model trusts less asks for less. If it
    reaches the threshold of several classes, its most probable class is taken; if of
    none, it is not counted.

    Args:
        probabilities: shape ``(N, C)``, or a history ``(N, T, C)``, of which the mean
            over the epochs is taken; floating.
        labels: given labels, shape ``(N,)``, integer.
        calibrate: whether to scale each row to the number of examples with that label,
            rounded so that the rows keep their sums. Else the counts as they are.

    Returns:
        Counts, shape ``(C, C)``: rows are given labels, columns true classes.

    Raises:
        ValueError: a shape is wrong, a label is not in ``[0, C)``, or probabilities are
            negative or do not sum to 1; the rows are named.
        TypeError: `probabilities` is not floating, or `labels` not integer.

    Guarantees:
        - Each class keeps at least one example on the diagonal; calibrated, a class
          that is never given has a row of zeros.
        - Calibrated, the rows sum to the numbers of the given labels.
        - An example with nan is left out, and named in a warning.

    Examples:
        >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9], [0.9, 0.1]])
        >>> confident_joint(p, [0, 0, 1, 1, 1], calibrate=False)
        array([[1, 0],
               [1, 2]])
        >>> confident_joint(p, [0, 0, 1, 1, 1])
        array([[2, 0],
               [1, 2]])

    References:
        Northcutt et al., *Confident Learning: Estimating Uncertainty in Dataset
        Labels*, 2021.
    """
    probabilities, labels, usable = _arrays.read(probabilities, labels)
    joint, _ = count(probabilities, labels, usable)
    return calibrated(joint, labels[usable]) if calibrate else joint


def noise_matrix(joint: ArrayLike) -> NDArray[np.float64]:
    """Probability of each given label, where the true class is known.

    Args:
        joint: counts of given labels (rows) and true classes (columns), shape
            ``(C, C)``, from `confident_joint`.

    Returns:
        ``[given, true]``, shape ``(C, C)``; each column sums to 1, or is nan for a
        class to which nothing belongs.

    Raises:
        ValueError: `joint` is not square, or negative.

    Examples:
        >>> noise_matrix([[30, 10], [0, 40]])
        array([[1. , 0.2],
               [0. , 0.8]])
    """
    return _columns(_square(joint))


def inverse_noise_matrix(joint: ArrayLike) -> NDArray[np.float64]:
    """Probability of each true class, where the given label is known.

    Args:
        joint: counts of given labels (rows) and true classes (columns), shape
            ``(C, C)``, from `confident_joint`.

    Returns:
        ``[true, given]``, shape ``(C, C)``; each column sums to 1, or is nan for a
        label that is never given.

    Raises:
        ValueError: `joint` is not square, or negative.

    Examples:
        >>> inverse_noise_matrix([[30, 10], [0, 40]])
        array([[0.75, 0.  ],
               [0.25, 1.  ]])
    """
    return _columns(_square(joint).T)


def count(
    probabilities: NDArray, labels: NDArray[np.intp], usable: NDArray[np.bool_]
) -> tuple[NDArray[np.int_], NDArray[np.intp]]:
    """The joint before calibration, and the class each example is counted for or -1."""
    size = probabilities.shape[-1]
    threshold = thresholds(probabilities, labels, usable) - _SLACK
    confident = np.full(len(labels), -1)
    for rows, p in _arrays.means(probabilities, usable):
        above = p >= threshold
        number = above.sum(axis=1)
        chosen = np.where(number > 1, p.argmax(axis=1), above.argmax(axis=1))
        confident[rows] = np.where(number > 0, chosen, -1)
    counted = confident >= 0
    cells = labels[counted] * size + confident[counted]
    joint = np.bincount(cells, minlength=size * size).reshape(size, size)
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    return joint, confident


def thresholds(
    probabilities: NDArray, labels: NDArray[np.intp], usable: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Mean probability of each class over the examples that bear its label."""
    own = np.zeros(len(labels))
    for rows, p in _arrays.means(probabilities, usable):
        own[rows] = p[np.arange(len(p)), labels[rows]]
    size = probabilities.shape[-1]
    number = np.bincount(labels[usable], minlength=size)
    total = np.bincount(labels[usable], own[usable], minlength=size)
    # Nothing is confidently of a class that is never given.
    mean = np.divide(total, number, out=np.full(size, np.inf), where=number > 0)
    return np.maximum(mean, _FLOOR)


def calibrated(joint: NDArray[np.int_], labels: NDArray[np.intp]) -> NDArray[np.int_]:
    """The joint, each row scaled to the number of examples with that label."""
    number = np.bincount(labels, minlength=len(joint))
    scaled = joint / joint.sum(axis=1, keepdims=True) * number[:, None]
    return whole(scaled)


def whole(counts: NDArray[np.float64]) -> NDArray[np.int_]:
    """Rounds each row so that it keeps its sum: largest remainders are rounded up."""
    down = np.floor(counts + 1e-9)
    missing = np.rint(counts.sum(axis=1) - down.sum(axis=1)).astype(int)
    order = np.argsort(down - counts, axis=1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(counts.shape[1])[None, :], axis=1)
    return (down + (place < missing[:, None])).astype(int)


def _square(joint: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(joint, np.float64)
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise ValueError(f"`joint` must have shape (C, C), got {array.shape}.")
    if not (array >= 0).all():
        raise ValueError("`joint` must be counts, not negative; got negative or nan.")
    return array


def _columns(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.broadcast_to(counts.sum(axis=0), counts.shape)
    return np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
