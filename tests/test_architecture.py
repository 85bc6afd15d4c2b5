"""The rooms and the direction of their imports."""

import ast
from pathlib import Path

import pytest

import jaxloss

ROOT = Path(jaxloss.__file__).parent
ORDER = [
    "_inputs",
    "_numerics",
    "_devices",
    "losses",
    "_batches",
    "batching",
    "reduction",
    "weighting",
    "gradients",
    "updates",
    "ledger",
    "audit",
    "report",
    "__main__",
]
RUNTIME = {"jax", "jaxlib", "optax", "chex", "numpy"}
FILES = sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path):
    """Every imported module, as a dotted name with what is taken from it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downwards(path):
    here = room(path)
    for name in imports(path):
        if not name.startswith("jaxloss.") or here == "__init__":
            continue
        there = name.split(".")[1]
        if there == here:
            continue
        if here == "kernels":
            assert there in {
                "_inputs",
                "_numerics",
                "_devices",
                "losses",
                "_batches",
                "batching",
            }, name
        else:
            assert there != "kernels", f"nobody knows kernels: {name}"
            assert ORDER.index(there) < ORDER.index(here), f"{here} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_the_inputs_know_chex(path):
    if room(path) != "_inputs":
        assert not any(name.split(".")[0] == "chex" for name in imports(path))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_private_jax_module(path):
    assert not any(name.startswith("jax._") for name in imports(path))


def test_every_room_has_its_place():
    assert {room(path) for path in FILES} <= {*ORDER, "kernels", "__init__"}


def test_the_front_door_defines_nothing():
    tree = ast.parse((ROOT / "__init__.py").read_text())
    kinds = {type(node) for node in tree.body[1:]}
    assert kinds == {ast.ImportFrom}
