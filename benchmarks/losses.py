"""Losses beside those of other libraries: `python -m benchmarks losses`."""

import functools
import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from benchmarks import contestants, plots, provenance, stopwatch
from benchmarks.cases import CASES, LOOKUP, Inputs
from benchmarks.losses_page import table as table
from benchmarks.ratios import MODES, OPTAX, OURS, READ, SHARES
from benchmarks.shapes import (
    BATCHES,
    BFLOAT16,
    FROM_MEMORY,
    IMAGES,
    LARGE,
    SMALL,
    VOCABULARY,
    WIDTH,
    Shape,
)

PACKAGES = ("jax", "jaxlib", "optax", "torch", "tensorflow", "keras", "numpy")
# Of time against the batch: which losses, and who. Not torch.compile, for which g++
# takes three times as long as the clock, already with precompiled headers.
SWEPT = (
    "squared_error",
    "huber_loss",
    "sigmoid_binary_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
)
SWEPT_BY = (OURS, OPTAX, "PyTorch", "tf.function, XLA")
LONG = {
    "squared_error": IMAGES,
    "sigmoid_binary_cross_entropy": IMAGES,
    "softmax_cross_entropy_with_integer_labels": VOCABULARY,
}
# Samples at the large shapes; of what takes long, and of the many points of the plot.
LARGE_ROUNDS, FEWER_ROUNDS = 7, 5
# Several calls of what takes a few milliseconds: of one the chance is in the sample.
LARGE_BLOCK_SECONDS = 0.012
# Below so many bytes of inputs a shorter warm-up is enough.
LITTLE, LITTLE_WARM_UP_SECONDS = 4 * 2**20, 0.005
# In memory, of the inputs.
PLACES = 5
# To draw the examples of an array from memory takes longer than to time it.
REPEATED = 16


class Plan(NamedTuple):
    """What is timed at once: one loss of one batch by all."""

    loss: str
    shape: Shape
    dtype: str
    mode: str
    only: Sequence[str] = ()  # who takes part; all if empty


def run(only: list[str], shapes: str, rounds: int) -> dict:
    """Times every case; agreement is asserted before a clock starts."""
    torch.set_num_threads(os.cpu_count() or 1)
    small = shapes == "small"
    names = only or list(CASES)
    plan = [
        Plan(name, shape, "float32", mode)
        for name in names
        for shape in CASES[name].shapes
        if not small or shape == SMALL
        for mode in MODES
    ]
    if not small:
        plan += [
            Plan(name, shape, "bfloat16", mode)
            for name in names
            for shape in CASES[name].shapes
            if shape in BFLOAT16
            for mode in MODES
        ]
        plan += [
            Plan(name, (batch, WIDTH), "float32", "value", SWEPT_BY)
            for name in SWEPT
            if name in names
            for batch in BATCHES
        ]
        plan += [
            Plan(name, shape, "float32", mode)
            for name, shape in LONG.items()
            if name in names
            for mode in MODES
        ]
    from_memory = [
        (name, FROM_MEMORY[shape])
        for name in names
        if not small and CASES[name].work in SHARES
        for shape in CASES[name].shapes
        if shape in FROM_MEMORY
    ]
    about = provenance.about(PACKAGES, contestants.left_out())
    cases, by_batch, long = [], [], []
    # What torch.compile has kept of an earlier run would hide what it costs.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        for case in (bar := tqdm(plan, unit="case")):
            bar.set_postfix_str(f"{case.loss} {case.shape} {case.dtype} {case.mode}")
            of_one_shape = long if case.shape in LONG.values() else cases
            (by_batch if case.only else of_one_shape).append(_time(case, rounds))
    memory = [
        _time_from_memory(*case, min(rounds, FEWER_ROUNDS))
        for case in tqdm(from_memory, unit="case from memory")
    ]
    found = {"cases": cases, "by_batch": by_batch, "long": long, "memory": memory}
    return {"about": about, "rounds": rounds, "places": PLACES, **found}


def _time(plan: Plan, rounds: int) -> dict[str, Any]:
    case = CASES[plan.loss]
    inputs = contestants.cast(_inputs(plan.loss, plan.shape), plan.dtype)
    fields = contestants.field(case, inputs, plan.mode, PLACES)
    runs = {who: fields[0][who] for who in fields[0] if who in (plan.only or fields[0])}
    # A peer may lack bfloat16; all have float32.
    first, answers, failures = contestants.first_calls(runs, plan.dtype == "bfloat16")
    may_differ = contestants.MAY_DIFFER.get((plan.loss, plan.dtype, plan.mode), ())
    failures |= contestants.disagreements(answers, plan.dtype, may_differ)
    del answers  # as large as the gradients
    fields = [{who: f[who] for who in runs if who not in failures} for f in fields]
    large = plan.shape in LARGE
    if large and plan.dtype == "float32" and case.work != LOOKUP and not plan.only:
        reads = contestants.plain_reads(inputs, plan.mode, PLACES)
        fields = [f | {READ: read} for f, read in zip(fields, reads, strict=True)]
    if large:
        rounds = min(rounds, LARGE_ROUNDS)
    elif plan.only or plan.shape in LONG.values():
        rounds = min(rounds, FEWER_ROUNDS)
    little = sum(x.nbytes for x in inputs) < LITTLE
    ms = stopwatch.race(
        *fields,
        rounds=rounds,
        block=LARGE_BLOCK_SECONDS if large else stopwatch.BLOCK_SECONDS,
        warm_up=LITTLE_WARM_UP_SECONDS if little else stopwatch.WARM_UP_SECONDS,
    )
    return {
        "loss": plan.loss,
        "work": case.work,
        "shape": plan.shape,
        "dtype": plan.dtype,
        "mode": plan.mode,
        "ms": ms,
        "first_ms": first,
        "left_out": failures,
    }


def _time_from_memory(loss: str, shape: Shape, rounds: int) -> dict[str, Any]:
    case = CASES[loss]
    inputs = _inputs(loss, (shape[0] // REPEATED, shape[1]))
    runs = contestants.from_memory(case, inputs, REPEATED)
    answers = {who: run() for who, run in runs.items() if who != READ}
    contestants.disagreements(answers, "float32")
    return {
        "loss": loss,
        "work": case.work,
        "shape": shape,
        "dtype": "float32",
        "mode": MODES[0],
        "ms": stopwatch.race(runs, rounds=rounds),
    }


@functools.lru_cache(maxsize=1)  # of both modes
def _inputs(loss: str, shape: Shape) -> Inputs:
    return CASES[loss].inputs(np.random.default_rng(0), shape)


def save(results: dict, folder: pathlib.Path) -> None:
    """Writes the samples, and the page and the pictures made of them."""
    provenance.save("losses", results, table(results), folder)
    plots.save(results, folder)
