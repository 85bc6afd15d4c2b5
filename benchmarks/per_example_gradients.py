"""Per-example gradients beside other ways: `python -m benchmarks gradients`."""

import json
import os
import pathlib
import statistics
from typing import Any

import matplotlib
import torch
from tqdm import tqdm

from benchmarks import (
    devices,
    gradient_contestants as contestants,
    provenance,
    stopwatch,
)
from benchmarks.gradient_models import MODELS
from benchmarks.losses import PACKAGES as OF_LOSSES
from benchmarks.provenance import about, sentences

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402 (the backend is chosen first)

PACKAGES = (*OF_LOSSES, "opacus")
# Sizes of the batch: of those measured against all, and of those for the plot.
SIZES = {"mlp": (64, 256), "cnn": (64,), "transformer": (32,), "scanned": (32,)}
PLOTTED = {"mlp": (16, 32, 64, 128, 256), "transformer": (4, 8, 16, 32)}
LINES = {
    "gradient of the batch: JAX": "gradient of the batch",
    "norms: jaxloss": "norms",
    "clipped sum: jaxloss": "clipped sum",
    'clipped sum: jaxloss, memory="small"': 'clipped sum, memory="small"',
    "clipped sum: JAX, vmap(grad)": "clipped sum by vmap(grad)",
}
TITLES = {
    "mlp": "MLP 784-512-512-10",
    "cnn": "CNN 28 x 28, convolutions 32 and 64, dense 128",
    "transformer": "transformer, d 256, 4 layers, T 64, vocabulary 1000",
    "scanned": "the same, a scan over layers with rematerialisation",
}
# What is claimed of the time against the gradient of the batch, and how many times
# slower vmap(grad) is.
BOUNDS = {
    ("mlp", 256, "norms"): 1.3,
    ("mlp", 256, "clipped sum"): 1.6,
    ("cnn", 64, "norms"): 1.3,
    ("cnn", 64, "clipped sum"): 1.3,
    ("transformer", 32, "norms"): 1.2,
    ("transformer", 32, "clipped sum"): 1.3,
}
SPEEDUPS = {("mlp", 256, "norms"): 25, ("mlp", 256, "clipped sum"): 50}
QUESTIONS = ("norms", "clipped sum", "similarity")


def run(only: list[str], shapes: str, rounds: int) -> dict:
    """Times every case; agreement is asserted before a clock starts."""
    torch.set_num_threads(os.cpu_count() or 1)
    small = shapes == "small"
    plan = []
    for name in only or list(MODELS):
        sizes = (8,) if small else SIZES[name]
        plan += [(name, size, True) for size in sizes]
        if not small:
            others = (size for size in PLOTTED.get(name, ()) if size not in sizes)
            plan += [(name, size, False) for size in others]
    cases = []
    for name, size, whole in (bar := tqdm(plan, unit="case")):
        bar.set_postfix_str(f"{name} {size}")
        field = _field(name, size, small, whole)
        contestants.assert_agreement(field)
        runs = {who: contestant.run for who, contestant in field.items()}
        samples = stopwatch.race(runs, rounds=rounds if whole else min(rounds, 3))
        cases.append(
            {
                "model": name,
                "batch": size,
                "small": small,
                "whole": whole,
                "ms": samples,
                "bytes": {who: c.bytes for who, c in field.items() if c.bytes},
            }
        )
    return {"about": about(PACKAGES, devices.left_out()), "cases": cases}


def _field(name: str, size: int, small: bool, whole: bool) -> dict[str, Any]:
    model = MODELS[name](small)
    limit = contestants.median_norm(model, size)
    if not whole:
        return contestants.of_jax(model, size, limit, LINES)
    field = contestants.of_jax(model, size, limit)
    if model.torch is not None and devices.of_torch():
        field |= contestants.of_torch(model, size, limit)
    if model.tensorflow is not None and devices.of_tensorflow():
        field |= contestants.of_tensorflow(model, size, limit)
    return field


