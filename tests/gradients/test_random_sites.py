"""Random dimension numbers of every equation with a rule, against `jax.grad`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxloss import gradients

BATCH = 3


def numbers(rng, *shape):
    return jnp.asarray(rng.normal(size=shape))


def check(loss, param, *batch):
    """The parameter is factored, and every answer is exact."""
    example = [x[0] for x in batch]
    rows = gradients.explain(loss, param, *example).rows
    assert not any(row.kept.startswith("whole") for row in rows), rows

    def ask(param, *batch):
        grads = gradients.per_example(loss)(param, *batch)[1]
        norms = [gradients.norms(grads, m) for m in ("auto", "gram", "direct")]
        norms.append(gradients.norms_streaming(loss)(param, *batch)[1])
        total = gradients.weighted_sum(grads, jnp.arange(1.0, BATCH + 1))
        along = gradients.dot(grads, jnp.cos(param))
        wanted = jax.vmap(jax.grad(loss), (None, *[0] * len(batch)))(param, *batch)
        return norms, total, along, gradients.materialise(grads), wanted

    quick = {"xla_backend_optimization_level": 0}
    norms, total, along, whole, wanted = jax.jit(ask, compiler_options=quick)(
        param, *batch
    )
    wanted = np.asarray(wanted)
    flat = wanted.reshape(BATCH, -1)
    atol = 1e-12 * np.abs(flat).max(initial=1e-300) * max(flat.shape[1], 1)
    np.testing.assert_allclose(whole, wanted, rtol=0, atol=atol)
    for measured in norms:
        np.testing.assert_allclose(measured, np.linalg.norm(flat, axis=1), rtol=1e-12)
    by_hand = np.tensordot(np.arange(1.0, BATCH + 1), wanted, 1)
    np.testing.assert_allclose(total, by_hand, rtol=0, atol=10 * atol)
    slopes = flat @ np.cos(np.asarray(param)).ravel()
    np.testing.assert_allclose(along, slopes, rtol=0, atol=10 * atol)


@pytest.mark.parametrize("seed", range(8))
def test_dot_general_with_any_dimension_numbers(seed):
    rng = np.random.default_rng(seed)
    batch = [int(n) for n in rng.integers(1, 4, rng.integers(0, 3))]
    contracted = [int(n) for n in rng.integers(1, 4, rng.integers(0, 3))]

    def operand(free):
        """A shape in random order, with where its batch and contracted axes went."""
        sizes = [*batch, *contracted, *rng.integers(1, 4, free)]
        order = rng.permutation(len(sizes))
        shape = [int(sizes[i]) for i in order]
        place = [int(i) for i in np.argsort(order)]
        return shape, place[: len(batch)], place[len(batch) :][: len(contracted)]

    w_shape, w_batch, w_contracted = operand(rng.integers(0, 3))
    x_shape, x_batch, x_contracted = operand(rng.integers(0, 3))
    flip = bool(rng.integers(2))

    def loss(w, x):
        if flip:
            dims = ((x_contracted, w_contracted), (x_batch, w_batch))
            y = lax.dot_general(x, w, dims)
        else:
            dims = ((w_contracted, x_contracted), (w_batch, x_batch))
            y = lax.dot_general(w, x, dims)
        return jnp.sum(jnp.sin(y) * jnp.arange(1.0, y.size + 1).reshape(y.shape))

    with jax.enable_x64(True):
        check(loss, numbers(rng, *w_shape), numbers(rng, BATCH, *x_shape))


@pytest.mark.parametrize("seed", range(10))
def test_convolution_with_any_dimension_numbers(seed):
    rng = np.random.default_rng(100 + seed)
    space = int(rng.integers(1, 3))

    def some(low, high):
        return tuple(int(n) for n in rng.integers(low, high, space))

    def place(first, second, extent):
        """A shape in random order, and the permutation that is its spec."""
        spec = [int(n) for n in rng.permutation(space + 2)]
        shape = [0] * (space + 2)
        for axis, size in zip(spec, (first, second, *extent), strict=True):
            shape[axis] = size
        return shape, spec

    groups = int(rng.integers(1, 4))
    into, out = (groups * int(n) for n in rng.integers(1, 3, 2))
    into *= 8 if seed % 2 else 1  # many channels have a way of their own
    image, lhs = place(int(rng.integers(1, 3)), into, some(5, 8))
    kernel, rhs = place(out, into // groups, some(1, 4))
    dims = lax.ConvDimensionNumbers(
        tuple(lhs), tuple(rhs), tuple(int(n) for n in rng.permutation(space + 2))
    )
    options = {
        "window_strides": some(1, 3),
        "padding": list(zip(some(-1, 3), some(-1, 3), strict=True)),
        "lhs_dilation": some(1, 3),
        "rhs_dilation": some(1, 3),
        "dimension_numbers": dims,
        "feature_group_count": groups,
    }

    def loss(w, x):
        y = lax.conv_general_dilated(x, w, **options)
        return jnp.sum(jnp.sin(y) * jnp.arange(1.0, y.size + 1).reshape(y.shape))

    with jax.enable_x64(True):
        check(loss, numbers(rng, *kernel), numbers(rng, BATCH, *image))


@pytest.mark.parametrize("mode", ["clip", "fill", "promise_in_bounds"])
@pytest.mark.parametrize("seed", range(2))
def test_lookups_along_any_axis_in_any_mode(seed, mode):
    rng = np.random.default_rng(200 + seed)
    shape = tuple(int(n) for n in rng.integers(2, 5, 3))
    axis = int(rng.integers(3))
    steps = tuple(int(n) for n in rng.integers(1, 4, rng.integers(1, 3)))

    def loss(w, index):
        y = jnp.moveaxis(w, axis, 0).at[index].get(mode=mode, fill_value=0.3)
        z = jnp.take(w, index, axis=axis, mode="fill", fill_value=0.1)
        return jnp.sum(jnp.sin(y) * jnp.arange(1.0, y.size + 1).reshape(y.shape)) + (
            jnp.sum(jnp.cos(z) * jnp.arange(1.0, z.size + 1).reshape(z.shape))
        )

    index = jnp.asarray(rng.integers(-6, 7, (BATCH, *steps)), jnp.int32)
    with jax.enable_x64(True):
        check(loss, numbers(rng, *shape), index)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_dynamic_slices_of_one_row(axis):
    rng = np.random.default_rng(300 + axis)

    def loss(w, i):
        start = [jnp.int32(0)] * 3
        start[axis] = i
        sizes = list(w.shape)
        sizes[axis] = 1
        y = lax.dynamic_slice(w, start, sizes)
        return jnp.sum(jnp.sin(y) * jnp.arange(1.0, y.size + 1).reshape(y.shape))

    index = jnp.asarray([-1, 1, 9], jnp.int32)
    with jax.enable_x64(True):
        check(loss, numbers(rng, 4, 3, 5), index)
