"""What the audit asks of its arrays, and how it walks through them.

Probabilities may be larger than half of the memory, or mapped from a file. So they are
read where they lie, a few thousand rows at a time, and only these rows are widened.
"""

import warnings
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

_CHUNK = 1 << 18  # elements: 2 MiB of float64, which stays in the cache
_NAMED = 10  # rows that a message names


def read(
    probabilities: ArrayLike, labels: ArrayLike
) -> tuple[NDArray, NDArray[np.intp], NDArray[np.bool_]]:
    """Returns the probabilities as they are, the labels, and which rows have no nan.

    Raises an error that names the rows, and warns of rows with nan.
    """
    probabilities = distribution("probabilities", probabilities)
    labels = classes("labels", labels, probabilities)
    usable = np.ones(len(labels), np.bool_)
    off = []
    for rows in spans(probabilities):
        chunk = probabilities[rows].astype(np.float64)
        totals = chunk.sum(axis=-1)
        wrong = np.abs(totals - 1) > _tolerance(probabilities.dtype)
        wrong |= chunk.min(axis=-1) < 0
        if chunk.ndim == 3:  # an epoch with nan is left out, not the example
            usable[rows] = ~np.isnan(totals).all(axis=1)
            wrong = wrong.any(axis=1)
        else:
            usable[rows] = ~np.isnan(totals)
        off.append(np.flatnonzero(wrong) + rows.start)
    off = np.concatenate([np.zeros(0, np.intp), *off])
    if off.size:
        first = probabilities[off[0]].reshape(-1, probabilities.shape[-1])
        totals = first.astype(np.float64).sum(axis=-1)
        total = totals[np.nanargmax(np.abs(totals - 1))]
        raise ValueError(
            "`probabilities` must not be negative and sum to 1 over the classes, got "
            f"{named(off)}; row {off[0]} sums to {total:.6g}. For logits use "
            "`audit.probabilities(logits)`."
        )
    warn_left_out("probabilities", ~usable, stacklevel=4)
    return probabilities, labels, usable


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
            f"`{name}` must be in [0, {size}), got {named(off)}; the label of row "
            f"{off[0]} is {array[off[0]]}. Leave out examples without a label."
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


def spans(array: NDArray) -> Iterator[slice]:
    """Slices of rows, few enough to be widened."""
    step = max(1, _CHUNK // max(1, array[:1].size))
    for start in range(0, len(array), step):
        yield slice(start, min(start + step, len(array)))


def means(
    probabilities: NDArray, usable: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Usable rows, with their probabilities averaged over the epochs that have some."""
    for rows in spans(probabilities):
        index = np.flatnonzero(usable[rows])
        yield index + rows.start, over_time(probabilities[rows][index])


def over_time(chunk: NDArray) -> NDArray[np.float64]:
    chunk = chunk.astype(np.float64)
    if chunk.ndim == 2:
        return chunk
    present = ~np.isnan(chunk).any(axis=-1, keepdims=True)
    total = np.where(present, chunk, 0).sum(axis=1)
    return total / present.sum(axis=1)


def named(rows: NDArray[np.intp]) -> str:
    """Rows in words, not more than a line of them."""
    shown = ", ".join(map(str, rows[:_NAMED].tolist()))
    more = f" and {rows.size - _NAMED} more" if rows.size > _NAMED else ""
    return f"{rows.size} wrong row{'s' * (rows.size > 1)}: {shown}{more}"


def warn_left_out(name: str, where: NDArray[np.bool_], *, stacklevel: int) -> None:
    rows = np.flatnonzero(where)
    if rows.size:
        shown = named(rows).replace("wrong ", "")
        warnings.warn(
            f"`{name}` has nan and these examples are left out, {shown}.",
            UserWarning,
            stacklevel=stacklevel,
        )


def _tolerance(dtype: np.dtype) -> float:
    """How far a softmax in this dtype, over many classes, may be from a sum of 1."""
    return 1e-3 if dtype.itemsize >= 4 else 3e-2
