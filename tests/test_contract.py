"""Every law on every loss: the contract that holds whatever the loss is."""

import functools
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import checked, losses, per_sample, reduction
from tests.catalogue import CATALOGUE, HELPERS, Row

ROWS = list(CATALOGUE.items())


def rows(*, where=lambda row: True):
    chosen = {name: row for name, row in ROWS if where(row)}
    return pytest.mark.parametrize(
        ("name", "row"), chosen.items(), ids=list(chosen), scope="module"
    )


every_loss = rows()
elementwise_losses = rows(where=lambda row: row.elementwise)
separable_losses = rows(where=lambda row: row.elementwise and row.separable)
masked_losses = rows(where=lambda row: row.masked)
labelled_losses = rows(where=lambda row: row.classes is not None)
# Those that take scores of any number of classes, and no option made for seven.
losses_of_any_classes = rows(
    where=lambda row: (
        row.classes is not None
        and not isinstance(row.loss, functools.partial)
        and row.draw(np.random.default_rng(0))[0].shape == (row.classes,)
    )
)


def rng_for(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def batch_of(name: str, row: Row, size: int) -> tuple[np.ndarray, ...]:
    rng = rng_for(name)
    columns = zip(*(row.draw(rng) for _ in range(size)), strict=True)
    return tuple(np.stack(column) for column in columns)


def single(data, dtype: type = np.float32):
    """The same example with its floating parts in another dtype."""
    return tuple(
        # By NumPy: JAX compiles a program for each conversion of each shape.
        jnp.asarray(
            np.asarray(x, dtype if jnp.issubdtype(x.dtype, jnp.floating) else None)
        )
        for x in data
    )


def as_drawn(example, drawn):
    """The same numbers in the dtypes of what a row draws."""
    return tuple(np.asarray(x, y.dtype) for x, y in zip(example, drawn, strict=True))


def with_argument(data, position, value):
    return (*data[:position], value, *data[position + 1 :])


def with_nan(data, position, index):
    spoilt = np.array(data[position])
    spoilt[index] = np.nan
    return with_argument(data, position, spoilt)


# Compiling is nearly all that the laws cost, so that they share few programs.


@functools.cache
def with_gradients(loss, positions):
    return jax.jit(jax.value_and_grad(loss, argnums=positions))


class OfOne(NamedTuple):
    value: Any
    gradients: Any


@functools.cache
def _of_one(loss, positions):
    gradients = jax.grad(loss, argnums=positions)
    return jax.jit(lambda *example: OfOne(loss(*example), gradients(*example)))


def of_one(row: Row, example) -> OfOne:
    """What the laws ask of one example."""
    return _of_one(row.loss, row.differentiable)(*example)


class Derivatives(NamedTuple):
    value: Any
    gradients: Any
    forward: Any
    hessian: Any
    reverse_twice: Any


@functools.cache
def _derivatives(loss, positions):
    @jax.jit
    def ask(*example):
        return Derivatives(
            loss(*example),
            jax.grad(loss, argnums=positions)(*example),
            jax.jacfwd(loss, argnums=positions)(*example),
            jax.hessian(loss)(*example),
            jax.jacrev(jax.grad(loss))(*example),
        )

    return ask


def derivatives(row: Row, example) -> Derivatives:
    """What the laws ask of one example in float64."""
    with jax.enable_x64(True):
        return _derivatives(row.loss, row.differentiable)(*example)


COTANGENT = np.array([0.0, 1.0, -2.0, 0.5, 0.0, 3.0], np.float32)
WEIGHTS = np.array([1.0, 1.0, 0.0, 1.0, 0.5, 2.0], np.float32)


class OfSix(NamedTuple):
    mapped: Any
    folded: Any
    pulled: Any
    mean: Any
    gradient_of_mean: Any


@functools.cache
def _of_six(loss, positions):
    @jax.jit
    def ask(*data):
        kernel = per_sample(loss)

        def batched(*moving):
            whole = list(data)
            for position, x in zip(positions, moving, strict=True):
                whole[position] = x
            return kernel(*whole)

        def mean(prediction):
            return reduction.weighted_mean(kernel(prediction, *data[1:]), WEIGHTS)

        return OfSix(
            jax.vmap(jax.jit(loss))(*data),
            per_sample(loss, batch_ndim=2)(
                *(x.reshape(2, 3, *x.shape[1:]) for x in data)
            ),
            jax.vjp(batched, *(data[i] for i in positions))[1](COTANGENT),
            *jax.value_and_grad(mean)(data[0]),
        )

    return ask


def of_six(row: Row, data) -> OfSix:
    """What the laws ask of a batch of six, but for its plain losses."""
    return _of_six(row.loss, row.differentiable)(*data)


class Masked(NamedTuple):
    value: Any
    gradients: Any
    slope: Any
    slope_of_gradient: Any


@functools.cache
def _masked(loss, positions):
    @jax.jit
    def ask(data, where):
        def fun(*data):
            return loss(*data, where)

        ones = tuple(jnp.ones_like(x) for x in data)
        return Masked(
            *jax.value_and_grad(fun, argnums=positions)(*data),
            jax.jvp(fun, data, ones)[1],
            jax.jvp(jax.grad(fun), data, ones)[1],
        )

    return ask


def masked(row: Row, data, where) -> Masked:
    """What the laws ask of one example with a mask."""
    return _masked(row.loss, row.differentiable)(data, where)


def mask_shape(row: Row, data) -> tuple[int, ...]:
    return data[0].shape[:-1] if row.channels else data[0].shape


def test_every_public_loss_has_a_row():
    public = {name for name, value in vars(losses).items() if callable(value)}
    assert public - HELPERS == {name.partition("-")[0] for name in CATALOGUE}
    assert HELPERS <= public


# Values.


@every_loss
def test_value_is_that_of_the_definition(name, row):
    for example in zip(*batch_of(name, row, 5), strict=True):
        value = derivatives(row, example).value
        assert value.shape == () and value.dtype == jnp.float64
        np.testing.assert_allclose(value, row.reference(*example), rtol=1e-12)


@every_loss
def test_float32_is_near_float64(name, row):
    for example in zip(*batch_of(name, row, 5), strict=True):
        example = single(example)
        value = of_one(row, example).value
        assert value.shape == () and value.dtype == jnp.float32
        wide = row.reference(
            *(
                np.asarray(x).astype(np.float64)
                if jnp.issubdtype(x.dtype, jnp.floating)
                else np.asarray(x)
                for x in example
            )
        )
        np.testing.assert_allclose(value, wide, rtol=2e-5, atol=2e-6)


@every_loss
def test_a_loss_is_never_below_zero(name, row):
    if row.bounded:
        many = batch_of(name, row, 66)
        for start in range(0, 66, 6):
            batch = single(x[start : start + 6] for x in many)
            assert (per_sample(row.loss)(*batch) >= 0).all()


@every_loss
def test_half_precision_in_float32_out(name, row):
    drawn = tuple(x[0] for x in batch_of(name, row, 1))
    dtypes = (jnp.bfloat16, jnp.float16)
    examples = [single(drawn, narrow) for narrow in dtypes]
    results = with_gradients(row.loss, row.differentiable)
    both = jax.jit(lambda examples: [results(*example) for example in examples])
    for narrow, example, found in zip(dtypes, examples, both(examples), strict=True):
        value, gradients = found
        wide = derivatives(row, as_drawn(example, drawn))
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, wide.value, rtol=1e-5, atol=1e-6)
        for got, wanted in zip(gradients, wide.gradients, strict=True):
            assert got.dtype == narrow
            np.testing.assert_allclose(
                np.asarray(got, np.float32), wanted, rtol=2e-2, atol=1e-3
            )


