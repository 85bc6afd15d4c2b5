"""Writing and joining records: what is kept, what is not, and what it costs."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import ledger

EXAMPLES, CLASSES, ROWS = 6, 3, 8


def write(records, rows):
    """Writes at most 8 rows, given as one dict each; the rest of the batch is padding.

    One shape of batch for all tests: the update compiles once.
    """
    rows = list(rows)
    room = ROWS - len(rows)

    def column(name, value, dtype):
        values = [row.get(name, value) for row in rows] + [value] * room
        return jnp.asarray(np.array(values, dtype))

    return ledger.update(
        records,
        column("index", 0, np.int32),
        losses=column("loss", np.nan, np.float32),
        margins=column("margin", np.nan, np.float32),
        label_probabilities=column("probability", np.nan, np.float32),
        correct=column("correct", False, bool),
        probabilities=column("probabilities", [np.nan] * CLASSES, np.float32),
        where=column("where", True, bool) & (jnp.arange(ROWS) < len(rows)),
    )


def new():
    return ledger.init(EXAMPLES, CLASSES)


def equal(one, other, rtol=0.0, atol=0.0):
    """Counts to the last bit, the other numbers as near as said."""

    def compare(a, b):
        assert a.dtype == b.dtype
        if a.dtype == jnp.float32:
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)
        else:
            np.testing.assert_array_equal(a, b)

    jax.tree.map(compare, one, other)


def drawn(rng, count):
    """Rows as trainings have them, and as they should not have them."""
    rows = []
    for _ in range(count):
        odd = (rng.random(3) < 0.1).tolist()
        rows.append(
            {
                "index": int(rng.integers(-2, EXAMPLES + 2)),
                "loss": [rng.normal(5), np.inf][odd[0]],
                "margin": [rng.uniform(-1, 1), np.nan][odd[1]],
                "probability": rng.random(),
                "correct": bool(rng.random() < 0.5),
                "probabilities": [rng.random(), rng.random(), [0.2, np.nan][odd[2]]],
                "where": bool(rng.random() < 0.9),
            }
        )
    return rows


def written(rows, sizes=None):
    """The records of all rows, in batches of random or given sizes."""
    records, start = new(), 0
    for size in sizes or [ROWS] * (-(-len(rows) // ROWS)):
        records = write(records, rows[start : start + size])
        start += size
    return records


def history(rows):
    """The same in plain Python and float64: every row of every example, in order."""
    real = [row for row in rows if row["where"]]
    known = [row for row in real if 0 <= row["index"] < EXAMPLES]
    of = [[row for row in known if row["index"] == i] for i in range(EXAMPLES)]

    def finite(name):
        values = [[np.float32(row[name]) for row in own] for own in of]
        return [np.array([v for v in own if np.isfinite(v)], float) for own in values]

    def moments(name):
        return {
            "times": [len(v) for v in finite(name)],
            "mean": [v.mean() if len(v) else 0 for v in finite(name)],
            "squares": [((v - v.mean()) ** 2).sum() if len(v) else 0
                        for v in finite(name)],
            "last": [v[-1] if len(v) else np.nan for v in finite(name)],
        }  # fmt: skip

    correct = [[row["correct"] for row in own] for own in of]
    classes = [np.array([row["probabilities"] for row in own]) for own in of]
    classes = [
        c[np.isfinite(c).all(1)] if len(c) else np.zeros((0, 3)) for c in classes
    ]
    return {
        "loss": moments("loss"),
        "margin": moments("margin"),
        "label_probability": moments("probability"),
        "non_finite": [sum(not np.isfinite(row["loss"]) for row in own) for own in of],
        "judged": [len(c) for c in correct],
        "correct": [sum(c) for c in correct],
        "learnt": [bool(c and c[-1]) for c in correct],
        "first_learnt": [c.index(True) if True in c else -1 for c in correct],
        "forgotten": [
            sum(a and not b for a, b in zip(c, c[1:], strict=False)) for c in correct
        ],
        "class_count": [len(c) for c in classes],
        "class_mean": [c.mean(0) if len(c) else np.zeros(3) for c in classes],
        "out_of_range": len(real) - len(known),
    }


def as_history(records):
    return {
        name: part._asdict() if isinstance(part, ledger.Moments) else part
        for name, part in records._asdict().items()
    }


@pytest.mark.parametrize("seed", range(3))
def test_the_records_are_those_of_the_rows_one_after_another(seed):
    rng = np.random.default_rng(seed)
    rows = drawn(rng, 60)
    sizes = rng.integers(0, ROWS + 1, 60)
    sizes = [*sizes[np.cumsum(sizes) <= 60], *[1] * 8]
    want = history(rows[: sum(sizes)])
    got = as_history(written(rows, sizes))
    assert got.keys() == want.keys()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, np.array(b), rtol=1e-5, atol=1e-6),
        got,
        want,
        is_leaf=lambda leaf: isinstance(leaf, list),
    )


@pytest.mark.parametrize("seed", range(4))
def test_two_times_merged_are_as_one(seed):
    rows = drawn(np.random.default_rng(seed), 40)
    cut = [0, 8, 16, 40][seed]
    merged = ledger.merge(written(rows[:cut]), written(rows[cut:]))
    equal(merged, written(rows), rtol=1e-5, atol=1e-6)


def test_by_hand():
    records = new()
    for losses, margins, correct in [
        ([1.0, 4.0], [0.5, -0.5], [True, False]),
        ([3.0, 2.0], [0.1, 0.3], [False, True]),
        ([2.0, 2.0], [0.3, 0.5], [True, True]),
        ([2.0, 2.0], [0.3, 0.5], [False, True]),
    ]:
        rows = zip([2, 0], losses, margins, correct, strict=True)
        records = write(
            records,
            [{"index": i, "loss": x, "margin": m, "correct": c} for i, x, m, c in rows],
        )
    nothing = [np.nan] * 3

    def same(got, first, third):
        np.testing.assert_allclose(got, [first, np.nan, third, *nothing], rtol=1e-5)

    np.testing.assert_array_equal(records.seen, [4, 0, 4, 0, 0, 0])
    same(ledger.loss_mean(records), 2.5, 2.0)
    same(ledger.loss_variance(records), 0.75, 0.5)
    same(ledger.margin_mean(records), 0.2, 0.3)
    same(ledger.margin_variance(records), 0.17, 0.02)
    same(ledger.correctness(records), 0.75, 0.5)
    same(records.last_loss, 2.0, 2.0)
    np.testing.assert_array_equal(records.correct, [3, 0, 2, 0, 0, 0])
    np.testing.assert_array_equal(records.forgotten, [0, 0, 2, 0, 0, 0])
    np.testing.assert_array_equal(records.first_learnt, [1, -1, 0, -1, -1, -1])
    np.testing.assert_allclose(records.loss_sum[0], 10)
    np.testing.assert_allclose(records.loss_squares[0], 28)
    np.testing.assert_allclose(records.margin_sum[0], 0.8, rtol=1e-6)
    np.testing.assert_allclose(records.margin_squares[0], 0.84, rtol=1e-6)
    np.testing.assert_array_equal(records.margin_count, records.seen)


def test_class_and_label_probabilities():
    records = write(new(), [{"probabilities": [0.7, 0.2, 0.1], "probability": 0.7}])
    records = write(records, [{"probabilities": [0.5, 0.4, 0.1], "probability": 0.5}])
    got = ledger.class_probabilities(records)
    np.testing.assert_allclose(got[0], [0.6, 0.3, 0.1], rtol=1e-6)
    assert jnp.isnan(got[1:]).all()
    np.testing.assert_allclose(ledger.label_probability_mean(records)[0], 0.6)
    got = ledger.label_probability_variance(records)
    np.testing.assert_allclose(got[0], 0.01, rtol=1e-5)
    assert jnp.isnan(got[1:]).all()
    with pytest.raises(ValueError, match="`ledger` must keep class probabilities"):
        ledger.class_probabilities(ledger.init(3))


def test_padding_changes_nothing():
    rows = [{"index": 1, "loss": 1.0}]
    padding = [
        {"loss": np.nan, "margin": 0.1, "correct": True, "where": False},
        {"loss": 7.0, "index": 9, "where": False},
    ]
    equal(write(new(), rows + padding), write(new(), rows))
    equal(write(new(), padding), new())


def test_an_index_out_of_range_is_counted_and_written_nowhere():
    rows = [{"index": i, "loss": 1.0, "correct": True} for i in (-1, 6, 2, 100, -100)]
    rows[-1]["where"] = False
    got = write(new(), rows)
    assert got.out_of_range == 3
    equal(got._replace(out_of_range=jnp.zeros((), jnp.int32)), write(new(), rows[2:3]))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint32])
def test_any_kind_of_integer_is_an_index(dtype):
    index, losses = np.array([0, 100], dtype), jnp.ones(2)
    got = ledger.update(ledger.init(300), index, losses=losses)
    assert got.seen[100] == 1 and got.out_of_range == 0


def test_what_is_not_finite_spoils_nothing():
    records = new()
    for loss, margin in [(1.0, 0.5), (np.nan, np.inf), (np.inf, 0.5), (3.0, 0.2)]:
        records = write(records, [{"loss": loss, "margin": margin}])
    assert records.non_finite[0] == 2
    assert ledger.loss_mean(records)[0] == 2
    assert ledger.loss_variance(records)[0] == 1
    np.testing.assert_allclose(ledger.margin_mean(records)[0], 0.4, rtol=1e-6)
    records = write(records, [{"loss": np.nan}])
    assert records.last_loss[0] == 3


def test_losses_too_large_to_square_spoil_only_the_variance():
    records = write(new(), [{"loss": 1e30}, {"index": 1, "loss": 1.0}])
    assert ledger.loss_variance(records)[0] == 0
    records = write(records, [{"loss": -1e30}])
    np.testing.assert_allclose(ledger.loss_mean(records)[:2], [0, 1])
    np.testing.assert_array_equal(ledger.loss_variance(records)[:2], [np.inf, 0])


def test_any_order_of_an_epoch_gives_the_same_to_the_last_bit():
    rng = np.random.default_rng(0)
    rows = drawn(rng, EXAMPLES)
    for i, row in enumerate(rows):
        row["index"] = i
    shuffled = [rows[i] for i in rng.permutation(EXAMPLES)]
    equal(written(rows), written(shuffled, [1, 3, 2]))


def test_an_empty_batch_changes_nothing():
    got = ledger.update(
        ledger.init(2),
        jnp.zeros(0, int),
        losses=jnp.zeros(0),
        correct=jnp.zeros(0, bool),
    )
    equal(got, ledger.init(2))


def test_a_small_variance_of_large_losses_is_not_lost():
    values = 1000 + 0.01 * np.random.default_rng(0).standard_normal((1000, 64))
    values = values.astype(np.float32)

    @jax.jit
    def run(values):
        index = jnp.arange(64)

        def step(records, losses):
            return ledger.update(records, index, losses=losses), None

        return jax.lax.scan(step, ledger.init(64), values)[0]

    records = run(values)
    want = values.astype(float)
    np.testing.assert_allclose(ledger.loss_variance(records), want.var(0), rtol=0.02)
    np.testing.assert_allclose(ledger.loss_mean(records), want.mean(0), rtol=2e-6)
    halves = ledger.merge(run(values[:500]), run(values[500:]))
    np.testing.assert_allclose(ledger.loss_variance(halves), want.var(0), rtol=0.02)


def test_a_ledger_that_grows_keeps_what_it_knows():
    rows = drawn(np.random.default_rng(0), 24)
    records = written(rows)
    grown = ledger.grow(records, 10)
    equal(jax.tree.map(lambda a: a[:6] if a.ndim else a, grown), records)
    fresh = ledger.init(4, CLASSES)
    new_part = jax.tree.map(lambda a: a[6:] if a.ndim else a, grown)
    equal(new_part._replace(out_of_range=fresh.out_of_range), fresh)
    equal(ledger.grow(ledger.init(0), 3), ledger.init(3))
    with pytest.raises(ValueError, match="`num_examples` must be at least 6"):
        ledger.grow(records, 5)


def test_ledgers_of_different_datasets_do_not_merge():
    with pytest.raises(ValueError, match="6 examples and 3 classes, got 7 .* no class"):
        ledger.merge(new(), ledger.init(7))
    with pytest.raises(ValueError, match="`later` must have"):
        ledger.merge(new(), ledger.init(EXAMPLES))


def compiled(num_examples, num_classes, batch=4096):
    def step(records, index, losses, correct, probabilities):
        return ledger.update(
            records,
            index,
            losses=losses,
            margins=losses,
            label_probabilities=losses,
            correct=correct,
            probabilities=probabilities,
        )

    shape = functools.partial(jax.ShapeDtypeStruct, (batch,))
    return (
        jax.jit(step, donate_argnums=0)
        .lower(
            jax.eval_shape(lambda: ledger.init(num_examples, num_classes)),
            shape(jnp.int32),
            shape(jnp.float32),
            shape(jnp.bool_),
            jax.ShapeDtypeStruct((batch, num_classes), jnp.float32),
        )
        .compile()
    )


def test_the_ledger_takes_the_bytes_it_says():
    def size(*arguments):
        tree = jax.eval_shape(lambda: ledger.init(*arguments))
        return sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(tree))

    assert size(10_000_000) == 69 * 10_000_000 + 4
    assert size(1000, 10) == (69 + 4 * 11) * 1000 + 4


def test_a_donated_update_copies_nothing_however_large_the_ledger():
    temporary = []
    for num_examples in (10_000, 10_000_000):
        memory = compiled(num_examples, 10).memory_analysis()
        assert memory is not None
        temporary.append(memory.temp_size_in_bytes)
        records = 113 * num_examples + 4  # every buffer in it is written in place
        assert records <= memory.alias_size_in_bytes <= records + 8192
    assert temporary[0] == temporary[1] < 2**21


SHARDED = """
import jax, jax.numpy as jnp, numpy as np, re
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from jaxloss import ledger

