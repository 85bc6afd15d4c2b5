"""What the benchmarks make of their samples, and what they run on."""

import json
import os
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from benchmarks import (
    devices,
    environment,
    losses_page,
    plots,
    ratios,
    readme,
    stopwatch,
)

MACHINE = {
    "device": "cpu",
    "platform": "cpu",
    "cores": 2,
    "python": "3.11",
    "versions": {"jax": "1"},
    "commit": "abc",
}


def case(ours, others, *, loss="squared_error", shape=(4096, 256), mode="value"):
    return {
        "loss": loss,
        "work": "polynomial",
        "shape": shape,
        "dtype": "float32",
        "mode": mode,
        "ms": {ratios.OURS: ours} | others,
        "first_ms": {ratios.OURS: 100.0},
        "left_out": {},
    }


def bars(axes):
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def page(*cases, by_batch=(), long=(), memory=(), **about):
    results = {"about": MACHINE | about, "cases": list(cases), "by_batch": by_batch}
    return losses_page.table(results | {"long": list(long), "memory": list(memory)})


def test_a_ratio_is_that_of_medians_to_the_best_peer():
    found = case([2.0, 1.0, 9.0], {"PyTorch": [3.0, 5.0, 4.0], ratios.OPTAX: [7.0] * 3})
    assert ratios.best_over_ours(found) == 4.0 / 2.0
    assert ratios.best_over_ours(found, [ratios.OPTAX]) == 7.0 / 2.0


def test_keras_and_a_plain_read_are_no_peers():
    quick = {ratios.KERAS: [0.1], ratios.READ: [0.1]}
    assert ratios.best_over_ours(case([1.0], {"PyTorch": [3.0]} | quick)) == 3.0
    alone = case([1.0], quick)
    assert ratios.best_over_ours(alone) is None
    assert ratios.all_over_ours([alone]) == []
    assert ratios.share_of_read(alone) == 0.1


def test_odd_and_even_rounds_are_told_apart():
    found = case([1.0] * 4, {"PyTorch": [2.0, 3.0, 2.0, 3.0]})
    assert ratios.best_over_ours(found, rounds=ratios.ODD) == 2.0
    assert ratios.best_over_ours(found, rounds=ratios.EVEN) == 3.0
    assert "50.0% apart, at most 5%: **does not hold**" in page(found)
    same = case([1.0] * 4, {"PyTorch": [2.0] * 4})
    assert "0.0% apart, at most 5%: holds" in page(same)


@pytest.mark.parametrize(
    ("peer", "mean", "lowest"),
    [(1.1, "holds", "holds"), (1.0, "**does not hold**", "holds")]
    + [(0.6, "**does not hold**", "**does not hold**")],
)
def test_a_claim_holds_from_its_bound_on(peer, mean, lowest):
    text = page(case([1.0] * 2, {"PyTorch": [peer] * 2}))
    assert f"geometric mean {peer:.2f}, at least 1.1: {mean}." in text
    where = "squared_error, 4096 x 256, value"
    assert f"lowest {peer:.2f} ({where}), at least 0.7: {lowest};" in text


def test_the_claim_of_small_shapes_is_about_each_case():
    cases = [
        case([1.0], {ratios.OPTAX: [peer]}, shape=ratios.SMALL, mode=mode)
        for mode, peer in (("value", 2.0), ("value and gradient", 0.8))
    ]
    text = page(*cases)
    assert "Small shapes, optax jitted, over ours: geometric mean 1.26" in text
    assert "lowest 0.80 (squared_error, 128 x 16, value and gradient)" in text
    assert "at least 0.9: **does not hold**; 1 of 2 cases lost." in text


def test_the_share_of_a_plain_read_is_claimed_of_values_by_the_lowest():
    text = page(
        case([10.0], {"PyTorch": [10.0], ratios.READ: [9.0]}, loss="a"),
        case([10.0], {"PyTorch": [10.0], ratios.READ: [7.0]}, loss="b"),
        case([10.0], {ratios.READ: [1.0]}, loss="c", mode="value and gradient"),
    )
    claim = (
        "lowest 70% (b, 4096 x 256, value), at least 80%: **does not hold**. Of a, b."
    )
    assert claim in text
    assert "| 1 (1) | 10% |" in text  # the third is in the table all the same