# Batches.


@every_loss
def test_batch_is_the_loop_with_and_without_jit(name, row):
    data = single(batch_of(name, row, 6))
    loop = np.stack([of_one(row, example).value for example in zip(*data, strict=True)])
    batch = per_sample(row.loss)(*data)
    assert batch.shape == (6,) and batch.dtype == jnp.float32
    np.testing.assert_allclose(batch, loop, rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(of_six(row, data).mapped, loop, rtol=2e-6, atol=1e-6)


@every_loss
@pytest.mark.parametrize("size", [0, 1])
def test_empty_batch_and_batch_of_one(name, row, size):
    data = single(tuple(x[:size] for x in batch_of(name, row, 1)))

    @jax.jit
    def results(*data):
        def total(prediction):
            batch = per_sample(row.loss)(prediction, *data[1:])
            return batch.sum(), batch

        return jax.grad(total, has_aux=True)(data[0])

    gradient, batch = results(*data)
    assert batch.shape == (size,) and gradient.shape == data[0].shape
    for got, example in zip(batch, zip(*data, strict=True), strict=True):
        want = of_one(row, example).value
        np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-6)


@every_loss
def test_any_cotangent_gives_the_gradients_of_the_loop(name, row):
    data = single(batch_of(name, row, 6))
    alone = [of_one(row, example).gradients for example in zip(*data, strict=True)]
    for got, parts in zip(
        of_six(row, data).pulled, zip(*alone, strict=True), strict=True
    ):
        expected = [
            c * np.asarray(part) for c, part in zip(COTANGENT, parts, strict=True)
        ]
        np.testing.assert_allclose(got, np.stack(expected), rtol=1e-5, atol=1e-6)