jax.config.update("jax_numpy_dtype_promotion", "strict")
rng = np.random.default_rng(0)
index = jnp.asarray(rng.integers(-2, 1026, (2, 64)), jnp.int32)
columns = {
    "losses": jnp.asarray(rng.normal(size=(2, 64)), jnp.float32),
    "margins": jnp.asarray(rng.normal(size=(2, 64)), jnp.float32),
    "correct": jnp.asarray(rng.random((2, 64)) < 0.5),
    "probabilities": jnp.asarray(rng.random((2, 64, 5)), jnp.float32),
}

def both(records):
    for i in range(2):
        batch = {name: values[i] for name, values in columns.items()}
        records = step(records, index[i], batch)
    return records

step = jax.jit(
    lambda records, index, batch: ledger.update(records, index, **batch),
    donate_argnums=0,
)
join = jax.jit(lambda one: ledger.merge(one, ledger.grow(one, 1024)))
want = both(ledger.init(1024, 5))
summary = ledger.summary(want, weights=want.loss.squares)
for kind in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((8,), ("examples",), axis_types=(kind,))
    parts, whole = NamedSharding(mesh, P("examples")), NamedSharding(mesh, P())
    spread = lambda a: jax.device_put(a, parts if a.ndim else whole)
    records = jax.tree.map(spread, ledger.init(1024, 5))

    batch = {name: values[0] for name, values in columns.items()}
    program = step.lower(records, index[0], batch).compile()
    assert "all-gather" not in program.as_text()
    assert program.memory_analysis().temp_size_in_bytes < 65536

    records = both(records)
    for array in jax.tree.leaves((records, join(records))):
        layout = parts if array.ndim else whole
        assert array.sharding.is_equivalent_to(layout, array.ndim)
    jax.tree.map(np.testing.assert_array_equal, records, want)
    np.testing.assert_array_equal(join(records).seen, 2 * want.seen)
    found = ledger.summary(records, weights=records.loss.squares)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, summary)
