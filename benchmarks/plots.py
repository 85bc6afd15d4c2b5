"""The pictures of the losses' times, from what was timed, as PNG and SVG."""

import pathlib
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from benchmarks.ratios import (
    KERAS,
    MODES,
    OURS,
    OURS_512,
    PEERS,
    READ,
    SHARES,
    all_over_ours,
    dtype,
    geometric_mean,
    is_small,
    share_of_read,
)

COLOURS = ("#4477aa", "#ee9955")
LINES = ("#222222", "#4477aa", "#ee6677", "#228833")


def save(results: dict[str, Any], folder: pathlib.Path) -> None:
    """Writes every picture for which something was timed."""
    everything: dict[str, tuple[Callable[[Any], Figure], bool]] = {
        "losses": (to_best, any(of_batches(results["cases"]))),
        "losses_by_peer": (to_each, any(of_batches(results["cases"]))),
        "losses_by_batch": (by_batch, bool(results.get("by_batch"))),
        "losses_roofline": (roofline, bool(_of_reads(results))),
    }
    for name, (draw, timed) in everything.items():
        if timed:
            figure = draw(results)
            # No date and no random names: the same figures are the same file.
            with matplotlib.rc_context({"svg.hashsalt": name}):
                figure.savefig(folder / f"{name}.png", dpi=120)
                figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def of_batches(cases: list[dict]) -> Iterator[dict]:
    """The cases that the means are of: float32, of medium and large shapes."""
    return (c for c in cases if dtype(c) == "float32" and not is_small(c))


def to_best(results: dict[str, Any]) -> Figure:
    """Bars of the ratio to the best peer for each loss, on a scale of factors."""
    names = _losses(of_batches(results["cases"]))
    figure = Figure(figsize=(8, 0.45 * len(names) + 1.2), layout="constrained")
    axes = figure.subplots()
    _bars(axes, results["cases"], names, PEERS)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("time of the best of five peers over ours, above 1 is faster")
    _legend(figure, axes)
    return figure


def to_each(results: dict[str, Any]) -> Figure:
    """The same for each peer by itself."""
    names = _losses(of_batches(results["cases"]))
    columns = (*PEERS, KERAS)
    figure = Figure(figsize=(15, 0.34 * len(names) + 1.4), layout="constrained")
    grid = figure.subplots(1, len(columns), sharex=True, sharey=True)
    for axes, peer in zip(grid, columns, strict=True):
        _bars(axes, results["cases"], names, [peer])
        axes.set_title(peer, fontsize=9)
        axes.tick_params(labelsize=7)
    grid[0].set_yticks(range(len(names)), names, fontsize=7)
    figure.supxlabel("its time over ours, above 1 we are faster", fontsize=9)
    _legend(figure, grid[0])
    return figure


def by_batch(results: dict[str, Any]) -> Figure:
    """Time of the values against the examples in the batch."""
    cases = results["by_batch"]
    names = list(dict.fromkeys(case["loss"] for case in cases))
    figure = Figure(figsize=(3.3 * len(names) + 0.6, 3.6), layout="constrained")
    grid = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(grid, names, strict=True):
        own = [case for case in cases if case["loss"] == name]
        for who, colour in zip(own[0]["ms"], LINES, strict=False):
            sizes = [case["shape"][0] for case in own]
            ms = [statistics.median(case["ms"][who]) for case in own]
            width = 1.8 if who == OURS else 1.2
            axes.plot(sizes, ms, color=colour, lw=width, marker="o", ms=3, label=who)
        axes.set(xscale="log", yscale="log", xlabel="examples")
        axes.set_xticks(sizes, [str(size) for size in sizes], fontsize=7, rotation=45)
        axes.minorticks_off()
        axes.set_title(name.replace("_with_", "\nwith_"), fontsize=8)
        axes.grid(alpha=0.3)
    grid[0].set_ylabel(f"ms, {cases[0]['shape'][1]} elements of each")
    grid[0].legend(fontsize=7, frameon=False)
    return figure


def roofline(results: dict[str, Any]) -> Figure:
    """The share of the time that a plain read of the same arrays takes."""
    cases = _of_reads(results)
    values = [case for case in cases if case["mode"] == MODES[0]]
    both = [case for case in cases if case["mode"] == MODES[1]]
    wide = [case for case in cases if OURS_512 in case["ms"]]
    second = ("value, vectors of 512 bits", wide, OURS_512)
    bars = [(MODES[0], values, OURS), (MODES[1], both, OURS) if both else second]
    rows = list(dict.fromkeys((c["loss"], tuple(c["shape"])) for c in cases))[::-1]
    figure = Figure(figsize=(8, 0.28 * len(rows) + 1.2), layout="constrained")
    axes = figure.subplots()
    for k, ((label, own, ours), colour) in enumerate(zip(bars, COLOURS, strict=True)):
        if not own:
            continue
        found = {(c["loss"], tuple(c["shape"])): share_of_read(c, ours) for c in own}
        places = [row + 0.2 - 0.4 * k for row in range(len(rows))]
        shares = [100 * (found.get(row) or 0) for row in rows]
        axes.barh(places, shares, 0.38, color=colour, label=label)
    labels = [f"{loss}  {shape[0]} x {shape[1]}" for loss, shape in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=7)
    axes.axvline(100, color="black", linewidth=1)
    # A loss that reads less than everything may go beyond.
    axes.set_xlim(0, 120)
    what = "read (and write)" if both else "read"
    axes.set_xlabel(f"% of the speed of a plain {what} of the same arrays")
    works = {case["loss"]: case.get("work") for case in cases}
    claimed = [
        (row, 100 * SHARES[works[loss]])
        for row, (loss, _) in enumerate(rows)
        if works[loss] in SHARES
    ]
    if claimed:
        places, floors = zip(*claimed, strict=True)
        axes.vlines(
            floors,
            [place + 0.02 for place in places],
            [place + 0.38 for place in places],
            color="black",
            label="claimed of the value",
        )
    _legend(figure, axes)
    return figure


def _of_reads(results: dict[str, Any]) -> list[dict]:
    """What is timed from memory, or else at the large shapes."""
    cases = [case for case in results["cases"] if READ in case["ms"]]
    return results.get("memory") or cases


def _bars(axes: Any, cases: list[dict], names: list[str], peers: Any) -> None:
    for k, (mode, colour) in enumerate(zip(MODES, COLOURS, strict=True)):
        places, ratios = [], []
        for row, name in enumerate(names):
            own = [
                case
                for case in of_batches(cases)
                if (case["loss"], case["mode"]) == (name, mode)
            ]
            found = all_over_ours(own, peers)
            if found:
                places.append(row + 0.2 - 0.4 * k)
                ratios.append(geometric_mean(found))
        # A bar begins at 1: to the right we are the faster ones.
        axes.barh(
            places, [r - 1 for r in ratios], 0.38, left=1, color=colour, label=mode
        )
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")


def _legend(figure: Figure, axes: Any) -> None:
    """Above, where no bar is."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper right", ncols=3, fontsize=8, frameon=False
    )


def _losses(cases: Iterator[dict]) -> list[str]:
    """From below: the first is at the top."""
    return list(dict.fromkeys(case["loss"] for case in cases))[::-1]