@every_loss
def test_two_batch_axes_are_one_longer_batch(name, row):
    data = single(batch_of(name, row, 6))
    folded = np.ravel(of_six(row, data).folded)
    np.testing.assert_allclose(
        folded, per_sample(row.loss)(*data), rtol=2e-6, atol=1e-6
    )


@every_loss
def test_one_compilation_for_all_values(name, row):
    traces = []

    @functools.wraps(row.loss)
    def counted(*example):
        traces.append(1)
        return row.loss(*example)

    for seed in range(3):
        per_sample(counted)(*single(batch_of(f"{name}{seed}", row, 4)))
    assert len(traces) == 1


# Derivatives.


def central_difference(fun, x, step=1e-6):
    flat = x.ravel()
    slopes = []
    for i in range(flat.size):
        above, below = flat.copy(), flat.copy()
        above[i] += step
        below[i] -= step
        difference = fun(above.reshape(x.shape)) - fun(below.reshape(x.shape))
        slopes.append(np.asarray(difference) / (2 * step))
    return np.stack(slopes, -1).reshape((*np.shape(slopes[0]), *x.shape))


@every_loss
def test_gradient_is_the_slope_of_the_reference(name, row):
    example = tuple(x[0] for x in batch_of(name, row, 1))
    gradients = derivatives(row, example).gradients
    for position, gradient in zip(row.differentiable, gradients, strict=True):

        def reference(x, position=position):
            return row.reference(*with_argument(example, position, x))

        numeric = central_difference(reference, example[position])
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8)


@every_loss
def test_forward_mode_equals_reverse_mode(name, row):
    example = tuple(x[0] for x in batch_of(name, row, 1))
    found = derivatives(row, example)
    for got, wanted in zip(found.forward, found.gradients, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-14)


@every_loss
def test_second_order_is_the_slope_of_the_gradient(name, row):
    example = tuple(x[0] for x in batch_of(name, row, 1))
    found = derivatives(row, example)

    def gradient(x):
        return derivatives(row, (x, *example[1:])).gradients[0]

    numeric = central_difference(gradient, example[0])
    np.testing.assert_allclose(found.hessian, numeric, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        found.reverse_twice, found.hessian, rtol=1e-9, atol=1e-12
    )


@every_loss
def test_extreme_inputs_have_no_nan_gradient(name, row):
    gradients_of = jax.grad(row.loss, argnums=row.differentiable)

    @jax.jit
    def results(*example):
        tangents = tuple(
            jnp.zeros_like(x)
            if jnp.issubdtype(x.dtype, jnp.floating)
            else np.zeros(x.shape, jax.dtypes.float0)
            for x in example
        )
        standing_still = jax.jvp(row.loss, example, tangents)[1]
        second = jax.hessian(row.loss)(*example)
        return gradients_of(*example), second, standing_still

    for extreme in row.extremes:
        example = single(extreme)
        gradients, second, standing_still = results(*example)
        for derivative in (*gradients, second):
            assert not np.isnan(derivative).any(), extreme
        assert standing_still == 0, extreme


