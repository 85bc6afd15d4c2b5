"""The classes of a layer split over devices: the same losses, and little is sent."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec as P

from jaxloss import losses, per_sample, reduction
from jaxloss.kernels import (
    linear_softmax_cross_entropy,
    linear_softmax_cross_entropy_with_statistics,
    vocabulary_parallel_softmax_cross_entropy,
    weighted_linear_softmax_cross_entropy,
)

MESH = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
TOKENS, FEATURES, CLASSES = 8, 6, 20
SPECS = P("data"), P("data"), P(None, "model"), P("model")
OPTIONS = {
    "plain": {},
    "all": {"label_smoothing": 0.3, "z_loss": 0.1, "soft_cap": 5.0},
}
compiled = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


def data(seed=0):
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(TOKENS, FEATURES))
    labels = jnp.asarray([0, 4, 5, 19, 12, 20, 9, -1])  # two of them are none
    weights, bias = rng.normal(size=(FEATURES, CLASSES)), rng.normal(size=CLASSES)
    bias[7] = -np.inf
    hidden, weights, bias = (jnp.asarray(x, "f4") for x in (hidden, weights, bias))
    return hidden, labels, weights, bias


def near(one, other, atol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol), one, other)


def pulled(kernel, labels, cotangent):
    def ask(hidden, weights, bias):
        return jax.vjp(lambda *x: kernel(x[0], labels, *x[1:]), hidden, weights, bias)

    def both(*x):
        value, pull = ask(*x)
        return value, pull(cotangent(value))

    return both


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("implementation", ["reference", "chunked"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_losses_statistics_and_gradients_are_those_of_one_device(
    options, implementation, check_vma
):
    hidden, labels, weights, bias = data()
    ask = functools.partial(
        linear_softmax_cross_entropy_with_statistics,
        implementation=implementation,
        chunk_size=3,
        **options,
    )
    spread = jax.shard_map(
        functools.partial(ask, axis_name="model"),
        mesh=MESH,
        in_specs=SPECS,
        out_specs=P("data"),
        check_vma=check_vma,
    )
    weight = jnp.asarray(np.random.default_rng(1).normal(size=TOKENS), "f4")

    def cotangent(value):
        return jax.tree.map(lambda x: jnp.roll(weight, x.ndim), value)

    one, many = (
        compiled(pulled(kernel, labels, cotangent))(hidden, weights, bias)
        for kernel in (ask, spread)
    )
    near(one, many)


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("of_losses", [False, True])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_the_weighted_mean_is_that_of_one_device(options, of_losses, check_vma):
    hidden, labels, weights, bias = data()
    token_weights = jnp.asarray([1.0, 2, 0.5, 3, 1, 0, 2, 0])
    labelled = jnp.array([1.0, 1, 1, 1, 1, 0, 1, 0]) > 0
    mix = float(of_losses) * jnp.arange(1.0, TOKENS + 1)

    def one(hidden, weights, bias, token_weights):
        found = linear_softmax_cross_entropy(hidden, labels, weights, bias, **options)
        mean = reduction.weighted_mean(found, token_weights)
        return mean + reduction.weighted_sum(found, jnp.where(labelled, mix, 0)), found

    def of_device(hidden, labels, weights, bias, token_weights):
        mean, found = weighted_linear_softmax_cross_entropy(
            hidden,
            labels,
            token_weights,
            weights,
            bias,
            axis_name="model",
            chunk_size=3,
            **options,
        )
        total = jnp.sum(token_weights)
        mean = jax.lax.psum(mean * total, "data") / jax.lax.psum(total, "data")
        return mean, found

    spread = jax.shard_map(
        of_device,
        mesh=MESH,
        in_specs=(*SPECS, P("data")),
        out_specs=(P(), P("data")),
        check_vma=check_vma,
    )

    def many(hidden, weights, bias, token_weights):
        mean, found = spread(hidden, labels, weights, bias, token_weights)
        if of_losses:
            kept = jnp.where(labelled, mix, 0)
            mean = mean + reduction.weighted_sum(found, kept)
        return mean, found

    found, wanted = (
        compiled(jax.value_and_grad(f, (0, 1, 2, 3), has_aux=True))(
            hidden, weights, bias, token_weights
        )
        for f in (many, one)
    )
    near(found, wanted)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_logits_that_are_split_give_the_losses_of_the_whole(options):
    hidden, labels, weights, bias = data()
    logits = hidden @ weights + bias[None]
    spread = jax.shard_map(
        functools.partial(
            vocabulary_parallel_softmax_cross_entropy, axis_name="model", **options
        ),
        mesh=MESH,
        in_specs=(P("data", "model"), P("data")),
        out_specs=P("data"),
    )
    whole = per_sample(losses.softmax_cross_entropy_with_integer_labels, **options)
    weight = jnp.arange(1.0, TOKENS + 1)

    def both(kernel, logits):
        value, pull = jax.vjp(lambda z: kernel(z, labels), logits)
        return value, pull(weight)

    near(*(compiled(functools.partial(both, k))(logits) for k in (spread, whole)))


def sent(function, *arguments):
    """The sizes of the arrays that devices send each other, by kind."""
    text = jax.jit(function).lower(*arguments).compile().as_text()
    found = []
    pattern = r"= (\([^)]*\)|\S+) (all-[a-z]+|collective-permute|reduce-scatter)[.(]"
    for shapes, kind in re.findall(pattern, text or ""):
        for dims in re.findall(r"\w+\[([\d,]*)\]", shapes):
            size = int(np.prod([int(n) for n in dims.split(",") if n]))
            found.append((kind, size))
    return found


def test_logits_are_never_sent():
    # No two of these numbers, nor their products, are alike.
    tokens, features, classes = 64, 24, 4096
    shape = jax.ShapeDtypeStruct
    logits, labels = shape((tokens, classes), "f4"), shape((tokens,), "i4")
    hidden, weights = shape((tokens, features), "f4"), shape((features, classes), "f4")
    mesh = jax.make_mesh((8,), ("model",), axis_types=(AxisType.Auto,))

    def pull(kernel, wrt):
        def ask(cotangent, labels, *x):
            value, pull = jax.vjp(lambda *x: kernel(labels, *x), *x)
            return value, pull(cotangent)

        specs = [P(), P("model"), P(None, "model")]
        return jax.shard_map(
            ask,
            mesh=mesh,
            in_specs=(P(), P(), *(specs[i] for i in wrt)),
            out_specs=(P(), tuple(specs[i] for i in wrt)),
        )

    cotangent = shape((tokens,), "f4")
    of_logits = pull(
        lambda y, z: vocabulary_parallel_softmax_cross_entropy(z, y, axis_name="model"),
        [2],
    )
    of_hidden = pull(
        lambda y, h, w: linear_softmax_cross_entropy(
            h, y, w, axis_name="model", implementation="chunked", chunk_size=100
        ),
        [0, 2],
    )
    found = sent(of_logits, cotangent, labels, logits)
    assert found
    assert all(kind == "all-reduce" and size <= tokens for kind, size in found)
    found = sent(of_hidden, cotangent, labels, hidden, weights)
    large = [size for kind, size in found if kind != "all-reduce" or size > tokens]
    assert large == [tokens * features]  # the gradient of the hidden states, summed up
