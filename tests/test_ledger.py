"""The ledger: what is written, what is not, and what it costs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import ledger


def test_by_hand():
    records = ledger.init(3)
    for losses, margins, correct in [
        ([1.0, 4.0], [0.5, -0.5], [True, False]),
        ([3.0, 2.0], [0.1, 0.3], [False, True]),
        ([2.0, 2.0], [0.3, 0.5], [True, True]),
        ([2.0, 2.0], [0.3, 0.5], [False, True]),
    ]:
        records = ledger.update(
            records,
            jnp.array([2, 0]),
            losses=jnp.array(losses),
            margins=jnp.array(margins),
            correct=jnp.array(correct),
        )
    np.testing.assert_array_equal(records.seen, [4, 0, 4])
    np.testing.assert_allclose(ledger.loss_mean(records), [2.5, np.nan, 2.0])
    np.testing.assert_allclose(ledger.loss_variance(records), [0.75, np.nan, 0.5])
    np.testing.assert_allclose(
        ledger.margin_mean(records), [0.2, np.nan, 0.3], rtol=1e-6
    )
    np.testing.assert_allclose(
        ledger.margin_variance(records), [0.17, np.nan, 0.02], rtol=1e-5
    )
    np.testing.assert_array_equal(records.last_loss, [2.0, np.nan, 2.0])
    np.testing.assert_array_equal(records.correct, [3, 0, 2])
    np.testing.assert_array_equal(records.forgotten, [0, 0, 2])
    np.testing.assert_array_equal(records.learnt, [True, False, False])


def test_padding_changes_nothing():
    index = jnp.array([1, 0, 0])
    where = jnp.array([True, False, False])
    got = ledger.update(
        ledger.init(2), index, losses=jnp.array([1.0, jnp.nan, 7.0]), where=where
    )
    want = ledger.update(ledger.init(2), index[:1], losses=jnp.array([1.0]))
    jax.tree.map(np.testing.assert_array_equal, got, want)


def test_an_index_out_of_range_is_counted_and_written_nowhere():
    index = jnp.array([-1, 3, 2, 100, -100])
    got = ledger.update(
        ledger.init(3),
        index,
        losses=jnp.arange(1.0, 6.0),
        margins=jnp.ones(5),
        correct=jnp.ones(5, bool),
        where=jnp.array([True, True, True, True, False]),
    )
    assert got.out_of_range == 3
    np.testing.assert_array_equal(got.seen, [0, 0, 1])
    np.testing.assert_array_equal(got.loss_sum, [0, 0, 3])
    np.testing.assert_array_equal(got.margin_count, [0, 0, 1])
    np.testing.assert_array_equal(got.correct, [0, 0, 1])


def test_what_is_not_finite_spoils_no_sum():
    records = ledger.init(2)
    for loss, margin in [(1.0, 0.5), (jnp.nan, jnp.inf), (jnp.inf, 0.5), (3.0, 0.2)]:
        records = ledger.update(
            records,
            jnp.array([0]),
            losses=jnp.array([loss]),
            margins=jnp.array([margin]),
        )
    assert records.non_finite[0] == 2
    assert ledger.loss_mean(records)[0] == 2
    np.testing.assert_allclose(ledger.margin_mean(records)[0], 0.4, rtol=1e-6)


def test_an_example_twice_in_a_batch_counts_twice_and_ends_as_its_last_row():
    records = ledger.update(
        ledger.init(3), jnp.array([1]), losses=jnp.zeros(1), correct=jnp.array([True])
    )
    got = ledger.update(
        records,
        jnp.array([1, 2, 1, 2]),
        losses=jnp.array([1.0, 10.0, 2.0, 20.0]),
        correct=jnp.array([True, True, False, True]),
    )
    np.testing.assert_array_equal(got.seen, [0, 3, 2])
    np.testing.assert_array_equal(got.loss_sum, [0, 3, 30])
    np.testing.assert_array_equal(got.last_loss, [np.nan, 2, 20])
    np.testing.assert_array_equal(got.learnt, [False, False, True])
    np.testing.assert_array_equal(got.forgotten, [0, 1, 0])


def test_any_order_and_any_split_of_an_epoch_gives_the_same():
    rng = np.random.default_rng(0)
    index, values = np.arange(20), rng.normal(size=20).astype(np.float32)
    whole = ledger.update(ledger.init(20), index, losses=values)
    order = rng.permutation(20)
    parts = ledger.init(20)
    for part in np.split(order, [3, 11]):
        parts = ledger.update(parts, part, losses=values[part])
    jax.tree.map(np.testing.assert_array_equal, whole, parts)


def test_an_empty_batch_changes_nothing():
    got = ledger.update(
        ledger.init(2),
        jnp.zeros(0, int),
        losses=jnp.zeros(0),
        correct=jnp.zeros(0, bool),
    )
    jax.tree.map(np.testing.assert_array_equal, got, ledger.init(2))


def test_a_donated_update_copies_nothing():
    @functools.partial(jax.jit, donate_argnums=0)
    def step(records, index, losses, correct):
        return ledger.update(
            records, index, losses=losses, margins=losses, correct=correct
        )

    records = jax.eval_shape(lambda: ledger.init(1_000_000))
    batch = jax.ShapeDtypeStruct((256,), jnp.float32)
    index = jax.ShapeDtypeStruct((256,), jnp.int32)
    correct = jax.ShapeDtypeStruct((256,), jnp.bool_)
    compiled = step.lower(records, index, batch, correct).compile()
    memory = compiled.memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 64 * 1024
    size = 41 * 1_000_000 + 4
    assert size <= memory.alias_size_in_bytes <= size + 4096


@pytest.mark.parametrize(
    ("kind", "keywords", "message"),
    [
        (ValueError, {"losses": jnp.ones((2, 1))}, "`losses` must have the shape"),
        (ValueError, {"losses": jnp.ones(2), "margins": jnp.ones(3)}, "`margins` must"),
        (TypeError, {"losses": jnp.ones(2), "correct": jnp.ones(2)}, "must be boolean"),
        (TypeError, {"losses": jnp.ones(2), "where": jnp.ones(2)}, "must be boolean"),
    ],
)
def test_bad_columns_are_refused(kind, keywords, message):
    with pytest.raises(kind, match=message):
        ledger.update(ledger.init(3), jnp.array([0, 1]), **keywords)


def test_a_bad_index_is_refused():
    with pytest.raises(TypeError, match="`index` must be integers"):
        ledger.update(ledger.init(3), jnp.ones(2), losses=jnp.ones(2))
    with pytest.raises(ValueError, match="`index` must be integers"):
        ledger.update(ledger.init(3), jnp.ones((2, 1), int), losses=jnp.ones((2, 1)))
    with pytest.raises(ValueError, match="`num_examples` must not be negative"):
        ledger.init(-1)
