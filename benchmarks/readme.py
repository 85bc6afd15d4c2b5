"""The figures of the README, from the kept results: `python -m benchmarks readme`.

It times nothing: what is in `benchmarks/results` becomes one plot and one table.
"""

import json
from collections.abc import Iterator
from typing import Any

from benchmarks.provenance import RESULTS
from benchmarks.ratios import best_over_ours, geometric_mean

README = RESULTS.parent.parent / "README.md"
BEGIN = "<!-- benchmarks: written by `python -m benchmarks readme` -->"
END = "<!-- benchmarks: end -->"
SMALL = [128, 16]
MODES = ("value", "value and gradient")


def run() -> str:
    """Writes the table into the README, and the plot beside the results."""
    results = json.loads((RESULTS / "losses.json").read_text())
    figure = draw(results)
    for kind in ("png", "svg"):
        figure.savefig(RESULTS / f"losses.{kind}", dpi=120)
    text = README.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n{section(results)}{END}{after}")
    return section(results)


def section(results: dict[str, Any]) -> str:
    """What stands in the README between the two marks."""
    about = results["about"]
    versions = ", ".join(
        f"{name} {about['versions'][name]}"
        for name in ("jax", "optax", "torch", "tensorflow")
    )
    lines = [
        "![As fast as the best of five peers](benchmarks/results/losses.svg)",
        "",
        "How many times as fast as the best of optax under `jit`, PyTorch, "
        "`torch.compile`, `tf.function` and XLA of TensorFlow in each case, and as "
        "optax; geometric means over medium and large batches, below 1 in **bold**.",
        "",
        "| loss | best, value | best, value and gradient | optax, value "
        "| optax, value and gradient |",
        "|---|---|---|---|---|",
    ]
    for loss, ratios in _by_loss(results["cases"]):
        cells = (_cell(ratios[who, mode]) for who in (None, _OPTAX) for mode in MODES)
        lines.append(f"| `{loss}` | {' | '.join(cells)} |")
    everything = [
        ratio
        for _, ratios in _by_loss(results["cases"])
        for mode in MODES
        for ratio in ratios[None, mode]
    ]
    lost = sum(ratio < 1 for ratio in everything)
    lines += [
        "",
        f"All together {geometric_mean(everything):.2f} of the best; {lost} of "
        f"{len(everything)} cases are lost, the lowest at {min(everything):.2f}. "
        f"{about['cores']} cores of a {about['device'].upper()}, float32; {versions}. "
        "All cases are in [the results](benchmarks/results/losses.md).",
    ]
    return "\n".join(lines) + "\n"


_OPTAX = "optax, jit"
_Ratios = dict[tuple[str | None, str], list[float]]


def _by_loss(cases: list[dict[str, Any]]) -> Iterator[tuple[str, _Ratios]]:
    large = [case for case in cases if case["shape"] != SMALL]
    for loss in dict.fromkeys(case["loss"] for case in large):
        ratios: _Ratios = {}
        for mode in MODES:
            own = [c for c in large if (c["loss"], c["mode"]) == (loss, mode)]
            ratios[None, mode] = [best_over_ours(c) for c in own]
            ratios[_OPTAX, mode] = [
                best_over_ours(c, _OPTAX) for c in own if _OPTAX in c["ms"]
            ]
        yield loss, ratios


def _cell(ratios: list[float]) -> str:
    if not ratios:
        return ""
    ratio = geometric_mean(ratios)
    return f"{ratio:.2f}" if ratio >= 1 else f"**{ratio:.2f}**"


def draw(results: dict[str, Any]) -> Any:
    """Bars of the ratio to the best peer for each loss, on a scale of factors."""
    from matplotlib.figure import Figure

    rows = list(_by_loss(results["cases"]))[::-1]
    figure = Figure(figsize=(8, 0.45 * len(rows) + 1.2), layout="constrained")
    axes = figure.subplots()
    for k, (mode, colour) in enumerate(zip(MODES, ("#4477aa", "#ee9955"), strict=True)):
        ratios = [geometric_mean(found[None, mode]) for _, found in rows]
        places = [row + 0.2 - 0.4 * k for row in range(len(rows))]
        # A bar begins at 1: to the right we are the faster ones.
        axes.barh(
            places, [r - 1 for r in ratios], 0.38, left=1, color=colour, label=mode
        )
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(range(len(rows)), [loss for loss, _ in rows], fontsize=8)
    axes.set_xlabel("time of the best of five peers over ours, above 1 is faster")
    axes.legend(loc="upper right", frameon=False)
    return figure
