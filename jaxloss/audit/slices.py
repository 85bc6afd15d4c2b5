"""Parts of the data where a number is worst, by columns of metadata."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxloss.audit import _arrays


class Slice(NamedTuple):
    """A part of the data.

    Attributes:
        column: the column it is cut by.
        value: the value there, or the interval of values, as text.
        size: examples in it.
        mean: mean of the values over them.
        error: standard error of that mean.
        where: which examples they are, shape ``(N,)``, boolean.
    """

    column: str
    value: str
    size: int
    mean: float
    error: float
    where: NDArray[np.bool_]


def worst_slices(
    values: ArrayLike,
    columns: Mapping[str, ArrayLike],
    *,
    min_size: int = 10,
    k: int = 10,
    bins: int = 5,
) -> list[Slice]:
    r"""Finds the parts of the data with the largest mean, such as of losses.

    Slices are sorted by a bound that the mean is above, :math:`\bar v - z\,e` with the
    standard error :math:`e` and :math:`z = \sqrt{2 \ln m}`, about the largest of m
    normal deviations for m slices: so a small slice does not win by chance.

    Args:
        values: one number for each example, as a loss or a score, shape ``(N,)``; nan
            counts for nothing.
        columns: name of each column to its values, shape ``(N,)``. Text, booleans and
            integers of at most ``4 * bins`` values are taken as they are; other
            numbers are cut at their quantiles, and nan is a slice of its own.
        min_size: the fewest examples of a slice.
        k: how many slices at most.
        bins: parts of equal size a column of numbers is cut into.

    Returns:
        The slices, the worst first.

    Raises:
        ValueError: a shape is wrong, or `min_size`, `k` or `bins` is below 1.

    Guarantees:
        - The variance within a slice is at least that of all values divided by its
          count, so that equal values by chance do not make a mean certain.

    Examples:
        >>> losses = np.array([0.1, 0.2, 0.1, 2.0, 1.9, 2.1])
        >>> found = worst_slices(losses, {"site": list("aaabbb")}, min_size=2)
        >>> [(s.column, s.value, s.size, round(s.mean, 2)) for s in found]
        [('site', 'b', 3, 2.0), ('site', 'a', 3, 0.13)]
    """
    values = _arrays.vector("values", values)
    for name, number in (("min_size", min_size), ("k", k), ("bins", bins)):
        if number < 1:
            raise ValueError(f"`{name}` must be at least 1, got {number}.")
    present = ~np.isnan(values)
    overall = float(values[present].var()) if present.any() else 0.0
    parts = []
    for name, column in columns.items():
        column = np.asarray(column)
        if column.shape != values.shape:
            raise ValueError(
                f"`columns[{name!r}]` must have the shape of `values`, {values.shape}, "
                f"got {column.shape}."
            )
        words, code = _parts(column, bins)
        part = code[present]
        size = np.bincount(part, minlength=len(words))
        large = np.flatnonzero(size >= min_size)
        mean = _per_part(values[present], part, size)
        variance = _per_part((values[present] - mean[part]) ** 2, part, size)
        for i in large:
            error = math.sqrt((variance[i] + overall / size[i]) / size[i])
            parts.append((float(mean[i]), error, int(size[i]), name, words[i], code, i))
    z = math.sqrt(2 * math.log(max(len(parts), 1)))
    parts.sort(key=lambda part: z * part[1] - part[0])
    return [
        Slice(name, word, size, mean, error, code == i)
        for mean, error, size, name, word, code, i in parts[:k]
    ]


def _per_part(values: NDArray, part: NDArray, size: NDArray) -> NDArray[np.float64]:
    return np.bincount(part, values, minlength=size.size) / np.maximum(size, 1)


def _parts(column: NDArray, bins: int) -> tuple[list[str], NDArray[np.intp]]:
    """The names of the parts of a column, and which part each example is in."""
    numbers = np.issubdtype(column.dtype, np.number)
    if numbers and np.issubdtype(column.dtype, np.integer):
        numbers = np.unique(column).size > 4 * bins
    if not numbers:
        kinds, code = np.unique(column.astype(str), return_inverse=True)
        return kinds.tolist(), code
    column = column.astype(np.float64)
    missing = np.isnan(column)
    if missing.all():
        return ["nan"], np.zeros(column.size, np.intp)
    known = column[~missing]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)))
    last = max(edges.size - 2, 0)  # the last interval includes its end
    code = np.clip(np.searchsorted(edges, column, side="right") - 1, 0, last)
    words = [
        f"[{low:.6g}, {high:.6g}{']' if i == last else ')'}"
        for i, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True))
    ] or [f"{edges[0]:.6g}"]
    return [*words, "nan"], np.where(missing, len(words), code)
