"""The page: one file of HTML that holds its data, its program and its pictures."""

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

from jaxloss.report import charts, thumbnails
from jaxloss.report.findings import Findings

_PANELS = 11  # classes with a histogram of their own
_CLASSES = 30  # in the confusion
_POINTS = 3000  # of the map; more would make hovering slow
_METADATA = 8  # columns in the list of samples
_LETTERS = 300  # of a text
_NAMED = 50  # samples left out that are named


class Beside(NamedTuple):
    """What the page is told of the tables beside it."""

    pairs: Sequence[dict[str, Any]]
    slices: Sequence[dict[str, Any]]
    files: Sequence[tuple[str, str]]


def render(
    findings: Findings,
    beside: Beside,
    *,
    title: str,
    rows: int,
    pictures: int,
    images: Any | None,
    text: NDArray | None,
) -> str:
    """The page as text; `rows` samples are listed, `pictures` of them with an image."""
    found = findings
    shown = found.order[:rows]
    data: dict[str, Any] = {
        "shown": len(shown),
        "columns": _columns(found, shown),
        "suspect": found.suspects[shown].astype(int).tolist(),
        "classes": found.class_names,
    }
    if text is not None:
        data["text"] = [_shortened(str(entry)) for entry in text[shown].tolist()]
    if images is not None:
        chosen = shown[:pictures]
        data["thumbnails"], data["pixelated"] = thumbnails.uris(images, chosen)
    leads = {
        "map": _map(found, shown, data),
        "losses": _losses(found, data),
        "confusion": _confusion(found, data),
    }
    here = files("jaxloss.report")
    script = (here / "page.js").read_text("utf-8")
    plotly = get_plotlyjs().replace("\r\n", "\n")
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined
    ).from_string((here / "page.html").read_text("utf-8"))
    return template.render(
        title=title,
        style=Markup((here / "page.css").read_text("utf-8")),
        script=Markup(script),
        plotly=Markup(plotly),
        allowed=Markup(f"{_hash(plotly)} {_hash(script)}"),
        data=Markup(embedded(data)),
        cards=_cards(found),
        notices=_notices(found, len(shown), images is not None and pictures, data),
        charts=leads,
        pairs=_with_bars(beside.pairs),
        slices=_with_bars(beside.slices),
        files=beside.files,
        has_suggested=found.suggested is not None,
        has_metadata=bool(found.metadata),
        has_thumbnails=images is not None,
        num_samples=f"{len(found.labels):,}",
        num_classes=len(found.class_names),
    )


def embedded(data: Any) -> str:
    """JSON that cannot end the script it stands in."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for letter in "<>&":  # in JSON they stand within strings only
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _hash(script: str) -> str:
    """By which the page's policy knows its own scripts; the browser runs no other."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _columns(found: Findings, shown: NDArray[np.intp]) -> list[dict[str, Any]]:
    """The columns of the list, each with what it means."""
    columns = [
        {
            "key": "rank",
            "label": "Rank",
            "kind": "index",
            "values": list(range(1, len(shown) + 1)),
            "help": "1 is the most suspicious",
        }
    ]

    def add(key: str, label: str, meaning: str, values: NDArray | None, **more: Any):
        if values is not None:
            column = {"key": key, "label": label, "help": meaning, **more}
            columns.append({**column, **_encoded(values[shown], more.get("names"))})

    samples = np.arange(len(found.labels)) if found.ids is None else found.ids
    add("sample", "Sample", "its id, or its place in the arrays", samples)
    columns[-1]["kind"] = "index" if columns[-1]["kind"] == "number" else "string"
    names = found.class_names
    add("given", "Given", "the label in the dataset", found.labels, names=names)
    add("suggested", "Suggested", "what the model says", found.suggested, names=names)
    finite = found.scores[np.isfinite(found.scores)]
    span = [float(finite.min()), float(finite.max())] if finite.size else [0.0, 0.0]
    more = {"span": span} if span[0] < span[1] else {}
    add("score", "Score", "higher is more suspicious", found.scores, digits=3, **more)
    add("loss", "Loss", "of the given label, in nats", found.losses, digits=3)
    for key, label, column in (
        ("p_given", "p(given)", found.given_probability),
        ("p_suggested", "p(suggested)", found.suggested_probability),
    ):
        add(key, label, "its probability", column, digits=3)
    for name, column in list(found.metadata.items())[:_METADATA]:
        add(f"meta:{name}", name, "a column of metadata", column)
    for name, column in found.dynamics.items():
        digits = {"digits": 3} if column.dtype.kind == "f" else {}
        label = name.replace("_", " ")
        add(f"over:{name}", label, "over the training", column, **digits)
    return columns


def _encoded(values: NDArray, names: Sequence[str] | None) -> dict[str, Any]:
    """Values as JSON takes them; few different strings as places in their names."""
    if names is not None:
        places = [place if place >= 0 else None for place in values.tolist()]
        return {"kind": "name", "names": list(names), "values": places}
    if np.issubdtype(values.dtype, np.bool_):
        names = ["no", "yes"]
        return {"kind": "name", "names": names, "values": values.astype(int).tolist()}
    if np.issubdtype(values.dtype, np.integer):
        return {"kind": "number", "values": values.tolist()}
    if np.issubdtype(values.dtype, np.floating):
        return {"kind": "number", "values": _numbers(values)}
    words = values.astype(np.str_)
    different, places = np.unique(words, return_inverse=True)
    if len(different) <= len(words) // 2:
        names = different.tolist()
        return {"kind": "name", "names": names, "values": places.tolist()}
    return {"kind": "string", "values": words.tolist()}


