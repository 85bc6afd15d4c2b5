"""The charts of the page as PNG files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxloss.report import charts, thumbnails
from jaxloss.report.findings import Findings

_CALM, _ALARM, _SOFT = "#5b8fc7", "#d2562b", "#56626d"
_ACROSS, _DOWN = 8, 4  # of the sheet of suspects
_POINTS = 6_000  # of the map
_DPI = 130


def suspects(path: Path, findings: Findings, images: Any) -> None:
    """A sheet of the most suspicious samples."""
    found = findings
    chosen = found.order[: _ACROSS * _DOWN]
    figure = Figure(figsize=(12, 7.4), layout="constrained")
    axes = np.ravel(figure.subplots(_DOWN, _ACROSS))
    for axis in axes:
        axis.set_axis_off()
    for axis, i, image in zip(
        axes, chosen, thumbnails.pictures(images, chosen), strict=False
    ):
        axis.imshow(image, cmap="gray")
        title = f"given {_short(found.class_names[found.labels[i]], 14)}"
        if found.suggested is not None and found.suggested[i] >= 0:
            title += f"\nsuggested {_short(found.class_names[found.suggested[i]], 14)}"
        color = _ALARM if found.suspects[i] else "black"
        axis.set_title(title, fontsize=8, color=color, parse_math=False)
    figure.suptitle(
        f"The {len(chosen)} most suspicious of {len(found.order):,} samples "
        "(red: suspect)"
    )
    figure.savefig(path, dpi=_DPI)


def dataset_map(path: Path, findings: Findings, drawn: charts.Map) -> None:
    figure = Figure(figsize=(8, 6), layout="constrained")
    axis = figure.subplots()
    order = findings.order
    points = order[charts.some(findings.suspects[order], _POINTS)]
    if len(order) > _POINTS:
        x, y, counts = charts.density(drawn.x[order], drawn.y[order])
        shade = np.where(counts > 0, np.log10(np.maximum(counts, 1)), np.nan)
        axis.pcolormesh(x, y, shade, cmap="Blues", shading="nearest")
    for which, name, color, marker in (
        (False, "not suspected", _CALM, "o"),
        (True, "suspect", _ALARM, "D"),
    ):
        here = points[findings.suspects[points] == which]
        axis.scatter(
            drawn.x[here],
            drawn.y[here],
            s=9,
            c=color,
            marker=marker,
            alpha=0.6,
            label=name,
            linewidths=0,
        )
    axis.set(xlabel=drawn.x_title, ylabel=drawn.y_title, title="Map of the dataset")
    axis.legend()
    figure.savefig(path, dpi=_DPI)


def losses(path: Path, drawn: charts.Losses) -> None:
    across = min(4, len(drawn.panels))
    down = -(-len(drawn.panels) // across)
    figure = Figure(figsize=(3 * across + 0.5, 2.1 * down + 0.8), layout="constrained")
    axes = np.ravel(figure.subplots(down, across, squeeze=False))
    for axis in axes[len(drawn.panels) :]:
        axis.set_axis_off()
    for axis, panel in zip(axes, drawn.panels, strict=False):
        for counts, under, name, color in (
            (panel.others, 0, "not suspected", _CALM),
            (panel.suspects, panel.others, "suspect", _ALARM),
        ):
            axis.stairs(
                counts + under,
                drawn.edges,
                baseline=under,
                fill=True,
                color=color,
                label=name,
            )
        axis.set_xticks(list(drawn.ticks), list(drawn.ticks.values()))
        axis.set_title(_short(panel.name), fontsize=10, parse_math=False)
    axes[0].legend(fontsize=8)
    figure.suptitle("Samples by loss (nats), class by class")
    figure.savefig(path, dpi=_DPI)


def confusion(path: Path, findings: Findings, drawn: charts.Confusion) -> None:
    size = len(drawn.classes)
    figure = Figure(figsize=(3 + 0.35 * size, 2.5 + 0.35 * size), layout="constrained")
    axis = figure.subplots()
    changed = np.where(np.eye(size, dtype=bool), 0, drawn.counts)
    most = max(int(changed.max()), 1)
    axis.imshow(np.where(changed > 0, changed, np.nan), cmap="Oranges", vmin=0)
    if size <= 16:
        for (i, j), count in np.ndenumerate(drawn.counts):
            color = (
                "white" if changed[i, j] > 0.6 * most else _SOFT if i == j else "black"
            )
            if count:
                axis.text(
                    j,
                    i,
                    f"{count:,}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color=color,
                )
    names = [_short(findings.class_names[index]) for index in drawn.classes]
    for ticks, angle in ((axis.set_xticks, 45), (axis.set_yticks, 0)):
        ticks(
            range(size),
            names,
            rotation=angle,
            ha="right",
            rotation_mode="anchor",
            fontsize=9,
            parse_math=False,
        )
    axis.set(xlabel="suggested", ylabel="given", title="Given against suggested labels")
    figure.savefig(path, dpi=_DPI)


def bars(
    path: Path, title: str, names: Sequence[Sequence[str]], shares: Sequence[float]
) -> None:
    """Shares of suspects, the first on top."""
    written = [" \N{RIGHTWARDS ARROW} ".join(map(_short, name)) for name in names]
    figure = Figure(figsize=(8, 1.5 + 0.3 * len(names)), layout="constrained")
    axis = figure.subplots()
    drawn = axis.barh(range(len(names)), shares, color=_ALARM)
    axis.bar_label(drawn, [f"{share:.1%}" for share in shares], padding=3, fontsize=9)
    axis.set_yticks(range(len(names)), written, fontsize=9, parse_math=False)
    axis.invert_yaxis()
    axis.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axis.set(title=title)
    axis.margins(x=0.12)
    figure.savefig(path, dpi=_DPI)


def _short(text: str, most: int = 18) -> str:
    text = text.replace("\n", " ")
    return text if len(text) <= most else text[: most - 1] + "…"