"""


def test_a_ledger_sharded_over_examples_stays_so_and_says_the_same():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env=os.environ | flags,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("kind", "keywords", "message"),
    [
        (ValueError, {"losses": jnp.ones((2, 1))}, "`losses` must have the shape"),
        (ValueError, {"losses": jnp.ones(2), "margins": jnp.ones(3)}, "`margins` must"),
        (TypeError, {"losses": jnp.ones(2), "correct": jnp.ones(2)}, "must be boolean"),
        (TypeError, {"losses": jnp.ones(2), "where": jnp.ones(2)}, "must be boolean"),
        (
            ValueError,
            {"losses": jnp.ones(2), "probabilities": jnp.ones((2, 4))},
            r"`probabilities` must have shape \(2, 3\), got \(2, 4\)",
        ),
    ],
)
def test_bad_columns_are_refused(kind, keywords, message):
    with pytest.raises(kind, match=message):
        ledger.update(new(), jnp.array([0, 1]), **keywords)


def test_probabilities_need_a_ledger_that_keeps_them():
    probabilities = jnp.ones((1, 3))
    with pytest.raises(ValueError, match="Give `num_classes` to `ledger.init`"):
        ledger.update(
            ledger.init(3),
            jnp.array([0]),
            losses=jnp.ones(1),
            probabilities=probabilities,
        )


def test_a_bad_index_is_refused():
    with pytest.raises(TypeError, match="`index` must be integers"):
        ledger.update(ledger.init(3), jnp.ones(2), losses=jnp.ones(2))
    with pytest.raises(ValueError, match="`index` must be integers"):
        ledger.update(ledger.init(3), jnp.ones((2, 1), int), losses=jnp.ones((2, 1)))
    with pytest.raises(ValueError, match="`num_examples` must be a whole number"):
        ledger.init(-1)
    with pytest.raises(ValueError, match="`num_classes` must be a whole number"):
        ledger.init(1, -1)