def _numbers(values: NDArray) -> list[float | None]:
    """Six digits of each; JSON knows no nan (null) and no infinity (the largest)."""
    most = float(np.finfo(np.float64).max)
    values = np.clip(values.astype(np.float64), -most, most)
    return [
        None if x != x else float(f"{x:.6g}" if abs(x) < most else x)
        for x in values.tolist()
    ]


def _map(found: Findings, shown: NDArray[np.intp], data: dict) -> str | None:
    drawn = charts.dataset_map(found)
    if drawn is None:
        return None
    crowded = len(found.order) > _POINTS
    places = charts.some(found.suspects[shown], _POINTS)
    points = shown[places]
    seen = np.isfinite(drawn.x[points]) & np.isfinite(drawn.y[points])
    data["map"] = {
        "rows": places[seen].tolist(),
        "x": _numbers(drawn.x[points[seen]]),
        "y": _numbers(drawn.y[points[seen]]),
        "xtitle": drawn.x_title,
        "ytitle": drawn.y_title,
    }
    lead = drawn.meaning
    if crowded:
        x, y, counts = charts.density(drawn.x[found.order], drawn.y[found.order])
        data["map"]["density"] = {
            "x": _numbers(x),
            "y": _numbers(y),
            "z": counts.tolist(),
        }
        lead += (
            f" The shade counts all samples; the points are {len(places):,} of the "
            "list, spread evenly."
        )
    return lead + " Click on a point to see it in the list."


def _losses(found: Findings, data: dict) -> str | None:
    drawn = charts.loss_histograms(found, _PANELS)
    if drawn is None:
        return None
    data["losses"] = {
        "edges": _numbers(drawn.edges),
        "names": [
            f"{10**a:.2g} to {10**b:.2g} nats"
            for a, b in zip(drawn.edges, drawn.edges[1:], strict=False)
        ],
        "ticks": list(drawn.ticks),
        "ticknames": list(drawn.ticks.values()),
        "panels": [
            {
                "name": panel.name,
                "others": panel.others.tolist(),
                "suspects": panel.suspects.tolist(),
            }
            for panel in drawn.panels
        ],
    }
    lead = "How many samples have which loss, in nats, on a logarithmic axis."
    if len(found.class_names) > _PANELS:
        lead += (
            f" Shown are the {_PANELS} classes with the most suspects, of "
            f"{len(found.class_names):,}."
        )
    return lead


def _confusion(found: Findings, data: dict) -> str | None:
    drawn = charts.confusion(found, _CLASSES)
    if drawn is None:
        return None
    data["confusion"] = {
        "classes": drawn.classes.tolist(),
        "counts": drawn.counts.tolist(),
    }
    lead = (
        "Rows are the labels in the dataset, columns what the model says. The "
        "diagonal, where both agree, is not shaded. Click on a cell to see its samples."
    )
    if len(found.class_names) > _CLASSES:
        lead += (
            f" Shown are the {_CLASSES} classes that change most, of "
            f"{len(found.class_names):,}; pairs.csv has the suspects of all."
        )
    return lead


def _cards(found: Findings) -> list[dict[str, Any]]:
    scored, size = len(found.order), len(found.class_names)
    suspects = int(found.suspects.sum())
    cards = [
        _card("Samples", f"{len(found.labels):,}", f"in {_counted(size, 'class')}"),
        _card(
            "Suspects",
            f"{suspects:,}",
            f"{_percent(suspects, scored)} of the samples",
            suspects > 0,
        ),
    ]
    if found.suggested is not None:
        flagged = int(found.flagged.sum())
        cards.append(_card("Other label suggested", f"{flagged:,}", "of the suspects"))
    if suspects and size > 1:
        number = np.bincount(found.labels[found.suspects], minlength=size)
        worst = int(number.argmax())
        note = f"{int(number[worst]):,} with this label"
        cards.append(
            _card("Most suspects in", _shortened(found.class_names[worst], 24), note)
        )
    if found.losses is not None and np.isfinite(found.losses).any():
        median = np.median(found.losses[np.isfinite(found.losses)])
        cards.append(_card("Median loss", f"{median:.3g}", "nats"))
    return cards


def _card(name: str, value: str, note: str, alarm: bool = False) -> dict[str, Any]:
    return {"name": name, "value": value, "note": note, "alarm": alarm}


def _notices(found: Findings, shown: int, pictures: int, data: dict) -> list[str]:
    notices = []
    if len(found.left_out):
        named = ", ".join(map(str, found.left_out[:_NAMED].tolist()))
        more = len(found.left_out) - _NAMED
        verb = "is" if len(found.left_out) == 1 else "are"
        rest = f" and {more:,} more, at the end of samples.csv" if more > 0 else ""
        notices.append(
            f"{_counted(len(found.left_out), 'sample')} without a score {verb} left "
            f"out, by index: {named}{rest}."
        )
    if shown < len(found.order):
        notices.append(
            f"The list holds the {shown:,} most suspicious of {len(found.order):,} "
            "samples; samples.csv holds all. Figures and charts count all of them."
        )
    if pictures and pictures < shown:
        notices.append(f"Images are here for the {pictures:,} most suspicious samples.")
    if any(entry.endswith("…") for entry in data.get("text", ())):
        notices.append(
            f"Texts are cut after {_LETTERS} letters; samples.csv holds the whole."
        )
    if len(found.metadata) > _METADATA:
        notices.append(
            f"The list has the first {_METADATA} of {len(found.metadata)} columns of "
            "metadata; samples.csv has all."
        )
    return notices


def _with_bars(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a table, each with its share beside the largest, in percent."""
    most = max((row["share"] for row in rows), default=0) or 1
    return [{**row, "width": round(100 * row["share"] / most, 1)} for row in rows]


def _shortened(text: str, most: int = _LETTERS) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _counted(number: int, noun: str) -> str:
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {noun if number == 1 else plural}"


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"