def test_the_share_is_claimed_from_memory_where_that_is_timed():
    near = case([10.0], {"PyTorch": [10.0], ratios.READ: [3.0]}, loss="a")
    far = [
        case([10.0], {ratios.READ: [read]}, loss=loss, shape=(131072, 1024))
        for loss, read in (("a", 9.0), ("b", 8.5))
    ]
    text = page(near, memory=far)
    claim = (
        "values from memory: lowest 85% (b, 131072 x 1024, value), at least 80%: "
        "holds. At large shapes, which a cache may hold and of which nothing is "
        "claimed, lowest 30% (a, 4096 x 256, value). Of a, b."
    )
    assert claim in text
    assert "| b | 131072 x 1024 | 10 (10) | 8.5 (8.5) | 85% |" in text
    assert "512 bits" not in text
    for found, ours in zip(far, (9.0, 12.0), strict=True):
        found["ms"][ratios.OURS_512] = [ours]
    text = page(near, memory=far)
    assert "With vectors of 512 bits lowest 71% (b, 131072 x 1024, value). At" in text
    assert "| b | 131072 x 1024 | 10 (10) | 12 (12) | 8.5 (8.5) | 85% | 71% |" in text


def test_the_page_says_who_is_left_out_and_why():
    found = case([1.0], {"PyTorch": [1.0]})
    found["left_out"] = {"tf.function": "TypeError: no bfloat16"}
    text = page(found, left_out={"Keras": "its backend is torch, not tensorflow"})
    assert "Keras is left out: its backend is torch, not tensorflow." in text
    assert "- tf.function, squared_error, float32, value: TypeError" in text


def test_the_claim_is_about_those_who_took_part():
    found = case([1.0], {"PyTorch": [1.0]})
    assert "best of five peers, over ours" in page(found)
    assert "best of five peers, over ours" in page(found, left_out={"Keras": "no"})
    text = page(found, left_out={"TensorFlow": "it sees no GPU"})
    assert "best of the peers that took part, over ours" in text
    assert "five" not in text.partition("## What is claimed")[2]


def test_the_page_tells_where_jax_computed():
    found = case([1.0], {"PyTorch": [1.0]})
    assert "JAX computes within the call" not in page(found)
    assert "JAX computes within the call" not in page(found, async_dispatch=True)
    assert "JAX computes within the call" in page(found, async_dispatch=False)
    on_gpu = page(found, async_dispatch=False, platform="gpu")
    assert "JAX computes within the call" not in on_gpu


def test_the_page_tells_of_the_allocator_only_what_was_set():
    found = case([1.0], {"PyTorch": [1.0]})
    assert "GLIBC_TUNABLES" not in page(found)
    assert "stay with the process" in page(found, GLIBC_TUNABLES=environment.ALLOCATOR)
    other = page(found, GLIBC_TUNABLES="glibc.malloc.check=1")
    assert "`GLIBC_TUNABLES=glibc.malloc.check=1`." in other


def test_first_calls_are_in_no_other_figure():
    text = page(case([1.0], {"PyTorch": [1.0]}))
    assert "| jaxloss | 1 | 100 | 100 |" in text
    assert "100 (" not in text


def test_what_is_kept_becomes_a_page_and_its_pictures():
    results = json.loads((readme.RESULTS / "losses.json").read_text())
    text = losses_page.table(results)
    for found in results["cases"]:
        assert f"| {found['loss']} | {' x '.join(map(str, found['shape']))} |" in text
    for draw in (plots.to_best, plots.to_each):
        assert draw(results).axes


def test_long_examples_are_shown_and_in_no_claim():
    own, slow = case([1.0], {"PyTorch": [2.0]}), case([1.0], {"PyTorch": [8.0]})
    slow["shape"] = (256, 50176)
    text = page(own, long=[slow])
    claims, rest = text.split("## float32")
    assert "geometric mean 2.00" in claims and "256 x 50176" not in claims
    assert "geometric mean 8.00" in rest and "256 x 50176" in rest