def table(results: dict) -> str:
    """The results as a page of Markdown, what is claimed and what is lost included."""
    whole = [case for case in results["cases"] if case["whole"]]
    lines = [
        "# Per-example gradients beside other ways",
        "",
        "Milliseconds, median (minimum) of blocks in alternation in one process, "
        "float32. *Times the batch*: over the gradient of the mean loss of the same "
        "batch in the same framework, of medians (of minima). *Against vmap(grad)*: "
        "the median of `jax.vmap(jax.grad(loss))` over this one. *Temporaries*: bytes "
        "of the compiled program beside arguments and results, which JAX tells; the "
        "memory of PyTorch and TensorFlow was not measured. Half of the gradients are "
        "clipped. All who answer a question agreed before a clock started.",
        "",
        *sentences(results["about"]),
    ]
    if _pictured(results):
        lines += ["", "![Time and memory against the batch](gradients.svg)"]
    lines += ["", "## What is claimed", "", *_claims(whole)]
    lines += ["", "## Cases lost", "", *_lost(whole)]
    for case in whole:
        lines += ["", f"## {_title(case)}", ""]
        lines += _rows(case)
    return "\n".join(lines) + "\n"


def _title(case: dict) -> str:
    model = f"{case['model']}, small" if case["small"] else TITLES[case["model"]]
    return f"{model}; batch {case['batch']}"


def _rows(case: dict) -> list[str]:
    lines = [
        "| question | by | ms | times the batch | against vmap(grad) | temporaries |",
        "|---|---|---|---|---|---|",
    ]
    for name in case["ms"]:
        question, _, who = name.partition(": ")
        rival = f"{question}: JAX, vmap(grad)"
        times = [_ratio(case, name, _batch_of(who), of) for of in (_median, min)]
        gain = (
            f"{_ratio(case, rival, name, _median):.1f}" if rival in case["ms"] else ""
        )
        held = case["bytes"].get(name)
        lines.append(
            f"| {question} | {who} | {_median(case['ms'][name]):.3g} "
            f"({min(case['ms'][name]):.3g}) | {times[0]:.2f} ({times[1]:.2f}) | {gain} "
            f"| {'' if held is None else f'{held / 2**20:.1f} MiB'} |"
        )
    return lines


def _claims(cases: list[dict]) -> list[str]:
    lines = [
        "| model | batch | question | claimed | measured: medians (minima) | held |",
        "|---|---|---|---|---|---|",
    ]
    for case in cases:
        for question in ("norms", "clipped sum"):
            key = (case["model"], case["batch"], question)
            start = f"| {key[0]} | {key[1]} | {question} | "
            ours, batch = f"{question}: jaxloss", "gradient of the batch: JAX"
            if key in BOUNDS:
                times = [_ratio(case, ours, batch, of) for of in (_median, min)]
                lines.append(
                    f"{start}at most {BOUNDS[key]} times the batch | {times[0]:.2f} "
                    f"({times[1]:.2f}) | {_held(times[0] <= BOUNDS[key])} |"
                )
            if key in SPEEDUPS:
                rival = f"{question}: JAX, vmap(grad)"
                gain = [_ratio(case, rival, ours, of) for of in (_median, min)]
                lines.append(
                    f"{start}at least {SPEEDUPS[key]} times as fast as vmap(grad) "
                    f"| {gain[0]:.1f} ({gain[1]:.1f}) | "
                    f"{_held(gain[0] >= SPEEDUPS[key])} |"
                )
            rival = f"{question}: Opacus, ghost"
            if rival in case["ms"]:
                mine, theirs = (
                    [_ratio(case, name, _batch_of(name), of) for of in (_median, min)]
                    for name in (ours, rival)
                )
                lines.append(
                    f"{start}fewer times the batch than Opacus | {mine[0]:.2f} "
                    f"({mine[1]:.2f}) against {theirs[0]:.2f} ({theirs[1]:.2f}) | "
                    f"{_held(mine[0] < theirs[0])} |"
                )
    return lines


