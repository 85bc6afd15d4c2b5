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

    Of a history each epoch has its own thresholds and counts an example for one class
    or none. The example goes to the class it was counted for most, where an epoch
    weighs as in `scores`; to the given one if that ties.

    Args:
        probabilities: shape ``(N, C)``, or ``(N, T, C)`` for T epochs; floating.
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
    reading = _arrays.read("probabilities", probabilities, labels)
    joint, _ = count(reading)
    return calibrated(joint, reading) if calibrate else joint


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


def count(reading: _arrays.Reading) -> tuple[NDArray[np.int_], NDArray[np.intp]]:
    """The joint before calibration, and the class each example is counted for or -1."""
    labels, size = reading.labels, reading.history.shape[-1]
    threshold = thresholds(reading) - _SLACK
    confident = np.full(len(labels), -1)
    for rows, p in reading.chunks():
        above = p >= threshold  # an epoch with nan is above nothing
        number = above.sum(axis=-1)
        chosen = np.where(number > 1, p.argmax(axis=-1), above.argmax(axis=-1))
        cells = chosen + size * np.arange(len(rows))[:, None]
        share = (number > 0) * reading.weights
        votes = np.bincount(cells.ravel(), share.ravel(), minlength=size * len(rows))
        votes = votes.reshape(len(rows), size)
        most, given = votes.max(axis=1), labels[rows]
        won = np.where(
            votes[np.arange(len(rows)), given] == most, given, votes.argmax(1)
        )
        confident[rows] = np.where(most > 0, won, -1)
    counted = confident >= 0
    cells = labels[counted] * size + confident[counted]
    joint = np.bincount(cells, minlength=size * size).reshape(size, size)
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    return joint, confident


def thresholds(reading: _arrays.Reading) -> NDArray[np.float64]:
    """Mean probability, in each epoch, of each class over those that bear its label."""
    _, epochs, size = reading.history.shape
    total, number = np.zeros((2, size, epochs))
    for rows, p in reading.chunks():
        own, given = _arrays.at_labels(p, reading.labels[rows]), reading.labels[rows]
        present = ~np.isnan(own)
        np.add.at(total, given, np.where(present, own, 0))
        np.add.at(number, given, present)
    # Nothing is confidently of a class that is never given.
    mean = np.divide(total, number, out=np.full(total.shape, np.inf), where=number > 0)
    return np.maximum(mean, _FLOOR).T


def calibrated(joint: NDArray[np.int_], reading: _arrays.Reading) -> NDArray[np.int_]:
    """The joint, each row scaled to the number of examples with that label."""
    number = np.bincount(reading.labels[reading.usable], minlength=len(joint))
    scaled = joint / joint.sum(axis=1, keepdims=True) * number[:, None]
    total = scaled.ravel("F").sum()  # in this order: ties in rounding hang on it
    return whole(scaled / max(total, 1) * number.sum())


def whole(counts: NDArray[np.float64]) -> NDArray[np.int_]:
    """Rounds each number, and then those that lost most, so that rows keep sums."""
    near = np.rint(counts)
    missing = np.rint(counts.sum(axis=1)) - near.sum(axis=1)
    # Ties as NumPy's default sort leaves them: so does the reference implementation.
    order = np.argsort(counts - near, axis=1)
    order = np.where(missing[:, None] > 0, order[:, ::-1], order)
    place = np.argsort(order, axis=1)
    changed = place < np.abs(missing)[:, None]
    return (near + np.sign(missing)[:, None] * changed).astype(int)


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