def test_the_page_tells_who_is_not_in_the_sweep_of_batches():
    found = case([1.0], {"PyTorch": [1.0]})
    assert "Without torch.compile" in page(found, by_batch=[found])
    swept = case([1.0], {"torch.compile": [1.0]})
    assert "Without torch.compile" not in page(found, by_batch=[swept])


def test_every_picture_is_drawn_from_what_is_timed():
    found = case([2.0], {"PyTorch": [4.0], ratios.READ: [1.0]}, shape=(16384, 1024))
    swept = [case([1.0], {"PyTorch": [2.0]}, shape=(size, 256)) for size in (16, 64)]
    results = {"about": MACHINE, "cases": [found], "by_batch": swept}
    (share,) = plots.roofline(results).axes
    assert max(bar.get_width() for bar in bars(share)) == 50.0
    far = case([2.0], {ratios.OURS_512: [1.6], ratios.READ: [1.2]})
    (share,) = plots.roofline(results | {"memory": [far]}).axes
    np.testing.assert_allclose([bar.get_width() for bar in bars(share)], [60.0, 75.0])
    (time,) = plots.by_batch(results).axes
    assert [np.asarray(line.get_ydata()).tolist() for line in time.lines] == [
        [1.0, 1.0],
        [2.0, 2.0],
    ]
    (best,) = plots.to_best(results).axes
    assert bars(best)[0].get_x() + bars(best)[0].get_width() == 2.0
    each = dict(zip(ratios.PEERS, plots.to_each(results).axes, strict=False))
    assert bars(each["PyTorch"]) and not bars(each[ratios.OPTAX])


def test_the_readme_is_about_float32_of_medium_and_large_shapes():
    own = case([1.0], {"PyTorch": [2.0]})
    others = [
        own | {"dtype": "bfloat16", "ms": {ratios.OURS: [1.0], "PyTorch": [9.0]}},
        case([1.0], {"PyTorch": [9.0]}, shape=ratios.SMALL),
    ]
    names = ("jax", "optax", "torch", "tensorflow")
    about = MACHINE | {"versions": dict.fromkeys(names, "1")}
    text = readme.section({"about": about, "cases": [own, *others]})
    assert text == readme.section({"about": about, "cases": [own]})
    assert "| `squared_error` | 2.00 |  |  |  |" in text


def test_contestants_of_a_race_take_turns():
    turns = []
    contestants = {name: lambda name=name: turns.append(name) for name in "ab"}
    samples = stopwatch.race(contestants, rounds=3)
    assert {name: len(taken) for name, taken in samples.items()} == {"a": 3, "b": 3}
    # Both find out how many calls last a few milliseconds before the first round.
    blocks = [a for a, b in zip(turns, [*turns[1:], None], strict=True) if a != b]
    assert "".join(blocks) == "ab" + 3 * "ab"


def test_each_round_takes_the_next_field():
    turns = []
    fields = [{"a": lambda place=place: turns.append(place)} for place in range(3)]
    assert len(stopwatch.race(*fields, rounds=4)["a"]) == 4
    blocks = [a for a, b in zip(turns, [*turns[1:], None], strict=True) if a != b]
    assert blocks == [0, 1, 2, 0]


def test_what_another_left_behind_is_not_timed(monkeypatch):
    now, since = [0.0], []
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])

    def slow():
        now[0] += 0.05
        since.clear()

    def fast():
        now[0] += 0.005 if len(since) < 3 else 0.001  # cold, then warm
        since.append(now[0])

    samples = stopwatch.race({"slow": slow, "fast": fast}, rounds=2)
    np.testing.assert_allclose(samples["slow"], 2 * [50.0])
    np.testing.assert_allclose(samples["fast"], 2 * [1.0])


@pytest.fixture
def call_of(monkeypatch):
    """A call that takes so many seconds of a clock, and the list of its calls."""
    now = [0.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])

    def made(seconds):
        calls = []

        def run():
            now[0] += seconds
            calls.append(now[0])

        return run, calls

    return made


