"""Where results come from, machine, versions and commit, and the folder they go to."""

import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess

import jax

RESULTS = pathlib.Path(__file__).parent / "results"


def about(packages: tuple[str, ...]) -> dict:
    """The machine, the versions and the commit that are measured."""
    commit = _git("describe", "--always")
    # Results are made one after the other; they do not count as a change.
    if _git("status", "--porcelain", "-uno", ".", ":(exclude)benchmarks/results"):
        commit += "-dirty"
    return {
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {
            name: importlib.metadata.version(_dist(name)) for name in packages
        },
        "commit": commit,
    }


def save(name: str, results: dict, page: str) -> None:
    """Writes the results, and the page made of them."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(results) + "\n")
    (RESULTS / f"{name}.md").write_text(page)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    return done.stdout.strip()


def _dist(name: str) -> str:
    return "tensorflow-cpu" if name == "tensorflow" else name
