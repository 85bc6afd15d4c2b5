"""How each example was learnt: dataset cartography."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxloss import ledger
from jaxloss.audit import _arrays
from jaxloss.ledger import Ledger


class Dynamics(NamedTuple):
    """What a training did with each example, all shape ``(N,)``.

    Attributes:
        confidence: mean over the epochs of the probability of the given label.
        variability: standard deviation of that probability over the epochs.
        correctness: share of the epochs where the given label was the most probable.
        forgetting: times it went from correct to incorrect, from one epoch to the next.
        first_learnt: first epoch where it was correct, -1 if it never was.
    """

    confidence: NDArray[np.float64]
    variability: NDArray[np.float64]
    correctness: NDArray[np.float64]
    forgetting: NDArray[np.int_]
    first_learnt: NDArray[np.int_]


def dynamics(history: ArrayLike | Ledger, labels: ArrayLike | None = None) -> Dynamics:
    r"""Places each example by how it was learnt.

    .. math:: \mu_i = \operatorname{mean}_t p_{it y_i}, \qquad
        \sigma_i = \sqrt{\operatorname{mean}_t (p_{it y_i} - \mu_i)^2}

    High confidence and low variability: easy. High variability: ambiguous, and often
    what a model learns most from. Low confidence and low variability: hard, and often
    wrongly labelled. An example forgotten often is hard or wrong, one never forgotten
    can often be left out.

    Args:
        history: probabilities, shape ``(N, T, C)`` for T epochs, floating; or a ledger,
            with label probabilities and with what was correct.
        labels: given labels, shape ``(N,)``, integer; not for a ledger, which knows
            what it was told.

    Returns:
        The five numbers of every example.

    Raises:
        ValueError: a shape is wrong, a label is not in ``[0, C)``, probabilities are
            negative or do not sum to 1 (the rows are named), the ledger has no label
            probabilities, or `labels` are missing, or given beside a ledger.
        TypeError: `history` is not floating, or `labels` not integer.

    Guarantees:
        - Correct means that no class of a lower index is as probable, and none of a
          higher index more probable, as for ``argmax``.
        - An epoch with nan is as if it had not been; an example without any other has
          nan, forgetting 0 and -1, and is named in a warning.

    Examples:
        >>> history = np.array([[[0.2, 0.8], [0.9, 0.1], [0.4, 0.6]]])
        >>> seen = dynamics(history, [0])
        >>> seen.confidence, seen.variability.round(4), seen.correctness.round(4)
        (array([0.5]), array([0.2944]), array([0.3333]))
        >>> seen.forgetting, seen.first_learnt
        (array([1]), array([1]))

    References:
        Swayamdipta et al., *Dataset Cartography*, 2020.
        Toneva et al., *An Empirical Study of Example Forgetting during Deep Neural
        Network Learning*, 2019.
    """
    if isinstance(history, Ledger):
        return _of_ledger(history, labels)
    if labels is None:
        raise ValueError("`labels` must be given with a history, shape (N,), got None.")
    history = np.asarray(history)
    if history.ndim != 3:
        raise ValueError(
            f"`history` must have shape (N, T, C), got {history.shape}. One set of "
            "probabilities has no dynamics; keep those of every epoch."
        )
    reading = _arrays.read("history", history, labels)
    size = len(reading.labels)
    result = Dynamics(
        *(np.full(size, np.nan) for _ in range(3)),
        forgetting=np.zeros(size, int),
        first_learnt=np.full(size, -1),
    )
    for index, chunk in reading.chunks():
        given = reading.labels[index]
        seen = np.logical_not(np.isnan(chunk).any(axis=-1))
        own = np.where(seen, _arrays.at_labels(chunk, given), 0)
        number = seen.sum(axis=1)
        mean = own.sum(axis=1) / number
        squares = np.where(seen, (own - mean[:, None]) ** 2, 0).sum(axis=1)
        correct = (chunk.argmax(axis=-1) == given[:, None]) & seen
        ever = correct.any(axis=1)
        result.confidence[index] = mean
        result.variability[index] = np.sqrt(squares / number)
        result.correctness[index] = correct.sum(axis=1) / number
        result.first_learnt[index] = np.where(ever, correct.argmax(axis=1), -1)
        result.forgetting[index] = _forgotten(correct, seen)
    return result


def _of_ledger(records: Ledger, labels: ArrayLike | None) -> Dynamics:
    if labels is not None:
        raise ValueError(
            "`labels` must be left out with a ledger, which knows its own."
        )
    confidence = np.asarray(ledger.label_probability_mean(records), np.float64)
    if np.isnan(confidence).all():
        raise ValueError(
            "`history` must have label probabilities, got a ledger with none. Give "
            "`label_probabilities=` and `correct=` to `ledger.update`."
        )
    variance = np.asarray(ledger.label_probability_variance(records), np.float64)
    return Dynamics(
        confidence=confidence,
        variability=np.sqrt(variance),
        correctness=np.asarray(ledger.correctness(records), np.float64),
        forgetting=np.asarray(records.forgotten, int),
        first_learnt=np.asarray(records.first_learnt, int),
    )


def _forgotten(correct: NDArray[np.bool_], seen: NDArray[np.bool_]) -> NDArray[np.int_]:
    before = np.zeros(len(correct), np.bool_)
    times = np.zeros(len(correct), int)
    for now, there in zip(correct.T, seen.T, strict=True):
        times += before & ~now & there
        before = np.where(there, now, before)
    return times
