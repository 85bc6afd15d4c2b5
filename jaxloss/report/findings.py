"""What is known of every sample: the arrays that page, pictures and tables show."""

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxloss import audit

_CHUNK = 1 << 18  # elements that are widened at a time


class Findings(NamedTuple):
    """Columns of N samples; those that nobody gave, and nothing gives, are None.

    Attributes:
        labels: given labels, ``(N,)``.
        class_names: C names.
        order: samples, the most suspicious first; those left out are not among them.
        left_out: samples without a score.
        scores: ``(N,)``, nan where left out.
        suspects: ``(N,)``, boolean.
        suggested: label that the model would give, ``(N,)``, -1 where there is none.
        losses: ``(N,)``.
        given_probability: mean over the epochs, ``(N,)``; so are the next two.
        suggested_probability: of the suggested label.
        other_probability: of the most probable label beside the given one.
        dynamics: columns of `audit.dynamics`, by name; empty for one snapshot.
        ids: names of the samples, ``(N,)``.
        metadata: further columns, by name.
    """

    labels: NDArray[np.intp]
    class_names: list[str]
    order: NDArray[np.intp]
    left_out: NDArray[np.intp]
    scores: NDArray[np.float64]
    suspects: NDArray[np.bool_]
    suggested: NDArray[np.intp] | None
    losses: NDArray[np.float64] | None
    given_probability: NDArray[np.float64] | None
    suggested_probability: NDArray[np.float64] | None
    other_probability: NDArray[np.float64] | None
    dynamics: dict[str, NDArray]
    ids: NDArray | None
    metadata: dict[str, NDArray]

    @property
    def flagged(self) -> NDArray[np.bool_]:
        """Suspects that another label is suggested for."""
        if self.suggested is None:
            return np.zeros(len(self.labels), np.bool_)
        other = (self.suggested != self.labels) & (self.suggested >= 0)
        return self.suspects & other


def find(
    *,
    labels: ArrayLike,
    probabilities: ArrayLike | None = None,
    scores: ArrayLike | None = None,
    suspects: ArrayLike | None = None,
    suggested: ArrayLike | None = None,
    losses: ArrayLike | None = None,
    dynamics: audit.Dynamics | None = None,
    ids: ArrayLike | None = None,
    class_names: ArrayLike | None = None,
    metadata: Mapping[str, ArrayLike] | None = None,
) -> Findings:
    """Checks what was given and lets the audit find the rest."""
    labels = np.asarray(labels)
    if labels.ndim != 1:
        raise ValueError(f"`labels` must have shape (N,), got {labels.shape}.")
    if labels.size and not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(
            f"`labels` must be integers, got {labels.dtype}. For names use "
            "`np.unique(names, return_inverse=True)`."
        )
    labels = labels.astype(np.intp)
    if probabilities is None and scores is None:
        raise ValueError("`probabilities` or `scores` must be given, got neither.")

    given = other = chosen = None
    if probabilities is not None:
        probabilities = np.asarray(probabilities)
        with warnings.catch_warnings():  # what is left out is said in the report
            warnings.simplefilter("ignore", UserWarning)
            contradiction = audit.scores(probabilities, labels)
            scores = contradiction if scores is None else scores
            if suspects is None:
                suspects = audit.find_issues(probabilities, labels)
            if suggested is None:
                suggested = audit.suggested_labels(probabilities, labels)
            if dynamics is None and probabilities.ndim == 3:
                dynamics = audit.dynamics(probabilities, labels)
        given, other, surprise = _judged(probabilities, labels)
        losses = surprise if losses is None else losses

    scores = _column("scores", scores, labels, np.float64)
    if suspects is None:
        suspects = audit.cut(scores)
    suspects = np.asarray(_column("suspects", suspects, labels, np.bool_))
    if suggested is not None:
        suggested = _column("suggested", suggested, labels, np.intp)
    if losses is not None:
        losses = _column("losses", losses, labels, np.float64)
    names = _names(class_names, labels, suggested, probabilities)
    _in_range("labels", labels, 0, len(names))
    if suggested is not None:
        _in_range("suggested", suggested, -1, len(names))
    if probabilities is not None and suggested is not None:
        chosen = _probability_of(probabilities, suggested)

    ranking = audit.ranking(scores)
    scored = ~np.isnan(scores)
    return Findings(
        labels=labels,
        class_names=names,
        order=ranking[: int(scored.sum())],
        left_out=np.flatnonzero(~scored),
        scores=scores,
        suspects=suspects & scored,
        suggested=suggested,
        losses=losses,
        given_probability=given,
        suggested_probability=chosen,
        other_probability=other,
        dynamics={
            name: _column(f"dynamics.{name}", column, labels)
            for name, column in (dynamics._asdict() if dynamics else {}).items()
        },
        ids=None if ids is None else _column("ids", ids, labels),
        metadata={
            str(name): _column(f"metadata[{name!r}]", column, labels)
            for name, column in (metadata or {}).items()
        },
    )