def _lost(cases: list[dict]) -> list[str]:
    """Where a peer takes less time, or fewer times its own gradient of the batch."""
    lines = []
    for case in cases:
        for name in case["ms"]:
            question, _, who = name.partition(": ")
            ours = f"{question}: jaxloss"
            if question not in QUESTIONS or who.startswith("jaxloss"):
                continue
            where = f"- {case['model']}, batch {case['batch']}, {question}: {who} takes"
            theirs, mine = _median(case["ms"][name]), _median(case["ms"][ours])
            if theirs < mine:
                lines.append(f"{where} {theirs:.3g} ms, jaxloss {mine:.3g} ms.")
            theirs, mine = (
                _ratio(case, n, _batch_of(n), _median) for n in (name, ours)
            )
            if theirs < mine:
                lines.append(
                    f"{where} {theirs:.2f} times its gradient of the batch, jaxloss "
                    f"{mine:.2f} times."
                )
    return lines or ["None."]


def _ratio(case: dict, name: str, other: str, of: Any) -> float:
    return of(case["ms"][name]) / of(case["ms"][other])


def _batch_of(who: str) -> str:
    """Whose gradient of the batch a contestant is measured against."""
    who = who.rpartition(": ")[2]
    for library, prefixes in (
        ("PyTorch", ("PyTorch", "Opacus", "torch")),
        ("TensorFlow", ("TensorFlow",)),
    ):
        if who.startswith(prefixes):
            return f"gradient of the batch: {library}"
    return "gradient of the batch: JAX"


def _held(holds: bool) -> str:
    return "yes" if holds else "**no**"


def _median(ms: list[float]) -> float:
    return statistics.median(ms)


def draw(results: dict) -> Any:
    """Time and memory against the size of the batch."""
    figure, grid = plt.subplots(
        2, len(PLOTTED), figsize=(10, 7.5), layout="constrained", squeeze=False
    )
    for column, name in zip(grid.T, PLOTTED, strict=True):
        cases = [c for c in results["cases"] if c["model"] == name]
        cases = sorted(cases, key=lambda c: c["batch"])
        sizes = [case["batch"] for case in cases]
        for i, (line, label) in enumerate(LINES.items()):
            style = {"color": f"C{i}", "marker": "o", "markersize": 4, "label": label}
            style["linestyle"] = "--" if "vmap" in label else "-"
            ms = [_median(case["ms"][line]) for case in cases]
            column[0].plot(sizes, ms, **style)
            held = [case["bytes"][line] / 2**20 for case in cases]
            column[1].plot(sizes, held, **style)
        column[0].set(title=TITLES[name], ylabel="milliseconds")
        column[1].set(xlabel="examples in the batch", ylabel="temporaries, MiB")
        for axis in column:
            axis.set(xscale="log", yscale="log")
            axis.set_xticks(sizes, [str(size) for size in sizes])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
    grid[0, 0].legend(fontsize=8)
    return figure


def _pictured(results: dict) -> bool:
    return {case["model"] for case in results["cases"]} >= set(PLOTTED)


def save(results: dict, folder: pathlib.Path) -> None:
    """Writes the samples, and the page and the picture made of them.

    Models that were not run keep their results if nothing else has changed since.
    """
    path = folder / "gradients.json"
    before = json.loads(path.read_text()) if path.exists() else {"about": None}
    if before["about"] == results["about"]:
        run = {case["model"] for case in results["cases"]}
        kept = [case for case in before["cases"] if case["model"] not in run]
        order = list(MODELS)
        cases = sorted(
            kept + results["cases"], key=lambda c: (order.index(c["model"]), c["batch"])
        )
        results = results | {"cases": cases}
    provenance.save("gradients", results, table(results), folder)
    if _pictured(results):
        figure = draw(results)
        for kind in ("png", "svg"):
            figure.savefig(folder / f"gradients.{kind}", dpi=120)
