"""The figures of the README, from the kept results: `python -m benchmarks readme`.

It times nothing: what is in `benchmarks/results` becomes plots, of which the README
shows one, and one table.
"""

import json
from collections.abc import Iterator
from typing import Any

from benchmarks import plots
from benchmarks.provenance import RESULTS
from benchmarks.ratios import MODES, OPTAX, PEERS, all_over_ours, geometric_mean

README = RESULTS.parent.parent / "README.md"
BEGIN = "<!-- benchmarks: written by `python -m benchmarks readme` -->"
END = "<!-- benchmarks: end -->"


def run() -> str:
    """Writes the table into the README, and the plot beside the results."""
    results = json.loads((RESULTS / "losses.json").read_text())
    plots.save(results, RESULTS)
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
    everything = []
    for loss, ratios in _by_loss(results["cases"]):
        best, optax = ([of[mode] for mode in MODES] for of in ratios)
        everything += [ratio for found in best for ratio in found]
        cells = " | ".join(_cell(found) for found in (*best, *optax))
        lines.append(f"| `{loss}` | {cells} |")
    lost = sum(ratio < 1 for ratio in everything)
    lines += [
        "",
        f"All together {geometric_mean(everything):.2f} of the best; {lost} of "
        f"{len(everything)} cases are lost, the lowest at {min(everything):.2f}. "
        f"{about['cores']} cores of a {about['device'].upper()}, float32; {versions}. "
        "All cases, and what was set for all of them, are in "
        "[the results](benchmarks/results/losses.md).",
    ]
    return "\n".join(lines) + "\n"


def _by_loss(cases: list[dict[str, Any]]) -> Iterator[tuple[str, list[dict]]]:
    """The ratios of each mode, to the best peer and to optax."""
    large = list(plots.of_batches(cases))
    for loss in dict.fromkeys(case["loss"] for case in large):
        own = [case for case in large if case["loss"] == loss]
        yield (
            loss,
            [
                {
                    mode: all_over_ours([c for c in own if c["mode"] == mode], peers)
                    for mode in MODES
                }
                for peers in (PEERS, [OPTAX])
            ],
        )


def _cell(ratios: list[float]) -> str:
    if not ratios:
        return ""
    ratio = geometric_mean(ratios)
    return f"{ratio:.2f}" if ratio >= 1 else f"**{ratio:.2f}**"