# What must not spread.


@every_loss
def test_a_nan_example_is_nan_alone_and_moves_nothing(name, row):
    clean = single(batch_of(name, row, 6))
    kernel = per_sample(row.loss)
    want = kernel(*clean)
    means = of_six(row, clean)
    for position in row.differentiable:
        spoilt = with_nan(clean, position, 2)
        got = kernel(*spoilt)
        assert jnp.isnan(got[2])
        np.testing.assert_array_equal(np.delete(got, 2), np.delete(want, 2))
        found = of_six(row, spoilt)
        np.testing.assert_array_equal(found.mean, means.mean)
        np.testing.assert_array_equal(
            np.delete(found.gradient_of_mean, 2, 0),
            np.delete(means.gradient_of_mean, 2, 0),
        )
        np.testing.assert_array_equal(found.gradient_of_mean[2], 0)


@every_loss
def test_one_nan_is_enough_wherever_it_is_read(name, row):
    # In a large batch: there the compiler fuses maxima, which may lose a nan.
    kernel, clean = per_sample(row.loss), single(batch_of(name, row, 1))
    for position in row.differentiable:
        size = clean[position].size
        copies = max(1024, size)
        data = [np.repeat(np.asarray(x), copies, axis=0) for x in clean]

        def losses_with(change, data=data, position=position, size=size):
            flat = data[position].reshape(-1, size).copy()
            rows = np.arange(len(flat))
            flat[rows, rows % size] += np.float32(change)
            changed = flat.reshape(data[position].shape)
            return np.asarray(kernel(*with_argument(tuple(data), position, changed)))

        # What a mask leaves out, or a label does not ask for, need not be read.
        known = np.asarray(kernel(*data))
        read = (losses_with(1e3) != known) | (losses_with(-1e3) != known)
        assert np.isnan(losses_with(np.nan))[read].all()


@labelled_losses
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32])
def test_a_label_out_of_range_is_nan_alone_and_moves_nothing(name, row, dtype):
    logits, labels, *rest = single(batch_of(name, row, 4))
    clean = np.asarray(labels, dtype)
    results = jax.vmap(with_gradients(row.loss, 0))
    want, want_gradient = results(logits, clean, *rest)
    info = np.iinfo(dtype)
    for wrong in (-row.classes - 1, -row.classes, -1, row.classes, 255, -100):
        if not info.min <= wrong <= info.max:
            continue
        wrong_labels = clean.copy()
        wrong_labels[1] = wrong
        got, gradient = results(logits, wrong_labels, *rest)
        assert jnp.isnan(got[1]), wrong
        np.testing.assert_array_equal(gradient[1], 0)
        np.testing.assert_array_equal(np.delete(got, 1), np.delete(want, 1))
        np.testing.assert_array_equal(
            np.delete(gradient, 1, 0), np.delete(want_gradient, 1, 0)
        )


