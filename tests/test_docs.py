"""The pages of docs/ name every public thing, and nothing that is not there."""

import importlib
import importlib.util
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import readme
from jaxloss import losses

DOCS = Path(__file__).parents[1] / "docs"
ENTRY = re.compile(r"^\.\. (?:auto)?(?:function|class):: (\w+)", re.MULTILINE)
MENTION = re.compile(
    r"\b(losses|reduction|weighting|gradients|updates|ledger|audit|report)\.([a-z]\w*|Total|Candidates)"
)
PUBLIC_LOSSES = {name for name, value in vars(losses).items() if callable(value)}


def entries(page: Path) -> list[str]:
    return ENTRY.findall(page.read_text())


def load_curves():
    spec = importlib.util.spec_from_file_location("curves", DOCS / "curves.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_loss_is_on_one_page():
    pages = sorted((DOCS / "losses").glob("*.rst"))
    named = Counter(name for page in pages for name in entries(page))
    assert named == Counter(PUBLIC_LOSSES)


def test_every_loss_is_on_the_page_of_its_module():
    for name in PUBLIC_LOSSES:
        module = getattr(losses, name).__module__.rpartition(".")[2]
        assert name in entries(DOCS / "losses" / f"{module}.rst")


@pytest.mark.parametrize(
    "room",
    [
        "batching",
        "reduction",
        "weighting",
        "gradients",
        "updates",
        "ledger",
        "audit",
        "report",
        "kernels",
    ],
)
def test_every_public_name_of_a_room_is_on_its_page(room):
    module = importlib.import_module(f"jaxloss.{room}")
    public = {
        name
        for name, value in vars(module).items()
        if callable(value)
        and value.__module__.startswith(module.__name__)
        and not name.startswith("_")
    }
    assert set(entries(DOCS / f"{room}.rst")) == public


@pytest.mark.parametrize(
    "page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS))
)
def test_every_name_that_a_page_mentions_is_there(page):
    peers = r"(keras|optax|v1|compat\.v1)\."  # their `losses` are not ours
    text = re.sub(peers + r"losses\.", "", page.read_text())
    mentions = MENTION.findall(text)
    assert mentions
    for room, name in mentions:
        module = importlib.import_module(f"jaxloss.{room}")
        assert hasattr(module, name), f"{room}.{name}"


def test_every_loss_has_a_curve_or_a_reason():
    curves = load_curves()
    assert curves.CURVES.keys() | curves.WITHOUT_CURVE.keys() == PUBLIC_LOSSES
    assert not curves.CURVES.keys() & curves.WITHOUT_CURVE.keys()


def test_the_figures_of_the_readme_are_those_of_the_results():
    results = json.loads((readme.RESULTS / "losses.json").read_text())
    written = readme.README.read_text().split(readme.BEGIN)[1].split(readme.END)[0]
    assert written.strip() == readme.section(results).strip()
