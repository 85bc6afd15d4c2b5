"""What the audit asks of its arrays, and how it walks through them.

Probabilities may be larger than half of the memory, or mapped from a file. So they are
read where they lie, a few thousand rows at a time, and only these rows are widened.
"""

import math
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

_CHUNK = 1 << 18  # elements: 2 MiB of float64, which stays in the cache
_NAMED = 10  # rows that a message names


class Reading(NamedTuple):
    """What was read: one set of probabilities is a history of one epoch.

    Attributes:
        history: probabilities as they lie, shape ``(N, T, C)``.
        labels: given labels, shape ``(N,)``.
        usable: whether an example has an epoch without nan, shape ``(N,)``.
        weights: of the epochs, shape ``(T,)``: the mean of ``1 - p`` at the label, so
            that an epoch counts by what the model did not yet know by heart.
    """

    history: NDArray
    labels: NDArray[np.intp]
    usable: NDArray[np.bool_]
    weights: NDArray[np.float64]

    def chunks(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
        """Usable rows, a few thousand at a time, and their history, widened."""
        for rows in spans(self.history):
            index = np.flatnonzero(self.usable[rows])
            yield index + rows.start, self.history[rows][index].astype(np.float64)

    def means(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
        """Usable rows, and the weighted mean of their probabilities, ``(n, C)``."""
        for rows, chunk in self.chunks():
            yield rows, over_time(chunk, self.weights)


def read(name: str, probabilities: ArrayLike, labels: ArrayLike) -> Reading:
    """Checks every row; raises an error, or warns of nan, which names the rows."""
    array = distribution(name, probabilities)
    labels = classes("labels", labels, array)
    history = array if array.ndim == 3 else array[:, None]
    usable = np.ones(len(labels), np.bool_)
    unknown, number = np.zeros((2, history.shape[1]))
    off, total = [np.zeros(0, np.intp)], 1.0
    for rows in spans(history):
        chunk = history[rows].astype(np.float64)
        totals = chunk.sum(axis=-1)
        present = ~np.isnan(totals)
        usable[rows] = present.any(axis=1)
        wrong = np.abs(totals - 1) > _tolerance(array.dtype)
        wrong |= chunk.min(axis=-1) < 0
        if wrong.any() and not any(map(len, off)):
            total = totals[wrong][0]
        off.append(np.flatnonzero(wrong.any(axis=1)) + rows.start)
        own = at_labels(chunk, labels[rows])
        unknown += np.where(present, 1 - own, 0).sum(axis=0)
        number += present.sum(axis=0)
    off = np.concatenate(off)
    if off.size:
        raise ValueError(
            f"`{name}` must not be negative and sum to 1 over the classes, got "
            f"{named(off, 'wrong row')}; row {off[0]} sums to {total:.6g}. For logits "
            "use `audit.probabilities(logits)`."
        )
    warn_left_out(name, ~usable, stacklevel=4)
    weights = np.ones(1)
    if history.shape[1] > 1:
        # Above 0, so that an example with few epochs keeps its mean.
        weights = np.maximum(unknown / np.maximum(number, 1), np.finfo(np.float32).eps)
    return Reading(history, labels, usable, weights)


def distribution(name: str, values: ArrayLike) -> NDArray:
    """The array as it is, if it is floating and of shape (N, C) or (N, T, C)."""
    array = np.asarray(values)
    if array.ndim not in (2, 3) or 0 in array.shape[1:] or array.shape[-1] < 2:
        raise ValueError(
            f"`{name}` must have shape (N, C) or (N, T, C) with at least two classes, "
            f"got {array.shape}. Put the examples first and the classes last."
        )
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"`{name}` must be floating, got {array.dtype}.")
    return array


def classes(name: str, values: ArrayLike, probabilities: NDArray) -> NDArray[np.intp]:
    """The labels as indices, one for each row, all in [0, C)."""
    array = integers(name, values)
    if array.shape != (len(probabilities),):
        raise ValueError(
            f"`{name}` must have one label for each of the {len(probabilities)} rows, "
            f"shape ({len(probabilities)},), got {array.shape}. For one-hot labels "
            "take `argmax(axis=-1)`."
        )
    size = probabilities.shape[-1]
    off = np.flatnonzero((array < 0) | (array >= size))
    if off.size:
        raise ValueError(
            f"`{name}` must be in [0, {size}), got {named(off, 'wrong row')}; row "
            f"{off[0]} has {array[off[0]]}. Leave out examples without a label."
        )
    return array


def integers(name: str, values: ArrayLike) -> NDArray[np.intp]:
    array = np.asarray(values)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise TypeError(
            f"`{name}` must be integers, got {array.dtype}. For names use "
            "`np.unique(names, return_inverse=True)`."
        )
    return array.astype(np.intp)


def vector(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.ndim != 1:
        raise ValueError(f"`{name}` must have shape (N,), got {array.shape}.")
    return array


def mask(name: str, values: ArrayLike, size: int) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.shape != (size,):
        raise ValueError(f"`{name}` must have shape ({size},), got {array.shape}.")
    if array.dtype != np.bool_:
        raise TypeError(f"`{name}` must be boolean, got {array.dtype}.")
    return array


def spans(array: NDArray, number: int | None = None) -> Iterator[slice]:
    """Slices of its rows, or of a number of such rows, few enough to be widened."""
    number = len(array) if number is None else number
    step = max(1, _CHUNK // max(1, array[:1].size))
    for start in range(0, number, step):
        yield slice(start, min(start + step, number))


def over_time(
    chunk: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weighted mean over the epochs without nan, ``(n, T, ...)`` to ``(n, ...)``."""
    flat = chunk.reshape(*chunk.shape[:2], math.prod(chunk.shape[2:]))
    present = np.logical_not(np.isnan(flat).any(axis=-1))
    total = np.einsum("ntk,t->nk", np.where(present[..., None], flat, 0), weights)
    mean = total / (present @ weights)[:, None]
    return mean.reshape(len(chunk), *chunk.shape[2:])


def at_labels(
    chunk: NDArray[np.float64], labels: NDArray[np.intp]
) -> NDArray[np.float64]:
    """What each row has at its label in every epoch, ``(n, T, C)`` to ``(n, T)``."""
    return np.take_along_axis(chunk, labels[:, None, None], axis=-1)[..., 0]


def named(rows: NDArray[np.intp], word: str) -> str:
    """How many rows there are, and which, not more than a line of them."""
    shown = ", ".join(map(str, rows[:_NAMED].tolist()))
    more = f" and {rows.size - _NAMED} more" if rows.size > _NAMED else ""
    return f"{rows.size} {word}{'s' * (rows.size > 1)}: {shown}{more}"


def warn_left_out(name: str, where: NDArray[np.bool_], *, stacklevel: int) -> None:
    rows = np.flatnonzero(where)
    if rows.size:
        warnings.warn(
            f"`{name}` has nan, and examples are left out, {named(rows, 'row')}.",
            UserWarning,
            stacklevel=stacklevel,
        )


def _tolerance(dtype: np.dtype) -> float:
    """How far a softmax in this dtype, over many classes, may be from a sum of 1."""
    return 1e-3 if dtype.itemsize >= 4 else 3e-2
