"""On eight devices everything is as on one: under jit, and within `shard_map`."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

from jaxloss import (
    checked,
    gradients,
    ledger,
    losses,
    per_sample,
    reduction,
    updates,
    weighting,
)
from tests.catalogue import CATALOGUE
from tests.gradients.models import Draw, cnn, mlp, transformer

DEVICES, BATCH = 8, 16
MESH, EXPLICIT = (
    jax.make_mesh((DEVICES,), ("data",), axis_types=(kind,))
    for kind in (AxisType.Auto, AxisType.Explicit)
)
SPLIT, WHOLE = NamedSharding(MESH, P("data")), NamedSharding(MESH, P())
# What runs once need not be compiled well.
compiled = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


def on_each_device(function, in_specs: Any = SPLIT.spec, out_specs: Any = SPLIT.spec):
    return jax.shard_map(function, mesh=MESH, in_specs=in_specs, out_specs=out_specs)


def near(one, other, rtol=1e-5, atol=1e-6):
    def compare(a, b):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)

    jax.tree.map(compare, one, other)


def numbers(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.exponential(size=shape), jnp.float32)


def laid_over(mesh, data, spec=SPLIT.spec):
    return jax.device_put(data, NamedSharding(mesh, spec))


def is_split(array, mesh=MESH):
    return array.sharding.is_equivalent_to(NamedSharding(mesh, P("data")), array.ndim)


# Those that the compiler lays out, and those whose layouts are part of the types.
on_any_mesh = pytest.mark.parametrize(
    "mesh", [MESH, EXPLICIT], ids=["auto", "explicit"]
)


# Losses.


def batch_of(row):
    rng = np.random.default_rng(0)
    columns = zip(*(row.draw(rng) for _ in range(BATCH)), strict=True)
    batch = [np.stack(column) for column in columns]
    return [jnp.asarray(x, None if x.dtype.kind in "iub" else "f4") for x in batch]


def losses_and_gradient(row):
    def total(*data):
        found = per_sample(row.loss)(*data)
        return sum(jnp.sum(x) for x in jax.tree.leaves(found)), found

    def ask(*data):
        gradient, found = jax.grad(total, has_aux=True)(*data)
        return found, gradient

    return ask


@pytest.mark.parametrize(("name", "row"), CATALOGUE.items(), ids=list(CATALOGUE))
def test_every_loss_can_be_differentiated_within_shard_map(name, row):
    del name
    jax.eval_shape(on_each_device(losses_and_gradient(row)), *batch_of(row))


SEVERAL = ("softmax_cross_entropy_with_integer_labels", "huber_loss", "ctc_loss")


@pytest.mark.parametrize("name", SEVERAL)
def test_the_losses_of_a_sharded_batch_are_those_of_one_device(name):
    ask, batch = losses_and_gradient(CATALOGUE[name]), batch_of(CATALOGUE[name])
    one = compiled(ask)(*batch)
    for mesh in (MESH, EXPLICIT):
        many = compiled(ask)(*laid_over(mesh, batch))
        assert all(is_split(array, mesh) for array in jax.tree.leaves(many))
        near(many, one)
    near(compiled(on_each_device(ask))(*laid_over(MESH, batch)), one)


@pytest.mark.parametrize(("name", "row"), CATALOGUE.items(), ids=list(CATALOGUE))
def test_every_loss_can_be_differentiated_on_a_mesh_of_explicit_axes(name, row):
    del name
    with jax.set_mesh(EXPLICIT):
        jax.jit(losses_and_gradient(row)).trace(*laid_over(EXPLICIT, batch_of(row)))


def test_options_and_checks_on_a_mesh_of_explicit_axes():
    kernel = per_sample(losses.nll_loss, class_weights=jnp.array([1.0, 2.0, 4.0]))
    log_probs = jnp.log(jnp.full((BATCH, 3), 1 / 3))
    labels = jnp.arange(BATCH, dtype=jnp.int32) % 3
    spread = laid_over(EXPLICIT, (log_probs, labels))
    near(kernel(*spread), kernel(log_probs, labels))
    near(checked(kernel)(*spread), kernel(log_probs, labels))
    with pytest.raises(ValueError, match="at mapped index 2: `label` must be"):
        checked(kernel)(spread[0], spread[1] + 1)


def test_a_loss_of_the_user_may_close_over_arrays_on_a_mesh_of_explicit_axes():
    x, y = numbers(BATCH, 4), numbers(BATCH, 3)

    def of(params, x, y):
        kernel = per_sample(lambda x, y: losses.squared_error(x @ params, y))
        return kernel(x, y)

    params = numbers(4, 3, seed=1)
    spread = laid_over(EXPLICIT, params, P()), *laid_over(EXPLICIT, (x, y))
    near(jax.jit(of)(*spread), of(params, x, y))


def test_a_loss_may_meet_the_examples_of_other_devices():
    batch = numbers(BATCH, 4)
    index = jnp.arange(BATCH, dtype=jnp.int32)
    kernel = per_sample(losses.ntxent, in_axes=(0, None, 0, 0), temperature=0.5)

    def of(anchors, keys, mine):
        same = (mine[:, None] // 2) == (index[None] // 2)
        return kernel(anchors, keys, same & (mine[:, None] != index[None]), ~same)

    def mapped(anchors, mine):
        return of(anchors, jax.lax.all_gather(anchors, "data", tiled=True), mine)

    def gradient(function):
        return compiled(jax.grad(lambda x: jnp.sum(jnp.square(function(x, index)))))

    alone = gradient(lambda x, mine: of(x, x, mine))(batch)
    near(gradient(on_each_device(mapped))(batch), alone, rtol=1e-4)


IMAGES = numbers(BATCH, 40, 900), numbers(BATCH, 40, 900, seed=1)
WORDS = numbers(BATCH, 1280), np.arange(BATCH) * 97
BY_ROWS = {
    "long": (losses.squared_error, *IMAGES),
    "masked": (losses.squared_error, *IMAGES, IMAGES[0] > 0),
    "others": (losses.softmax_cross_entropy_with_integer_labels, *WORDS),
    "rival": (losses.multiclass_hinge_loss, *WORDS),
}


@pytest.mark.parametrize("case", BY_ROWS)
def test_sums_by_rows_are_the_same_on_every_mesh(case):
    loss, *data = BY_ROWS[case]
    kernel = per_sample(loss)

    def gradient(function):
        return jax.grad(lambda *data: jnp.sum(jnp.square(function(*data))))

    alone, slopes = kernel(*data), gradient(kernel)(*data)
    for mesh in (MESH, EXPLICIT):
        split = laid_over(mesh, tuple(data))
        found = kernel(*split)
        assert is_split(found, mesh)
        near(found, alone)
        near(compiled(gradient(kernel))(*split), slopes)
    mapped = on_each_device(kernel)
    near(compiled(mapped)(*data), alone)
    near(compiled(gradient(mapped))(*data), slopes)


# Reductions and weights.

REDUCTIONS = {
    "weighted_mean": reduction.weighted_mean,
    "batch_mean": reduction.batch_mean,
    "tail_mean": lambda x, w: reduction.tail_mean(x, 0.3, 0.1, weights=w),
    "trimmed_mean": lambda x, w: reduction.trimmed_mean(x, 0.2, weights=w),
    "top_k_mean": lambda x, w: reduction.top_k_mean(x, 5, weights=w),
    "tilted_mean": lambda x, w: reduction.tilted_mean(x, 2.0, weights=w),
    "group_means": lambda x, w: jnp.max(
        reduction.group_means(x, jnp.astype(w * 4, jnp.int32), 4, weights=w)
    ),
}
WEIGHTS = {
    "keep_small": lambda x: weighting.keep_small(x, 0.5),
    "keep_large": lambda x: weighting.keep_large(x, 0.5),
    "superloss": lambda x: weighting.superloss(x, tau=1.0, lam=1.0),
    "mixture": weighting.mixture,
    "self_paced": lambda x: weighting.self_paced(x, 1.0),
}


@on_any_mesh
@pytest.mark.parametrize("name", REDUCTIONS)
def test_a_reduction_of_sharded_losses_is_that_of_all(name, mesh):
    ask = compiled(jax.value_and_grad(REDUCTIONS[name]))
    data = numbers(64), numbers(64, seed=1)
    near(ask(*laid_over(mesh, data)), ask(*data))


@on_any_mesh
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_sharded_losses_are_those_of_all(name, mesh):
    ask = compiled(WEIGHTS[name])
    with jax.set_mesh(mesh):
        near(ask(laid_over(mesh, numbers(64))), ask(numbers(64)))


@pytest.mark.parametrize("name", WEIGHTS)
def test_within_shard_map_weights_are_those_of_one_device(name):
    many = compiled(on_each_device(WEIGHTS[name]))(numbers(64))
    near(many, jnp.concatenate(list(map(WEIGHTS[name], numbers(8, 8)))))


def test_totals_of_the_devices_add_up_to_the_mean_of_all():
    x, w = numbers(64), numbers(64, seed=1) > 0.7
    groups = jnp.arange(64, dtype=jnp.int32) % 3

    def means(x, w, groups):
        total = reduction.Total.of(x, w)
        of_groups = reduction.group_totals(x, groups, 3, weights=w)
        total, of_groups = jax.lax.psum((total, of_groups), "data")
        return total.mean(), of_groups.mean()

    def loss(x):
        mean, of_groups = on_each_device(means, out_specs=P())(x, w, groups)
        return mean + jnp.max(of_groups), (mean, of_groups)

    def alone(x):
        mean = reduction.weighted_mean(x, w)
        of_groups = reduction.group_means(x, groups, 3, weights=w)
        return mean + jnp.max(of_groups), (mean, of_groups)

    many, one = (compiled(jax.value_and_grad(f, has_aux=True)) for f in (loss, alone))
    near(many(x), one(x))


# Gradients of the examples.

scanned_transformer = functools.partial(transformer, scanned=True, remat=True)


def asked(model, params, *batch):
    """What the examples say for themselves, and what is summed over them."""
    sample_losses, grads = gradients.per_example(model.loss)(params, *batch)
    small = gradients.clipped_sum(model.loss, 0.1, memory="small")(params, *batch)
    fast = gradients.clipped_sum(model.loss, 0.1)(params, *batch)
    streamed = gradients.norms_streaming(model.loss)(params, *batch)
    _, slopes = gradients.directional(model.loss)(params, params, *batch)
    own = (
        sample_losses,
        gradients.norms(grads),
        gradients.dot(grads, params),
        gradients.materialise(grads),
        (small[:2], fast[:2], streamed, slopes),
    )
    return own, (gradients.weighted_sum(grads, sample_losses), small[2], fast[2])


@pytest.mark.parametrize("draw", [mlp, cnn, scanned_transformer])
def test_each_device_has_the_gradients_of_its_own_examples(draw):
    model = draw(Draw(jnp.float32))
    batch = jax.tree.map(lambda x: jnp.concatenate([x] * 4)[:BATCH], model.batch)
    ask = functools.partial(asked, model)

    def mapped(params, *batch):
        own, summed = ask(params, *batch)
        return own, jax.lax.psum(summed, "data")

    specs = (P(), *(P("data") for _ in batch))
    many = on_each_device(mapped, specs, (P("data"), P()))
    one = compiled(ask)(model.params, *batch)
    near(compiled(many)(model.params, *batch), one, rtol=2e-4, atol=2e-5)


@on_any_mesh
def test_an_optimizer_is_given_the_gradients_of_a_sharded_batch(mesh):
    model = mlp(Draw(jnp.float32))
    batch = jax.tree.map(lambda x: jnp.concatenate([x] * 4)[:BATCH], model.batch)
    optimizer = optax.chain(updates.clipped_mean(0.1), optax.sgd(1.0))

    def step(params, weights, *batch):
        _, grads = gradients.per_example(model.loss)(params, *batch)
        state = optimizer.init(params)
        return optimizer.update(grads, state, params, weights=weights)[0]

    data = numbers(BATCH), *batch
    one = compiled(step)(model.params, *data)
    params = laid_over(mesh, model.params, P())
    near(compiled(step)(params, *laid_over(mesh, data)), one)


@pytest.mark.parametrize("draw", [mlp, cnn])
def test_gradients_of_a_batch_on_a_mesh_of_explicit_axes(draw):
    model = draw(Draw(jnp.float32))
    batch = jax.tree.map(lambda x: jnp.concatenate([x] * 4)[:BATCH], model.batch)
    ask = functools.partial(asked, model)
    spread = laid_over(EXPLICIT, model.params, P()), *laid_over(EXPLICIT, batch)
    near(compiled(ask)(*spread), compiled(ask)(model.params, *batch), 2e-4, 2e-5)


# The ledger; as one that the compiler lays out it is tested in tests/ledger.

EXAMPLES, STEPS = 64, 3


def rows_of(step):
    """Rows for a batch, each on the device that has the records of its example."""
    rng = np.random.default_rng(step)
    own = EXAMPLES // DEVICES
    index = rng.integers(0, own, (DEVICES, 4)) + own * np.arange(DEVICES)[:, None]
    index[1:3, 0] = -1, EXAMPLES  # of no device
    columns = {
        "losses": rng.normal(size=4 * DEVICES).astype(np.float32),
        "margins": rng.normal(size=4 * DEVICES).astype(np.float32),
        "label_probabilities": rng.random(4 * DEVICES, np.float32),
        "correct": rng.random(4 * DEVICES) < 0.5,
        "probabilities": rng.random((4 * DEVICES, 5), np.float32),
        "where": rng.random(4 * DEVICES) < 0.9,
    }
    return jnp.asarray(index.ravel(), jnp.int32), jax.tree.map(jnp.asarray, columns)


def test_devices_that_own_their_examples_write_the_same_ledger():
    records = ledger.init(EXAMPLES, 5, sharding=SPLIT)
    specs = jax.tree.map(lambda array: array.sharding.spec, records)

    def write(records, index, columns):
        first = jax.lax.axis_index("data") * records.seen.size
        return ledger.update(records, index - first, **columns)

    mapped = on_each_device(write, (specs, P("data"), P("data")), specs)
    step = jax.jit(mapped, donate_argnums=0)
    program = step.lower(records, *rows_of(0)).compile().as_text()
    assert program is not None
    assert program.count("all-reduce(") + program.count("all-reduce-start(") == 1
    assert "all-gather" not in program and "collective-permute" not in program
    one = ledger.init(EXAMPLES, 5)
    for number in range(STEPS):
        records = step(records, *rows_of(number))
        index, columns = rows_of(number)
        one = ledger.update(one, index, **columns)
    assert is_split(records.loss.mean) and int(one.out_of_range) > 0
    near(records, one, rtol=1e-6)


def test_a_ledger_that_devices_share_takes_no_rows_of_one_device():
    def write(records, index):
        return ledger.update(records, index, losses=jnp.ones(index.shape))

    index = jnp.arange(BATCH, dtype=jnp.int32)
    with pytest.raises(ValueError, match="divided among the devices as the rows are"):
        on_each_device(write, (P(), P("data")), P())(ledger.init(EXAMPLES), index)


def test_a_shared_ledger_takes_a_sharded_batch():
    index, columns = rows_of(0)
    update = compiled(lambda records, i, columns: ledger.update(records, i, **columns))
    records = jax.device_put(ledger.init(EXAMPLES, 5), WHOLE)
    many = update(records, *jax.device_put((index, columns), SPLIT))
    near(many, update(ledger.init(EXAMPLES, 5), index, columns), rtol=1e-6)