def test_a_block_and_a_warm_up_last_as_long_as_is_asked_for(call_of):
    run, calls = call_of(0.004)
    stopwatch.race({"a": run}, rounds=1)
    assert len(calls) == 2 + 5 + 1  # to count, to warm up, and the block
    calls.clear()
    stopwatch.race({"a": run}, rounds=1, block=0.012, warm_up=0.005)
    assert len(calls) == 2 + 2 + 3


def test_what_takes_twenty_warm_ups_has_none_before_it(call_of):
    run, calls = call_of(0.5)
    assert stopwatch.race({"a": run}, rounds=3) == {"a": 3 * [500.0]}
    assert len(calls) == 1 + 3


def test_the_program_starts_once_more_with_what_all_have_in_common(monkeypatch):
    started = []
    monkeypatch.setattr(os, "environ", {"OMP_WAIT_POLICY": "active"})
    monkeypatch.setattr(os, "execve", lambda *call: started.append(call))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "benchmarks", "step"])
    environment.prepare("cpu")
    ((program, arguments, variables),) = started
    assert program == arguments[0] == sys.executable
    assert arguments[1:] == ["-m", "benchmarks", "step"]
    assert variables["GLIBC_TUNABLES"] == environment.ALLOCATOR
    assert variables["JAX_PLATFORMS"] == "cpu"
    assert variables["OMP_WAIT_POLICY"] == "active"  # what is set stays
    environment.prepare("cpu")
    assert len(started) == 1


def test_an_accelerator_is_left_to_jax(monkeypatch):
    monkeypatch.setattr(os, "environ", {"GLIBC_TUNABLES": ""})
    environment.prepare("gpu")
    environment.prepare(None)
    assert "JAX_PLATFORMS" not in os.environ


def test_another_device_than_wanted_is_an_error(monkeypatch):
    monkeypatch.setattr(devices, "kind", lambda: "cpu")
    devices.check("cpu")
    devices.check(None)
    with pytest.raises(SystemExit, match="--device gpu: JAX has found a cpu"):
        devices.check("gpu")


@pytest.mark.parametrize(
    ("kind", "seen", "torch", "tensorflow", "reasons"),
    [
        ("cpu", True, "cpu", "/CPU:0", {}),
        ("gpu", True, "cuda", "/GPU:0", {}),
        (
            "gpu",
            False,
            None,
            None,
            {
                "PyTorch": "torch.cuda sees no GPU",
                "TensorFlow": "tf.config.list_physical_devices sees no GPU",
            },
        ),
        (
            "tpu",
            True,
            None,
            None,
            dict.fromkeys(("PyTorch", "TensorFlow"), "it is not used on a TPU here"),
        ),
    ],
)
def test_peers_take_part_on_the_same_kind_of_device_alone(
    monkeypatch, kind, seen, torch, tensorflow, reasons
):
    hidden = []
    gpus = ["GPU:0"] if seen else []
    config = SimpleNamespace(
        list_physical_devices=lambda _: gpus,
        set_visible_devices=lambda *call: hidden.append(call),
    )
    cuda = SimpleNamespace(is_available=lambda: seen)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(config=config))
    monkeypatch.setattr(devices, "kind", lambda: kind)
    for ask in (devices.of_torch, devices.of_tensorflow):
        ask.cache_clear()
    try:
        assert (devices.of_torch(), devices.of_tensorflow()) == (torch, tensorflow)
        assert devices.left_out() == reasons
        assert hidden == ([] if kind == "gpu" else [([], "GPU")])
    finally:
        for ask in (devices.of_torch, devices.of_tensorflow):
            ask.cache_clear()


def test_the_readme_is_written_again_as_it_stands(tmp_path, monkeypatch):
    text = readme.README.read_text()
    shutil.copy(readme.README, tmp_path)
    shutil.copy(readme.RESULTS / "losses.json", tmp_path)
    monkeypatch.setattr(readme, "README", tmp_path / "README.md")
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    readme.run()
    assert readme.README.read_text() == text
    assert {"losses.png", "losses.svg"} <= {path.name for path in tmp_path.iterdir()}
