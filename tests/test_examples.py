"""Every example runs as it stands and reaches the assertion at its end."""

import runpy
import struct
from pathlib import Path

import jax
import numpy as np
import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


def run(path):
    # Examples are written for JAX as users have it, not for the strict tests.
    with (
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
    ):
        return runpy.run_path(str(path), run_name="__main__")


def events(directory):
    """What a TensorBoard log holds: a value for each tag and step."""
    from tensorboardX.crc32c import crc32c
    from tensorboardX.proto import event_pb2

    def checked(data, masked):
        check = crc32c(data)
        return (((check >> 15) | (check << 17)) + 0xA282EAD8) & 0xFFFFFFFF == masked

    found = {}
    for path in directory.glob("events.out.tfevents.*"):
        data = path.read_bytes()
        while data:
            length, check = struct.unpack("<QI", data[:12])
            assert checked(data[:8], check)
            body, data = data[12 : 12 + length], data[12 + length :]
            assert checked(body, struct.unpack("<I", data[:4])[0])
            data = data[4:]
            event = event_pb2.Event.FromString(body)  # pyright: ignore[reportAttributeAccessIssue] (protobuf makes it at import)
            for value in event.summary.value:
                found[value.tag, event.step] = value
    return found


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_reaches_its_end(path, monkeypatch):
    # Processes that it starts find the jaxloss that is tested.
    monkeypatch.setenv("PYTHONPATH", str(path.parents[1]))
    names = run(path)
    if path.stem == "monitoring":
        logged_what_the_ledger_sums_up(names)


def logged_what_the_ledger_sums_up(names):
    found = events(names["OUT"])
    epochs = range(names["EPOCHS"])

    def scalar(tag):
        return np.array([found[tag, epoch].simple_value for epoch in epochs])

    never, learnt = scalar("examples/never_learnt"), scalar("examples/learnt")
    assert (np.diff(never) <= 0).all() and (never + learnt <= 1).all()
    assert learnt[-1] > learnt[0]
    quantiles = [scalar(f"loss/quantile_{q}") for q in (0.05, 0.25, 0.5, 0.75, 0.95)]
    assert (np.diff(quantiles, axis=0) >= 0).all()
    for epoch in epochs:
        histogram = found["loss", epoch].histo
        assert sum(histogram.bucket) == histogram.num > 1700
        assert len(histogram.bucket) == len(histogram.bucket_limit)
        table = found["largest losses/text_summary", epoch].tensor.string_val[0]
        assert table.count(b"\n") == 11  # the heads, and ten examples
