"""Losses beside those of other libraries: `python -m benchmarks losses`."""

import os
import statistics

import numpy as np
import torch
from tqdm import tqdm

from benchmarks import contestants, provenance, stopwatch
from benchmarks.cases import CASES, SMALL
from benchmarks.ratios import best_over_ours, geometric_mean

MODES = {
    "value": contestants.values,
    "value and gradient": contestants.values_and_gradients,
}
PACKAGES = ("jax", "jaxlib", "optax", "torch", "tensorflow", "numpy")


def run(only: list[str], shapes: str, rounds: int) -> dict:
    """Times every case; agreement is asserted before a clock starts."""
    torch.set_num_threads(os.cpu_count() or 1)
    names = only or list(CASES)
    plan = [
        (name, shape, mode)
        for name in names
        for shape in CASES[name].shapes
        if shapes == "full" or shape == SMALL
        for mode in MODES
    ]
    cases = []
    for name, shape, mode in (bar := tqdm(plan, unit="case")):
        bar.set_postfix_str(f"{name} {shape} {mode}")
        inputs = CASES[name].inputs(np.random.default_rng(0), shape)
        runs = MODES[mode](CASES[name], inputs)
        contestants.assert_agreement(runs)
        samples = stopwatch.race(runs, rounds)
        cases.append({"loss": name, "shape": shape, "mode": mode, "ms": samples})
    return {"about": provenance.about(PACKAGES), "cases": cases}


def table(results: dict) -> str:
    """The results as a page of Markdown, the cases lost marked."""
    about = results["about"]
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    lines = [
        "# Losses beside those of other libraries",
        "",
        "Milliseconds, median (minimum) of blocks in alternation in one process; one "
        "loss for each example of a batch, float32. *Ratio*: the best peer's median "
        "over ours, above 1 where jaxloss is the faster one; below 1 in **bold**.",
        "",
        f"{about['device']}, {about['cores']} cores; Python {about['python']}, "
        f"{versions}; commit {about['commit']}.",
        "",
        *_summary(results["cases"]),
        "",
        "| loss | shape | mode | jaxloss | optax, jit | PyTorch | torch.compile "
        "| tf.function | tf.function, XLA | ratio |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in results["cases"]:
        peers = ("jaxloss", "optax, jit", "PyTorch", "torch.compile")
        peers += ("tf.function", "tf.function, XLA")
        cells = [_cell(case["ms"].get(name)) for name in peers]
        ratio = best_over_ours(case)
        shown = f"{ratio:.2f}" if ratio >= 1 else f"**{ratio:.2f}**"
        shape = " x ".join(map(str, case["shape"]))
        lines.append(
            f"| {case['loss']} | {shape} | {case['mode']} | {' | '.join(cells)} "
            f"| {shown} |"
        )
    return "\n".join(lines) + "\n"


def _summary(cases: list[dict]) -> list[str]:
    large = [c for c in cases if tuple(c["shape"]) != SMALL]
    small = [c for c in cases if tuple(c["shape"]) == SMALL]
    lines = []
    if large:
        ratios = [best_over_ours(c) for c in large]
        lost = sum(r < 1 for r in ratios)
        lines.append(
            f"- Medium and large shapes, best peer over ours: geometric mean "
            f"{geometric_mean(ratios):.2f}, lowest {min(ratios):.2f}; {lost} of "
            f"{len(ratios)} cases lost."
        )
    for words, group in (("medium and large", large), ("small", small)):
        ratios = [
            best_over_ours(c, "optax, jit") for c in group if "optax, jit" in c["ms"]
        ]
        if ratios:
            lines.append(
                f"- Optax, jitted, over ours at {words} shapes: geometric mean "
                f"{geometric_mean(ratios):.2f}, lowest {min(ratios):.2f}."
            )
    return lines


def _cell(ms: list[float] | None) -> str:
    return "" if ms is None else f"{statistics.median(ms):.3g} ({min(ms):.3g})"


def save(results: dict) -> None:
    """Writes the samples, and the page made of them."""
    provenance.save("losses", results, table(results))
