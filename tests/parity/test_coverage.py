"""No public loss of an installed peer is without a row or a reason."""

import inspect
import re

import keras
import optax
import pytest
import tensorflow as tf
import torch

from tests.parity import test_keras, test_optax, test_tensorflow, test_torch


def public(module, wanted):
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and wanted(name, value)
    }


def everything(name, value):
    return not inspect.ismodule(value)


def named_for_a_loss(name, value):
    return re.search(r"loss|cross_?entropy|^kl_div$", name) is not None


def torch_class(name, value):
    return re.search(r"Loss(2d)?$", name) is not None


def keras_function(name, value):
    return not inspect.isclass(value)


def keras_class(name, value):
    return inspect.isclass(value)


MACHINERY = "machinery, no loss"
KERAS_MACHINERY = dict.fromkeys(("Loss", "get", "serialize", "deserialize"), MACHINERY)

# The peer, its public losses, our rows, and why a name has none: what is no loss does
# not count, what is pending does.
PEERS = [
    ("optax.losses", public(optax.losses, everything), test_optax.ROWS, {}, {}),
    (
        "torch.nn.functional",
        public(torch.nn.functional, named_for_a_loss),
        test_torch.ROWS,
        {},
        test_torch.PENDING,
    ),
    (
        "torch.nn",
        public(torch.nn, torch_class),
        test_torch.ROWS,
        {"NLLLoss2d": "the deprecated name of NLLLoss"},
        test_torch.PENDING,
    ),
    (
        "keras.losses functions",
        public(keras.losses, keras_function),
        test_keras.ROWS,
        KERAS_MACHINERY,
        {},
    ),
    (
        "keras.losses classes",
        public(keras.losses, keras_class),
        test_keras.ROWS,
        KERAS_MACHINERY,
        {},
    ),
    ("keras.ops", public(keras.ops, named_for_a_loss), test_keras.OPS, {}, {}),
    (
        "tf.nn",
        {name for name in dir(tf.nn) if named_for_a_loss(name, None)},
        test_tensorflow.NN,
        test_tensorflow.NOT_LOSSES,
        {},
    ),
    (
        "tf.compat.v1.losses",
        {name for name in dir(tf.compat.v1.losses) if not name.startswith("_")},
        test_tensorflow.V1,
        test_tensorflow.NOT_LOSSES,
        {},
    ),
]


@pytest.mark.parametrize(
    ("peer", "names", "rows", "not_losses", "pending"),
    PEERS,
    ids=[peer for peer, *_ in PEERS],
)
def test_every_public_loss_has_a_row_or_a_reason(
    peer, names, rows, not_losses, pending, capsys
):
    wanted = names - not_losses.keys()
    covered = wanted & {row.covers for row in rows}
    reasons = {name: pending[name] for name in sorted(wanted & pending.keys())}
    with capsys.disabled():
        missing = "".join(f"; {name}: {why}" for name, why in reasons.items())
        print(f"\n{peer} {len(covered)}/{len(wanted)}{missing}")
    assert wanted == covered | reasons.keys()
    assert not covered & reasons.keys(), "what has a row is no longer pending"


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (public(optax.losses, everything), test_optax.ROWS),
        (set(dir(torch.nn.functional)) | set(dir(torch.nn)), test_torch.ROWS),
        (set(dir(keras.losses)), test_keras.ROWS),
        (set(dir(keras.ops)), test_keras.OPS),
        (set(dir(tf.nn)), test_tensorflow.NN),
        (set(dir(tf.compat.v1.losses)), test_tensorflow.V1),
    ],
    ids=["optax", "torch", "keras", "keras.ops", "tf.nn", "tf.compat.v1"],
)
def test_every_row_has_a_public_name_and_is_there_once(names, rows):
    assert {row.covers for row in rows} <= names
    assert len({row.name for row in rows}) == len(rows)
