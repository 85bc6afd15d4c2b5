"""Every public loss of a peer has a row on the page for those who come from there."""

import re
from pathlib import Path

import keras
import optax
import pytest
import tensorflow as tf
import torch

from tests.parity.test_coverage import PEERS

PAGES = Path(__file__).parents[2] / "docs" / "coming_from"

# The page, and what stands before the name there.
PLACES = {
    "optax.losses": ("optax", ""),
    "torch.nn.functional": ("pytorch", "F."),
    "torch.nn": ("pytorch", "nn."),
    "keras.losses functions": ("keras", ""),
    "keras.losses classes": ("keras", ""),
    "keras.ops": ("keras", "ops."),
    "tf.nn": ("tensorflow", "nn."),
    "tf.compat.v1.losses": ("tensorflow", "v1.losses."),
}
MODULES = {
    "optax": {"": optax.losses},
    "pytorch": {"F": torch.nn.functional, "nn": torch.nn},
    "keras": {"": keras.losses, "ops": keras.ops},
    "tensorflow": {"nn": tf.nn, "v1.losses": tf.compat.v1.losses},
}


def rows(page: str) -> list[list[str]]:
    """The rows of the last table: their calls, ours, what differs."""
    text = (PAGES / f"{page}.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [line.strip("|").split(" | ") for line in lines]


def theirs(page: str) -> list[str]:
    return [name for row in rows(page) for name in re.findall(r"`([^`]+)`", row[0])]


def test_every_peer_has_a_place():
    assert PLACES.keys() == {peer for peer, *_ in PEERS}


@pytest.mark.parametrize(
    ("peer", "names", "not_losses"),
    [(peer, names, not_losses) for peer, names, _, not_losses, _ in PEERS],
    ids=[peer for peer, *_ in PEERS],
)
def test_every_public_loss_of_a_peer_has_a_row(peer, names, not_losses):
    page, prefix = PLACES[peer]
    wanted = {prefix + name for name in names - not_losses.keys()}
    assert wanted <= set(theirs(page))


@pytest.mark.parametrize("page", MODULES)
def test_every_row_names_public_losses_once_and_says_what_is_ours(page):
    named = theirs(page)
    assert len(set(named)) == len(named)
    for name in named:
        module, _, function = name.rpartition(".")
        assert hasattr(MODULES[page][module], function), name
    for row in rows(page):
        assert len(row) == 3
        ours = ("`losses.", "`kernels.")
        assert any(x in row[1] for x in ours) or row[1].strip() == "pending"


def test_what_is_pending_is_said_to_be_and_nothing_else():
    pending = {name for *_, pending in PEERS for name in pending}
    said = {
        name.rpartition(".")[2]
        for page in MODULES
        for row in rows(page)
        if row[1].strip() == "pending"
        for name in re.findall(r"`([^`]+)`", row[0])
    }
    assert said == pending
