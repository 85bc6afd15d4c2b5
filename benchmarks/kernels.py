"""Large vocabularies and sequences: `python -m benchmarks kernels`."""

import os
import pathlib
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from benchmarks import (
    devices,
    kernel_contestants as contestants,
    provenance,
    stopwatch,
)
from benchmarks.losses import PACKAGES


class Subject(NamedTuple):
    """What is compared, in words, and who takes part."""

    title: str
    work: str
    field: Callable[[bool], dict[str, contestants.Contestant]]
    tolerance: float = 1e-4


SUBJECTS = {
    "linear": Subject(
        "Cross-entropy of hidden states: 4096 tokens, 512 features, 32768 classes",
        "The weighted mean of the losses and its gradients by hidden states and "
        "weights. *Product* is one product of hidden states and weights by JAX, which "
        "writes the logits. Except for PyTorch's `linear_cross_entropy` all could give "
        "the losses of the tokens too; jaxloss and JAX do.",
        contestants.of_linear,
    ),
    "ctc": Subject(
        "CTC: 32 sequences of 400 frames, 64 classes, 60 labels",
        "The losses.",
        contestants.of_ctc,
    ),
    "ctc, gradient": Subject(
        "CTC with gradient: 32 sequences of 400 frames, 64 classes, 60 labels",
        "The losses, and the gradient of their sum by the logits. Peers subtract "
        "logarithms of the size of the loss, 1500: their gradients agree to 2e-3.",
        contestants.of_ctc_gradient,
        2e-3,
    ),
    "rnnt, gradient": Subject(
        "RNN-T with gradient: 8 sequences of 200 frames, 40 labels, 256 classes",
        "The losses, and the gradient of their sum by the logits. *JAX, plain* is a "
        "log-softmax and a scan of logaddexp, derived by JAX.",
        contestants.of_rnnt_gradient,
        2e-3,
    ),
}
# Of two medians: how many times the second the first may take at most.
BOUNDS = [
    ("linear", "jaxloss", 4, "product", 1.1),
    ("linear", "jaxloss, weights known", 3, "product", 1.15),
    ("ctc", "jaxloss", 1, "optax, jit", 0.8),
    ("ctc, gradient", "jaxloss", 1, "optax, jit", 0.8),
]


def run(only: list[str], shapes: str, rounds: int) -> dict:
    """Times every subject; agreement is asserted before a clock starts."""
    torch.set_num_threads(os.cpu_count() or 1)
    cases = []
    for name in (bar := tqdm(only or list(SUBJECTS), unit="subject")):
        bar.set_postfix_str(name)
        field = SUBJECTS[name].field(shapes == "small")
        contestants.assert_agreement(field, SUBJECTS[name].tolerance)
        runs = {who: contestant.run for who, contestant in field.items()}
        samples = stopwatch.race(runs, rounds=rounds)
        temporaries = {who: c.bytes for who, c in field.items() if c.bytes is not None}
        cases.append({"subject": name, "ms": samples, "bytes": temporaries})
    return {
        "about": provenance.about(PACKAGES, devices.left_out()),
        "small": shapes == "small",
        "cases": cases,
    }


def table(results: dict) -> str:
    """The results as a page of Markdown, what is claimed and what is lost included."""
    lines = [
        "# Large vocabularies and sequences",
        "",
        "Milliseconds, median (minimum) of blocks in alternation in one process, "
        "float32. *Ratio*: the median over that of jaxloss, above 1 where jaxloss is "
        "the faster one; below 1 in **bold**. *Temporaries*: bytes of the compiled "
        "program beside arguments and results, which JAX tells; the memory of PyTorch "
        "and TensorFlow was not measured. All agreed before a clock started.",
        "",
        *provenance.sentences(results["about"]),
    ]
    if results["small"]:
        lines += ["", "Small sizes, not those of the titles: a trial."]
    else:
        lines += ["", "## What is claimed", "", *_claims(results["cases"])]
    for case in results["cases"]:
        subject = SUBJECTS[case["subject"]]
        lines += ["", f"## {subject.title}", "", subject.work, ""]
        lines += ["| by | ms | ratio | temporaries |", "|---|---|---|---|"]
        ours = statistics.median(case["ms"]["jaxloss"])
        for who, ms in case["ms"].items():
            ratio = statistics.median(ms) / ours
            shown = f"{ratio:.2f}" if ratio >= 1 else f"**{ratio:.2f}**"
            if who.startswith("jaxloss") or who == "product":
                shown = ""
            size = case["bytes"].get(who)
            memory = "" if size is None else f"{size / 2**20:.1f} MiB"
            lines.append(
                f"| {who} | {statistics.median(ms):.4g} ({min(ms):.4g}) | {shown} "
                f"| {memory} |"
            )
    return "\n".join(lines) + "\n"


def _claims(cases: list[dict]) -> list[str]:
    ms = {case["subject"]: case["ms"] for case in cases}
    lines = []
    for subject, ours, count, other, bound in BOUNDS:
        if subject not in ms:
            continue
        ratios = [
            of(ms[subject][ours]) / (count * of(ms[subject][other]))
            for of in (statistics.median, min)
        ]
        words = other if count == 1 else f"{count} times the {other}"
        verdict = "holds" if ratios[0] <= bound else "**does not hold**"
        lines.append(
            f"- {subject}: {ours} over {words} {ratios[0]:.2f} (minima "
            f"{ratios[1]:.2f}), at most {bound}: {verdict}."
        )
    return lines


def save(results: dict[str, Any], folder: pathlib.Path) -> None:
    """Writes the samples, and the page made of them."""
    provenance.save("kernels", results, table(results), folder)