@losses_of_any_classes
def test_programs_for_other_numbers_of_classes_change_nothing(name, row):
    # XLA of JAX 0.12 lets one of its CPU programs read the class indices of another,
    # when both are of a batch that is not small.
    with_gradient, rng = jax.value_and_grad(row.loss), rng_for(name)
    one, kernel = jax.jit(with_gradient), jax.jit(jax.vmap(with_gradient))
    for classes in (5, 7, 10, 15, 40):
        chances = rng.dirichlet(np.ones(classes), classes)
        examples = single((chances, np.arange(classes)))
        alone = [one(*example) for example in zip(*examples, strict=True)]
        copies = -(-1024 // classes)
        results = kernel(*(np.repeat(x, copies, axis=0) for x in examples))
        for got, want in zip(results, zip(*alone, strict=True), strict=True):
            want = np.repeat(np.stack(want), copies, axis=0)
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@labelled_losses
def test_label_dtypes_agree(name, row):
    logits, label, *rest = single(tuple(x[0] for x in batch_of(name, row, 1)))
    loss = jax.jit(row.loss)
    want = loss(logits, label, *rest)
    for dtype in (np.int8, np.uint8, np.int16, np.uint16, np.uint32):
        assert loss(logits, np.asarray(label, dtype), *rest) == want
    with jax.enable_x64(True):
        for dtype in (np.int64, np.uint64):
            assert loss(logits, np.asarray(label, dtype), *rest) == want


@masked_losses
def test_nothing_behind_the_mask_reaches_value_or_gradient(name, row):
    data = single(tuple(x[0] for x in batch_of(name, row, 1)))
    where = rng_for(name).random(mask_shape(row, data)) < 0.5
    kept = where[..., None] if row.channels else where

    clean = masked(row, data, where)
    for poison in (np.nan, np.inf, -np.inf, 3e38):
        spoilt = tuple(np.where(kept, x, np.float32(poison)) for x in data)
        jax.tree.map(np.testing.assert_array_equal, masked(row, spoilt, where), clean)
    assert (np.asarray(clean.gradients[0])[~where] == 0).all()
    alone = jax.jit(row.loss)(*(np.asarray(x)[where] for x in data))
    np.testing.assert_allclose(clean.value, alone, rtol=1e-5)


@masked_losses
def test_a_mask_over_many_elements_leaves_the_kept_ones(name, row):
    # More than 16 elements are added by columns.
    data = single(tuple(np.concatenate([x[0]] * 30) for x in batch_of(name, row, 1)))
    where = rng_for(name).random(mask_shape(row, data)) < 0.7
    kept = np.broadcast_to(where[..., None] if row.channels else where, data[0].shape)
    results = with_gradients(row.loss, row.differentiable)
    want, want_gradients = results(*(np.asarray(x)[where] for x in data))
    for behind in (0.25, np.nan, 3e38):
        spoilt = (np.where(kept, x, np.float32(behind)) for x in data)
        value, gradients = results(*spoilt, where)
        np.testing.assert_allclose(value, want, rtol=1e-5)
        for got, wanted in zip(map(np.asarray, gradients), want_gradients, strict=True):
            np.testing.assert_allclose(got[where], wanted, rtol=1e-4, atol=1e-8)
            assert (got[~kept] == 0).all()


@masked_losses
def test_padding_changes_nothing(name, row):
    data = single(tuple(x[0] for x in batch_of(name, row, 1)))
    shape = mask_shape(row, data)
    edge = tuple((0, 2 + axis) for axis in range(len(shape)))
    where = np.pad(np.ones(shape, bool), edge)
    edge += ((0, 0),) * row.channels
    padded = (np.pad(x, edge, constant_values=7) for x in data)
    loss = jax.jit(row.loss)
    np.testing.assert_allclose(loss(*padded, where), loss(*data), rtol=1e-5)


@masked_losses
def test_a_mean_over_nothing_is_zero(name, row):
    data = single(tuple(x[0] for x in batch_of(name, row, 1)))
    nowhere = np.zeros(mask_shape(row, data), bool)
    found = masked(row, (np.full_like(data[0], np.nan), *data[1:]), nowhere)
    assert found.value == 0
    for gradient in found.gradients:
        np.testing.assert_array_equal(gradient, 0)
    assert jax.jit(row.loss)(*(np.asarray(x)[:0] for x in data)) == 0


@elementwise_losses
def test_any_shape_is_an_example(name, row):
    data = single(tuple(x[0] for x in batch_of(name, row, 1)))
    loss = jax.jit(row.loss)
    flat = loss(*(np.ravel(x) for x in data))
    np.testing.assert_allclose(loss(*data), flat, rtol=1e-5)
    assert loss(*(np.asarray(x)[0, 0] for x in data)).shape == ()


@separable_losses
def test_the_loss_is_the_mean_of_the_losses_of_the_elements(name, row):
    data = single(tuple(x[0] for x in batch_of(name, row, 1)))
    elements = per_sample(row.loss, batch_ndim=data[0].ndim)(*data)
    assert elements.shape == data[0].shape
    loss = jax.jit(row.loss)
    np.testing.assert_allclose(loss(*data), elements.mean(), rtol=1e-5)


@separable_losses
def test_an_example_of_many_elements_is_the_mean_of_its_parts(name, row):
    # More elements than a plain sum of the CPU takes as fast as others.
    parts = [np.tile(x, (224, 1, 1)) for x in batch_of(name, row, 10)]
    positions = row.differentiable
    with_gradients = jax.value_and_grad(row.loss, argnums=positions)
    many, gradients = jax.jit(with_gradients)(*single(parts))
    losses, of_parts = jax.jit(jax.vmap(with_gradients))(*single(parts))
    np.testing.assert_allclose(many, losses.mean(), rtol=1e-5)
    for got, part in zip(gradients, of_parts, strict=True):
        np.testing.assert_allclose(got, part / len(part), rtol=1e-5, atol=1e-9)


# Bad input.


@every_loss
def test_a_wrong_shape_is_refused_in_words(name, row):
    data = single(tuple(x[0] for x in batch_of(name, row, 1)))
    for position, argument in enumerate(data):
        argument = np.asarray(argument)
        for wrong in (np.stack([argument] * 2), argument[..., None]):
            with pytest.raises(ValueError, match="must have .*, got"):
                row.loss(*with_argument(data, position, jnp.asarray(wrong)))


@elementwise_losses
def test_a_column_against_a_row_is_refused(name, row):
    data = single(tuple(x[0] for x in batch_of(name, row, 1)))
    for one, other in [((4, 1), (4,)), ((4,), (4, 1)), ((1,), ()), ((4,), (1,))]:
        for position in range(1, len(data)):
            shapes = with_argument((one,) * len(data), position, other)
            with pytest.raises(ValueError, match="Nothing is broadcast"):
                row.loss(*(jnp.asarray(np.full(shape, 0.5, "f4")) for shape in shapes))


@masked_losses
def test_a_mask_of_another_shape_or_dtype_is_refused(name, row):
    data = single(tuple(x[0] for x in batch_of(name, row, 1)))
    shape = mask_shape(row, data)
    for wrong in ((*shape, 1), shape[1:]):
        with pytest.raises(ValueError, match="`where` must have"):
            row.loss(*data, jnp.asarray(np.ones(wrong, bool)))
    with pytest.raises(TypeError, match="`where` must be boolean"):
        row.loss(*data, jnp.asarray(np.ones(shape, np.float32)))


@every_loss
def test_integer_and_complex_predictions_are_refused(name, row):
    data = single(tuple(x[0] for x in batch_of(name, row, 1)))
    for dtype in (jnp.int32, jnp.bool_, jnp.complex64):
        with pytest.raises(TypeError, match="must be floating"):
            row.loss(jnp.asarray(np.asarray(data[0]).astype(dtype)), *data[1:])


@labelled_losses
def test_a_label_that_is_no_integer_is_refused(name, row):
    data = single(tuple(x[0] for x in batch_of(name, row, 1)))
    for dtype in (jnp.float32, jnp.bool_):
        with pytest.raises(TypeError, match="`label` must be an integer"):
            row.loss(*with_argument(data, 1, data[1].astype(dtype)))


@every_loss
def test_checked_names_the_nan(name, row):
    data = single(batch_of(name, row, 6))
    kernel = checked(per_sample(row.loss))
    np.testing.assert_array_equal(kernel(*data), per_sample(row.loss)(*data))
    for position in row.differentiable:
        spoilt = with_nan(data, position, (2,) + (0,) * (data[position].ndim - 1))
        with pytest.raises(ValueError, match="index 2: .* must be .*, got nan"):
            kernel(*spoilt)


@labelled_losses
def test_checked_names_the_label(name, row):
    logits, labels, *rest = single(batch_of(name, row, 6))
    kernel = checked(per_sample(row.loss))
    with pytest.raises(
        ValueError, match=r"index 3: `label` must be in \[0, 7\), got -1"
    ):
        kernel(logits, labels.at[3].set(-1), *rest)
