"""What compilers for TPUs and GPUs make of the library, on a machine without them.

`python -m benchmarks aot` compiles the kernels and a training step ahead of time, with
libtpu and, where jax-cuda13-plugin and jax-cuda13-pjrt (and nvidia-cuda-nvcc and
nvidia-nvvm) are installed, with XLA for GPUs. Nothing is run: these are no times.
"""

import collections
import math
import pathlib
import re
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from benchmarks import aot_cases, aot_targets, provenance
from benchmarks.aot_cases import Case

PACKAGES = ("jax", "jaxlib", "libtpu", "optax")
_COLLECTIVE = re.compile(
    r" = (?P<result>\(.*?\)|\S+) (?P<kind>all-reduce|all-gather|reduce-scatter"
    r"|all-to-all|ragged-all-to-all|collective-permute|collective-broadcast)"
    r"(?P<start>-start)?\("
)
_ARRAY = re.compile(r"\b(pred|bf16|[a-z]+\d+)\w*\[([\d,]*)\]")


def run(only: list[str]) -> dict:
    """Compiles every case for every target that `only` names, or for all."""
    targets = [t for t in aot_targets.available() if not only or t in only]
    rows = []
    for target in targets:
        mesh = aot_targets.mesh(target)
        cases = aot_cases.on_the_mesh()
        if mesh.size < 256:
            cases = aot_cases.kernels() | cases
        for name, case in (bar := tqdm(cases.items(), desc=target)):
            bar.set_postfix_str(name)
            rows.append({"case": name, "target": target, **examine(case, mesh)})
    return {"about": provenance.about(PACKAGES), "cases": rows}


def examine(case: Case, mesh: Mesh) -> dict[str, Any]:
    """What the compiled program needs on one device, and what it sends to others."""
    specs = case.specs
    if specs is None:
        mesh, specs = Mesh(mesh.devices.ravel()[:1], ("data",)), PartitionSpec()
    shardings = jax.tree.map(
        lambda spec: NamedSharding(mesh, spec),
        specs,
        is_leaf=lambda leaf: isinstance(leaf, PartitionSpec),
    )
    with jax.set_mesh(mesh):
        program = jax.jit(
            case.function, in_shardings=shardings, donate_argnums=case.donated
        )
        compiled = program.lower(*case.arguments).compile()
    memory = compiled.memory_analysis()
    cost = compiled.cost_analysis() or {}  # only the compiler for TPUs tells
    return {
        "devices": mesh.size,
        "arguments": memory.argument_size_in_bytes,
        "results": memory.output_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "modelled": cost.get("bytes accessed"),
        "collectives": collectives(compiled.as_text()),
    }


def collectives(program: str) -> dict[str, tuple[int, int]]:
    """How often each kind of transfer stands in a program, and the bytes that result.

    One within a loop counts once.
    """
    found: dict[str, tuple[int, int]] = collections.defaultdict(lambda: (0, 0))
    for match in _COLLECTIVE.finditer(program):
        sizes = [
            math.prod(map(int, filter(None, shape.split(","))))
            * (8 if kind == "pred" else int(re.sub(r"\D", "", kind)))
            // 8
            for kind, shape in _ARRAY.findall(match["result"])
        ]
        if match["start"] and match["kind"] in ("all-gather", "collective-permute"):
            sizes = sizes[len(sizes) // 2 :]  # the operands come first
        count, total = found[match["kind"]]
        found[match["kind"]] = count + 1, total + sum(sizes)
    return dict(found)


def table(results: dict) -> str:
    """The results as a page of Markdown."""
    about = results["about"]
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    lines = [
        "# Compiled for devices that were not there",
        "",
        "Compiled ahead of time by the compilers of the devices; nothing was run, and "
        "nothing here is a time. All figures are of one device, layout padding "
        "included. *Temporaries*: memory beside arguments and results. *Bytes*: what "
        "the cost model of the compiler says is read and written, over arguments and "
        "results together: 1 is the least possible; XLA for GPUs does not tell. "
        "*Moved*: count and resulting bytes of what devices send to each other.",
        "",
        f"Compiled with Python {about['python']}, {versions}; commit "
        f"{about['commit']}. A training step has {_size(_gradient())} of parameters, "
        f"a batch of {aot_cases.BATCH} and a ledger of {aot_cases.EXAMPLES} examples.",
        "",
        "| case | target | devices | arguments | results | temporaries | bytes "
        "| moved |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in results["cases"]:
        least = row["arguments"] + row["results"]
        ratio = f"{row['modelled'] / least:.2f}" if row["modelled"] else ""
        moved = ", ".join(
            f"{count} {kind} {_size(total)}"
            for kind, (count, total) in row["collectives"].items()
        )
        cells = [row["case"], row["target"], str(row["devices"])]
        cells += [_size(row[k]) for k in ("arguments", "results", "temporaries")]
        lines.append(f"| {' | '.join([*cells, ratio, moved])} |")
    return "\n".join(lines) + "\n"


def _gradient() -> int:
    return aot_cases.size(aot_cases.parameters())


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} GiB"


def save(results: dict, folder: pathlib.Path) -> None:
    """Writes the figures, and the page made of them."""
    provenance.save("aot", results, table(results), folder)