def _column(
    name: str, values: ArrayLike | None, labels: NDArray, dtype: type | None = None
) -> NDArray:
    array = np.asarray(values)
    if array.shape != labels.shape:
        raise ValueError(
            f"`{name}` must have one value for each of the {len(labels)} labels, shape "
            f"({len(labels)},), got {array.shape}."
        )
    if dtype is not None and not np.can_cast(array.dtype, dtype, "same_kind"):
        raise TypeError(f"`{name}` must be {dtype.__name__}, got {array.dtype}.")
    return array if dtype is None else array.astype(dtype)


def _names(
    class_names: ArrayLike | None,
    labels: NDArray,
    suggested: NDArray | None,
    probabilities: NDArray | None,
) -> list[str]:
    if probabilities is not None:
        size = probabilities.shape[-1]
    elif class_names is not None:
        size = np.size(class_names)
    else:
        top = -1 if suggested is None else int(suggested.max(initial=-1))
        size = max(int(labels.max(initial=-1)), top) + 1
    names = np.arange(size) if class_names is None else np.asarray(class_names)
    if names.shape != (size,):
        raise ValueError(
            f"`class_names` must have one name for each of the {size} classes, got "
            f"shape {names.shape}."
        )
    return [str(name) for name in names.tolist()]


def _in_range(name: str, values: NDArray[np.intp], low: int, size: int) -> None:
    wrong = values[(values < low) | (values >= size)]
    if wrong.size:
        raise ValueError(
            f"`{name}` must be in [{low}, {size}), got {wrong[0]}. Leave out samples "
            "without a label."
        )


def _judged(
    probabilities: NDArray, labels: NDArray[np.intp]
) -> tuple[NDArray, NDArray, NDArray]:
    """Probability of the label and of its best rival, and the mean surprise."""
    given, other, surprise = (np.full(len(labels), np.nan) for _ in range(3))
    for rows in _chunks(probabilities):
        chunk = _epochs(probabilities[rows])
        hit = np.broadcast_to(labels[rows, None, None], (*chunk.shape[:2], 1))
        with np.errstate(divide="ignore"):
            surprises = -np.log(np.take_along_axis(chunk, hit, -1)[..., 0])
        surprise[rows] = _over_time(surprises[..., None])[:, 0]
        mean = _over_time(chunk)
        index = np.arange(len(mean)), labels[rows]
        given[rows] = mean[index]
        mean[index] = -1
        other[rows] = np.where(np.isnan(given[rows]), np.nan, mean.max(axis=-1))
    return given, other, surprise


def _probability_of(probabilities: NDArray, classes: NDArray[np.intp]) -> NDArray:
    chosen = np.full(len(classes), np.nan)
    for rows in _chunks(probabilities):
        mean = _over_time(_epochs(probabilities[rows]))
        chosen[rows] = mean[np.arange(len(mean)), classes[rows]]
    return np.where(classes >= 0, chosen, np.nan)


def _chunks(array: NDArray):
    step = max(1, _CHUNK // max(1, array[:1].size))
    return (slice(start, start + step) for start in range(0, len(array), step))


def _epochs(chunk: NDArray) -> NDArray[np.float64]:
    return np.array(chunk, np.float64).reshape(len(chunk), -1, chunk.shape[-1])


def _over_time(chunk: NDArray) -> NDArray:
    """Mean over the epochs that have no nan; nan where all have."""
    present = ~np.isnan(chunk).any(axis=-1, keepdims=True)
    count = present.sum(axis=1)
    total = np.where(present, chunk, 0).sum(axis=1)
    return np.divide(
        total,
        count,
        out=np.full_like(total, np.nan),
        where=np.broadcast_to(count > 0, total.shape),
    )
