"""What the charts show, counted over all samples: for the page and for the pictures."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxloss.report.findings import Findings

_BINS = 40  # of losses
_CELLS = 60  # of the map, each way
_FLOOR = 1e-6  # a smaller loss is shown as this one


class Map(NamedTuple):
    """Two numbers of every sample, and what they are called."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    x_title: str
    y_title: str
    meaning: str


class Panel(NamedTuple):
    """Histogram of the losses of one class."""

    name: str
    others: NDArray[np.int_]
    suspects: NDArray[np.int_]


class Losses(NamedTuple):
    """Histograms over common edges, of which the logarithms to base 10 are kept."""

    edges: NDArray[np.float64]
    panels: list[Panel]

    @property
    def ticks(self) -> dict[int, str]:
        """Whole powers of ten within the edges, about four, with their names."""
        low, high = int(np.ceil(self.edges[0])), int(np.floor(self.edges[-1]))
        powers = range(low, high + 1)
        powers = powers[:: max(1, -(-len(powers) // 4))]
        return {power: f"{10.0**power:g}" for power in powers}


class Confusion(NamedTuple):
    """Given (rows) against suggested (columns) labels, of some of the classes."""

    classes: NDArray[np.intp]
    counts: NDArray[np.int_]


def dataset_map(findings: Findings) -> Map | None:
    """The cartography of a history, or the two sides of the margin of one snapshot."""
    found = findings
    if found.dynamics:
        return Map(
            found.dynamics["variability"],
            found.dynamics["confidence"],
            "variability over the training",
            "confidence in the given label",
            "Top left: learnt early and for good. Right: the model wavered. Bottom "
            "left: never learnt, where wrong labels gather.",
        )
    if found.given_probability is None or found.other_probability is None:
        return None
    return Map(
        found.other_probability,
        found.given_probability,
        "probability of the best other label",
        "probability of the given label",
        "Top left: the model agrees with the label. Bottom right: it is sure of "
        "another one.",
    )


def some(suspects: NDArray[np.bool_], most: int) -> NDArray[np.intp]:
    """Places of at most `most` samples, evenly spread; suspects have two thirds."""
    flagged, others = np.flatnonzero(suspects), np.flatnonzero(~suspects)
    first = min(len(flagged), max(2 * most // 3, most - len(others)))
    rest = min(len(others), most - first)
    return np.sort(np.concatenate([_spread(flagged, first), _spread(others, rest)]))


def _spread(places: NDArray[np.intp], number: int) -> NDArray[np.intp]:
    return places[np.linspace(0, len(places) - 1, number).astype(np.intp)]


def density(x: NDArray, y: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Middles of the cells, and how many samples fall in each, ``[y, x]``."""
    finite = np.isfinite(x) & np.isfinite(y)
    counts, y_edges, x_edges = np.histogram2d(y[finite], x[finite], bins=_CELLS)
    return _middles(x_edges), _middles(y_edges), counts.astype(np.int_)


def loss_histograms(findings: Findings, most: int) -> Losses | None:
    """All classes together, then at most `most` of them, those with most suspects."""
    found = findings
    if found.losses is None:
        return None
    kept = np.isfinite(found.losses)
    if not kept.any():
        return None
    size = len(found.class_names)
    powers = np.log10(np.maximum(found.losses[kept], _FLOOR))
    labels, suspects = found.labels[kept], found.suspects[kept]
    low, high = float(powers.min()), float(powers.max())
    edges = np.linspace(low, max(high, low + 1e-3), _BINS + 1)
    place = np.clip(np.searchsorted(edges, powers, side="right") - 1, 0, _BINS - 1)
    counts = np.zeros((2, size, _BINS), np.int_)
    for which in (0, 1):
        here = suspects == bool(which)
        cells = labels[here] * _BINS + place[here]
        counts[which] = np.bincount(cells, minlength=size * _BINS).reshape(size, _BINS)
    number = counts.sum(axis=(0, 2))
    worst = np.lexsort((-number, -counts[1].sum(axis=1)))
    shown = np.sort([index for index in worst[:most] if number[index]])
    panels = [Panel("all classes", *counts.sum(axis=1))]
    if size > 1:
        panels += [Panel(found.class_names[i], *counts[:, i]) for i in shown]
    return Losses(edges, panels)


def confusion(findings: Findings, most: int) -> Confusion | None:
    """At most `most` classes, those whose samples most often get another label."""
    found = findings
    if found.suggested is None:
        return None
    scored = found.order[found.suggested[found.order] >= 0]
    given, suggested = found.labels[scored], found.suggested[scored]
    changed = given != suggested
    if not changed.any():
        return None
    size = len(found.class_names)
    ends = np.concatenate([given[changed], suggested[changed]])
    worst = np.argsort(-np.bincount(ends, minlength=size), kind="stable")
    classes = np.sort(worst[:most])
    place = np.full(size, -1)
    place[classes] = np.arange(len(classes))
    both = (place[given] >= 0) & (place[suggested] >= 0)
    cells = place[given[both]] * len(classes) + place[suggested[both]]
    counts = np.bincount(cells, minlength=len(classes) ** 2)
    return Confusion(classes, counts.reshape(len(classes), len(classes)))


def _middles(edges: NDArray) -> NDArray:
    return (edges[1:] + edges[:-1]) / 2
