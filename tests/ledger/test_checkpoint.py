"""A ledger on disk: whole after any interruption, and good to go on from."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from jaxloss import ledger


def records(steps, num_classes=None):
    got = ledger.init(5, num_classes)
    for step in range(steps):
        losses = jnp.array([1.0, jnp.nan, 0.5]) * step
        correct = jnp.array([True, False, step % 2 == 0])
        probabilities = jnp.full((3, num_classes), 0.3) if num_classes else None
        got = ledger.update(
            got,
            jnp.array([0, 3, 7]),
            losses=losses,
            correct=correct,
            probabilities=probabilities,
        )
    return got


def same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("num_classes", [None, 4])
def test_what_was_saved_last_comes_back_to_the_last_bit(tmp_path, num_classes):
    for steps in (1, 3):
        ledger.save(tmp_path / "deep" / "ledger", records(steps, num_classes))
    there = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    same(ledger.restore(tmp_path / "deep" / "ledger"), records(3, num_classes))
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == there
    assert len(os.listdir(tmp_path / "deep" / "ledger")) == 1


def test_a_relative_directory_is_meant_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ledger.save("here", records(1))
    same(ledger.restore("here"), records(1))


def test_it_comes_back_in_the_layout_that_is_asked_for(tmp_path):
    ledger.save(tmp_path, records(2, 3))
    mesh = jax.make_mesh((1,), ("examples",))
    parts = NamedSharding(mesh, PartitionSpec("examples"))
    got = ledger.restore(tmp_path, sharding=parts)
    same(got, records(2, 3))
    assert got.class_mean is not None
    assert got.class_mean.sharding == got.seen.sharding == parts
    assert got.out_of_range.sharding == NamedSharding(mesh, PartitionSpec())
    one = SingleDeviceSharding(jax.devices()[0])
    assert ledger.restore(tmp_path, sharding=one).out_of_range.sharding == one


def test_what_is_no_ledger_is_refused(tmp_path):
    import orbax.checkpoint as ocp

    with pytest.raises(FileNotFoundError, match="`directory` must hold a ledger"):
        ledger.restore(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="`directory` must hold a ledger"):
        ledger.restore(tmp_path)
    with ocp.CheckpointManager(tmp_path) as manager:
        manager.save(0, args=ocp.args.StandardSave({"weights": jnp.ones(3)}))
    with pytest.raises(ValueError, match="got none .* What is there has weights"):
        ledger.restore(tmp_path)
    with pytest.raises(ValueError, match="`ledger` must have examples"):
        ledger.save(tmp_path, ledger.init(0))


def test_without_orbax_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(ImportError, match="pip install orbax-checkpoint"):
        ledger.save(tmp_path, records(1))
    with pytest.raises(ImportError, match="pip install orbax-checkpoint"):
        ledger.restore(tmp_path)


def test_a_training_killed_in_the_midst_of_saves_ends_as_if_it_never_was(tmp_path):
    """One process after another trains, is killed while it saves, and is restored."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.ledger.killed_training", tmp_path],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    fates = [line.split() for line in done.stdout.splitlines()]
    # All but the last were killed.
    assert [int(fate) for fate, *_ in fates] == [-signal.SIGKILL] * 2 + [0]
    same(ledger.restore(tmp_path / "killed"), ledger.restore(tmp_path / "whole"))
