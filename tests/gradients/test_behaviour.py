"""How factored gradients behave among the rest of JAX, and when something is wrong."""

import inspect
import os
import subprocess
import sys
import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxloss import gradients
from jaxloss.gradients import capture, plan
from tests.gradients.models import BATCH, Draw, cnn, mlp, transformer

DRAW = Draw(jnp.float32)
# Compiled without optimisation, where values are asked for, not speed.
QUICK = {"xla_backend_optimization_level": 0}


def loss(params, x, y):
    h = jnp.tanh(x @ params["w"] + params["b"][None])
    return jnp.sum((jnp.mean(h, 0) @ params["v"] - y) ** 2)


PARAMS = {"b": DRAW(4), "v": DRAW(4, 2), "w": DRAW(3, 4)}
X, Y = DRAW.data(6, 3), DRAW.data(2)
WANTED = jax.vmap(jax.grad(loss), (None, 0, 0))(PARAMS, X, Y)
NORMS = jax.vmap(optax.tree.norm)(WANTED)


def close(tree, wanted, rtol=1e-5):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6),
        tree,
        wanted,
    )


def test_a_training_loop_traces_the_loss_once():
    traced = chex.assert_max_traces(loss, n=1)
    for _ in range(3):  # found again, although asked for anew
        losses, grads = gradients.per_example(traced)(PARAMS, X, Y)
        close(losses, jax.vmap(loss, (None, 0, 0))(PARAMS, X, Y))
        close(gradients.norms(grads), NORMS)

    other = chex.assert_max_traces(lambda *a: loss(*a), n=1)

    @jax.jit
    def step(params, x, y):
        losses, norms, total = gradients.clipped_sum(other, 0.1)(params, x, y)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, total)

    params = PARAMS
    for _ in range(3):
        params = step(params, X, Y)


def test_another_limit_does_not_compile_again():
    traced = chex.assert_max_traces(lambda *a: loss(*a), n=1)
    for limit in (0.1, 0.2):
        norms, total = gradients.clipped_sum(traced, limit)(PARAMS, X, Y)[1:]
        weights = np.minimum(1, limit / np.asarray(norms))
        close(total, jax.tree.map(lambda g, w=weights: np.tensordot(w, g, 1), WANTED))


def test_a_loss_that_cannot_be_hashed_works():
    class Loss:
        __hash__ = None  # pyright: ignore[reportAssignmentType] (on purpose)

        def __call__(self, params, x, y):
            return loss(params, x, y)

    _, norms = gradients.norms_streaming(Loss())(PARAMS, X, Y)
    close(norms, NORMS)


def test_the_gradients_pass_through_jit_scan_and_map():
    grads = jax.jit(gradients.per_example(loss))(PARAMS, X, Y)[1]
    assert hash(grads.layout) == hash(
        gradients.per_example(loss)(PARAMS, X, Y)[1].layout
    )
    close(jax.jit(gradients.norms)(grads), NORMS)

    def one(batch):
        x, y = batch
        grads = gradients.per_example(loss)(PARAMS, x[None], y[None])[1]
        return gradients.norms(grads)[0]

    for size in (2, BATCH):
        close(jax.lax.map(one, (X, Y), batch_size=size), NORMS)

    def chunk(total, batch):
        grads = gradients.per_example(loss)(PARAMS, *batch)[1]
        part = gradients.weighted_sum(grads, jnp.ones(2))
        return jax.tree.map(jnp.add, total, part), grads

    chunks = jax.tree.map(lambda x: x[:4].reshape(2, 2, *x.shape[1:]), (X, Y))
    total, grads = jax.lax.scan(chunk, jax.tree.map(jnp.zeros_like, PARAMS), chunks)
    close(total, jax.tree.map(lambda g: g[:4].sum(0), WANTED))
    close(jax.vmap(gradients.norms)(grads).reshape(-1), NORMS[:4])


def test_microbatching_of_optax():
    def clipped(params, x, y):
        _, norms, total = gradients.clipped_sum(loss, 0.1)(params, x, y)
        return total, norms

    fn = optax.microbatching.microbatch(
        clipped,
        argnums=(1, 2),
        microbatch_size=1,
        accumulator=(
            optax.microbatching.AccumulationType.SUM,
            optax.microbatching.AccumulationType.CONCAT,
        ),
    )
    total, norms = fn(PARAMS, X, Y)
    wanted = gradients.clipped_sum(loss, 0.1)(PARAMS, X, Y)[2]
    close(total, wanted)
    close(norms.reshape(-1), NORMS)


def test_the_batch_may_be_any_axis_and_arguments_may_be_shared():
    def scaled(params, data, scale):
        return scale["s"] * loss(params, data["x"], data["y"])

    data, scale = {"x": X.transpose(1, 0, 2), "y": Y}, {"s": jnp.float32(3)}
    axes = ({"x": 1, "y": 0}, None)
    for fn in (
        lambda *a: gradients.norms(gradients.per_example(scaled, in_axes=axes)(*a)[1]),
        lambda *a: gradients.clipped_sum(scaled, 1e9, in_axes=axes)(*a)[1],
        lambda *a: gradients.norms_streaming(scaled, in_axes=axes)(*a)[1],
    ):
        close(fn(PARAMS, data, scale), 3 * NORMS)
    small = gradients.clipped_sum(scaled, 1e9, memory="small", in_axes=axes)
    total = jax.tree.map(lambda g: 3 * g.sum(0), WANTED)
    close(small(PARAMS, data, scale)[2], total)


def test_random_keys_belong_to_the_example():
    def noisy(w, key, x):
        keep = jax.random.bernoulli(key, 0.5, x.shape)
        return jnp.sum(jnp.tanh(jnp.where(keep, x, 0) @ w))

    w, keys = DRAW(3, 2), jax.random.split(jax.random.key(0), BATCH)
    x = DRAW.data(3)
    wanted = jax.vmap(jax.grad(noisy), (None, 0, 0))(w, keys, x)
    grads = gradients.per_example(noisy)(w, keys, x)[1]
    close(gradients.materialise(grads), wanted)
    for memory in ("fast", "small"):
        total = gradients.clipped_sum(noisy, 1e9, memory=memory)(w, keys, x)[2]
        close(total, wanted.sum(0))


def test_aux_comes_back_with_a_batch_axis():
    def with_aux(params, x, y):
        value = loss(params, x, y)
        return value, {"double": 2 * value, "x": x, "one": jnp.ones(2)}

    for fn in (
        gradients.per_example(with_aux, has_aux=True),
        gradients.norms_streaming(with_aux, has_aux=True),
        gradients.clipped_sum(with_aux, 1.0, has_aux=True),
        gradients.clipped_sum(with_aux, 1.0, memory="small", has_aux=True),
    ):
        losses, aux = fn(PARAMS, X, Y)[0]
        close(aux["double"], 2 * losses)
        assert aux["x"].shape == X.shape and aux["one"].shape == (BATCH, 2)
    (losses, aux), _ = gradients.directional(with_aux, has_aux=True)(
        PARAMS, PARAMS, X, Y
    )
    close(aux["double"], 2 * losses)
    with pytest.raises(TypeError, match=r"must return \(loss, aux\)"):
        gradients.per_example(loss, has_aux=True)(PARAMS, X, Y)


@pytest.mark.parametrize("draw_model", [mlp, cnn, transformer])
def test_an_empty_batch_gives_empty_results(draw_model):
    model = draw_model(DRAW)
    batch = jax.tree.map(lambda x: x[:0], model.batch)
    zero = jax.tree.map(jnp.zeros_like, model.params)
    losses, grads = gradients.per_example(model.loss)(model.params, *batch)
    assert losses.shape == gradients.norms(grads).shape == (0,)
    assert gradients.dot(grads, zero).shape == (0,)
    assert gradients.gram(grads).shape == (0, 0)
    close(gradients.weighted_sum(grads, jnp.zeros(0)), zero)
    for memory in ("fast", "small"):
        fn = gradients.clipped_sum(model.loss, 1.0, memory=memory)
        close(fn(model.params, *batch)[2], zero)
    shapes = jax.tree.map(jnp.shape, gradients.materialise(grads))
    assert shapes == jax.tree.map(lambda p: (0, *p.shape), model.params)


@pytest.mark.parametrize("draw_model", [mlp, cnn])
def test_an_example_that_is_not_finite_stays_alone(draw_model):
    model = draw_model(DRAW)
    x, y = model.batch
    poisoned = x.at[2].set(np.nan).at[4].set(np.inf)
    good = np.array([True, True, False, True, False])
    weights = np.asarray(good, np.float32)

    @jax.jit
    def ask(x):
        grads = gradients.per_example(model.loss)(model.params, x, y)[1]
        norms, total = gradients.norms(grads), gradients.weighted_sum(grads, weights)
        kept = weights * gradients.clip_weights(norms, 0.5)
        limited = gradients.weighted_sum(grads, kept)
        clipped = [
            gradients.clipped_sum(model.loss, 0.5, memory=memory)(model.params, x, y)[2]
            for memory in ("fast", "small")
        ]
        return norms, total, gradients.gram(grads), limited, clipped

    want_norms, want_total, want_gram, limited, _ = ask(x)
    norms, total, gram, _, clipped = ask(poisoned)
    assert not np.isfinite(norms[~good]).any()
    close(norms[good], want_norms[good])
    close(total, want_total)
    both = np.ix_(good, good)
    close(np.asarray(gram)[both], np.asarray(want_gram)[both])
    for found in clipped:
        close(found, limited)


def test_nothing_is_summed_when_no_weight_is_left():
    bad = jnp.full_like(X, jnp.nan)
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    for memory in ("fast", "small"):
        fn = gradients.clipped_sum(loss, 1.0, memory=memory)
        close(fn(PARAMS, bad, Y)[2], zero)


def test_a_gradient_of_zero_has_norm_zero_and_a_finite_derivative():
    def flat(w, x):
        return jnp.sum(jnp.tanh(x @ w)) ** 2

    def penalty(w):
        return gradients.norms(gradients.per_example(flat)(w, jnp.zeros((2, 3)))[1])

    assert np.array_equal(penalty(jnp.ones((3, 2))), [0, 0])
    assert np.array_equal(jax.jacobian(penalty)(jnp.ones((3, 2))), np.zeros((2, 3, 2)))
    weights = gradients.clip_weights(penalty(jnp.ones((3, 2))), 1.0)
    assert np.array_equal(weights, [1, 1])


@pytest.mark.parametrize("how", ["factors", "streaming"])
def test_the_norms_can_be_differentiated(how):
    def penalty(params, x, y):
        if how == "streaming":
            return jnp.sum(gradients.norms_streaming(loss)(params, x, y)[1])
        return jnp.sum(gradients.norms(gradients.per_example(loss)(params, x, y)[1]))

    def by_hand(params, x, y):
        grads = jax.vmap(jax.grad(loss), (None, 0, 0))(params, x, y)
        return jnp.sum(jax.vmap(optax.tree.norm)(grads))

    close(jax.grad(penalty)(PARAMS, X, Y), jax.grad(by_hand)(PARAMS, X, Y), 1e-4)


def test_a_loss_may_hold_traced_values():
    @jax.jit
    def step(scale):
        def scaled(params, x, y):
            return scale * loss(params, x, y)

        grads = gradients.per_example(scaled)(PARAMS, X, Y)[1]
        return gradients.norms(grads)

    for scale in (2.0, 3.0):
        close(step(scale), scale * NORMS)
    close(jax.jacobian(step)(2.0), NORMS)


def inner_gradient(w, x):
    slope = jax.grad(lambda x: jnp.sum(jnp.tanh(x @ w)))(x)
    return jnp.sum(slope**2)


def loop(w, x):
    return jnp.sum(jax.lax.fori_loop(0, 3, lambda _, x: jnp.tanh(x @ w), x))


def looked_at(w, x):
    jax.debug.callback(lambda _: None, x[0])
    return jnp.sum(jnp.tanh(x @ w))


@pytest.mark.parametrize("function", [inner_gradient, loop, looked_at])
def test_a_loss_may_differentiate_loop_and_call_back(function):
    w, x = DRAW(3, 3), DRAW.data(3)
    assert gradients.explain(function, w, x[0]).share == 1
    grads = gradients.per_example(function)(w, x)[1]
    wanted = jax.vmap(jax.grad(function), (None, 0))(w, x)
    close(gradients.materialise(grads), wanted)
    close(gradients.norms(grads), jnp.linalg.norm(wanted.reshape(BATCH, -1), axis=1))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_summed_in_float32(dtype):
    params = jax.tree.map(lambda p: p.astype(dtype), PARAMS)
    x, y = X.astype(dtype), Y.astype(dtype)
    losses, grads = gradients.per_example(loss)(params, x, y)
    norms = gradients.norms(grads)
    assert losses.dtype == norms.dtype == jnp.float32
    total = gradients.weighted_sum(grads, jnp.ones(BATCH))
    assert {leaf.dtype for leaf in jax.tree.leaves(total)} == {jnp.dtype(dtype)}
    np.testing.assert_allclose(norms, NORMS, rtol=0.05)


def test_integers_among_the_parameters_are_constants():
    def indexed(params, x):
        return jnp.sum(jnp.tanh(x @ params["w"])[params["i"]])

    params, x = {"i": jnp.int32(1), "w": DRAW(3, 2)}, DRAW.data(3)
    grads = gradients.per_example(indexed)(params, x)[1]
    total = gradients.weighted_sum(grads, jnp.ones(BATCH))
    assert total["i"].dtype == jnp.int32 and total["i"] == 0
    small = gradients.clipped_sum(indexed, 1e9, memory="small")(params, x)[2]
    close(small, total)
    direction = {"i": jnp.int32(0), "w": params["w"]}
    slopes = gradients.directional(indexed)(params, direction, x)[1]
    close(gradients.dot(grads, direction), slopes)
    assert "a constant" in str(gradients.explain(indexed, params, x[0]))


@pytest.mark.parametrize("broken", [(plan, "make"), (capture, "capture")])
def test_a_failure_while_planning_costs_a_warning_not_the_gradient(broken, monkeypatch):
    module, name = broken
    whole = getattr(module, name)

    def fails(*args):
        if name == "capture" and not args[1].layout.sites:
            return whole(*args)  # what is materialised is evaluated as it is
        raise NotImplementedError("a new equation")

    monkeypatch.setattr(module, name, fails)
    with pytest.warns(UserWarning, match="materialised.*NotImplementedError: a new eq"):
        _, grads = gradients.per_example(lambda *a: loss(*a))(PARAMS, X, Y)
    assert all("a new equation" in leaf.reason for leaf in grads.layout.leaves)
    close(gradients.norms(grads), NORMS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="`strict` allows 0"):
            gradients.per_example(lambda *a: loss(*a), strict=0)(PARAMS, X, Y)


def test_what_is_asked_wrongly_is_refused_in_words():
    fn = gradients.per_example(loss)
    with pytest.raises(ValueError, match="`y` must have as many examples as `x`"):
        fn(PARAMS, X, Y[:3])
    with pytest.raises(ValueError, match="one number for an example, got shape"):
        gradients.per_example(lambda p, x: x @ p)(jnp.ones((3, 2)), jnp.ones((4, 3)))
    with pytest.raises(TypeError, match="floating number, got int32"):
        gradients.per_example(lambda p, x: jnp.argmax(p * x))(jnp.ones(3), X[:, 0])
    with pytest.raises(TypeError, match=r"`params`\['z'\] must be real, got complex64"):
        fn({"z": jnp.ones(2, jnp.complex64)}, X, Y)
    with pytest.raises(ValueError, match="at least one floating array"):
        fn({"i": jnp.ones(2, jnp.int32)}, X, Y)
    _, grads = fn(PARAMS, X, Y)
    with pytest.raises(ValueError, match=r"`weights` must have shape \(5,\)"):
        gradients.weighted_sum(grads, jnp.ones((5, 1)))
    with pytest.raises(ValueError, match='"auto", "gram" or "direct"'):
        gradients.norms(grads, "exact")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match='"fast" or "small"'):
        gradients.clipped_sum(loss, 1.0, memory="none")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="tree like the parameters"):
        gradients.dot(grads, {"w": PARAMS["w"]})
    with pytest.raises(ValueError, match=r"`direction`\['b'\] must have the shape"):
        gradients.directional(loss)(PARAMS, PARAMS | {"b": jnp.ones(5)}, X, Y)
    other = gradients.per_example(lambda p, x: jnp.sum(x @ p))(jnp.ones((3, 2)), X)[1]
    with pytest.raises(ValueError, match="gradients of the same parameters"):
        gradients.gram(grads, other)


def test_similarity_to_a_batch_of_longer_sequences():
    longer = DRAW.data(9, 3)
    grads = gradients.per_example(loss)(PARAMS, X, Y)[1]
    other = gradients.per_example(loss)(PARAMS, longer[:3], Y[:3])[1]
    wanted = jax.vmap(jax.grad(loss), (None, 0, 0))(PARAMS, longer[:3], Y[:3])
    rows, columns = (
        np.concatenate([g.reshape(len(g), -1) for g in jax.tree.leaves(tree)], 1)
        for tree in (WANTED, wanted)
    )
    close(gradients.gram(grads, other), rows @ columns.T, 1e-4)


@pytest.mark.parametrize("budget", [1, 40])
def test_similarity_in_small_parts_is_the_same(budget, monkeypatch):
    monkeypatch.setattr("jaxloss.gradients.similarity.BUDGET", budget)
    for draw_model in (cnn, transformer):
        model = draw_model(DRAW)
        grads = gradients.per_example(model.loss)(model.params, *model.batch)[1]
        rows = [
            g.reshape(BATCH, -1) for g in jax.tree.leaves(gradients.materialise(grads))
        ]
        rows = np.concatenate(rows, 1)
        # Anew: `gram` itself may have been compiled with another budget.
        anew = jax.jit(inspect.unwrap(gradients.gram), compiler_options=QUICK)
        close(anew(grads), rows @ rows.T, 1e-4)


def test_the_noise_scale_is_unbiased():
    rng = np.random.default_rng(0)
    mean, spread = np.array([1.0, -0.5, 0.2]), np.array([1.0, 2.0, 0.5])
    draws = mean + spread * rng.normal(size=(4000, 4, 3))

    def linear(w, x):
        return x @ w

    def estimate(x):
        grads = gradients.per_example(linear)(jnp.zeros(3), x)[1]
        return gradients.noise_scale(grads)

    trace, square = jax.jit(jax.vmap(estimate))(jnp.asarray(draws, jnp.float32))
    error = 5 / np.sqrt(len(draws))
    np.testing.assert_allclose(np.mean(trace), np.sum(spread**2), rtol=2 * error)
    np.testing.assert_allclose(np.mean(square), np.sum(mean**2), rtol=3 * error)
    scale = gradients.NoiseScale(np.mean(trace), np.mean(square)).scale
    np.testing.assert_allclose(scale, 5.25 / 1.29, rtol=0.2)


def test_the_noise_scale_leaves_padding_out():
    grads = gradients.per_example(loss)(PARAMS, X.at[4].set(jnp.nan), Y)[1]
    masked = gradients.noise_scale(grads, jnp.arange(BATCH) < 4)
    short = gradients.per_example(loss)(PARAMS, X[:4], Y[:4])[1]
    close(masked, gradients.noise_scale(short))


def common_mode(r, steps=32, n=64, m=64, batch=8):
    """Rows with a large common part, and cotangents that add up to 0."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, steps, n)) + r * rng.normal(size=(batch, 1, n))
    d = rng.normal(size=(batch, steps, m))
    d = d - d.mean(1, keepdims=True)
    x, d = x.astype(np.float32), d.astype(np.float32)
    exact = np.einsum("btn,btm->bnm", x.astype(np.float64), d.astype(np.float64))
    grads = gradients.per_example(lambda w, x, d: jnp.sum((x @ w) * d))(
        jnp.zeros((n, m)), jnp.asarray(x), jnp.asarray(d)
    )[1]
    return grads, np.sqrt((exact**2).sum((1, 2)))


def test_a_large_common_part_of_the_rows():
    grads, wanted = common_mode(1000.0)
    direct = gradients.norms(grads, "direct")
    np.testing.assert_allclose(direct, wanted, rtol=1e-4)
    # What the docstring says of "gram"; it is worse, and never nan.
    gram = np.asarray(gradients.norms(grads, "gram"))
    assert np.isfinite(gram).all() and np.abs(gram / wanted - 1).max() < 0.5
    grads, wanted = common_mode(1.0)
    np.testing.assert_allclose(gradients.norms(grads, "gram"), wanted, rtol=1e-5)
    grads, _ = common_mode(1e5)  # the squares may come out negative
    assert np.isfinite(gradients.norms(grads, "gram")).all()


def temporary_bytes(function, *arguments):
    compiled = jax.jit(function).lower(*arguments).compile()
    analysis = compiled.memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes


def test_memory_of_a_clipped_sum_is_that_of_the_batch_gradient():
    model = mlp(DRAW, inputs=784, width=512)
    batch = (jnp.ones((256, 784)), jnp.zeros(256, jnp.int32))

    def mean(params, *batch):
        return jnp.mean(jax.vmap(model.loss, (None, 0, 0))(params, *batch))

    one = temporary_bytes(jax.grad(mean), model.params, *batch)
    clipped = gradients.clipped_sum(model.loss, 1.0)
    norms = gradients.norms_streaming(model.loss)
    assert temporary_bytes(clipped, model.params, *batch) < 2.5 * one
    # An input is read twice, for its size and then for its norm, before it is let go.
    assert temporary_bytes(norms, model.params, *batch) < 1.4 * one


def test_streaming_keeps_the_memory_that_rematerialisation_saves():
    model = transformer(DRAW, remat=True, scanned=True, d=32)
    tokens = jnp.zeros((32, 6), jnp.int32)

    def mean(params, tokens):
        return jnp.mean(jax.vmap(model.loss, (None, 0))(params, tokens))

    one = temporary_bytes(jax.grad(mean), model.params, tokens)
    norms = gradients.norms_streaming(model.loss)
    assert temporary_bytes(norms, model.params, tokens) < 1.1 * one


SHARDED = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from jaxloss import gradients
from tests.gradients.models import Draw, cnn, transformer

mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
for draw in (transformer, cnn):
    model = draw(Draw(jnp.float32))
    batch = jax.tree.map(lambda x: jnp.concatenate([x] * 8)[:16], model.batch)
    spread = jax.device_put(batch, NamedSharding(mesh, P("data")))
    params = jax.device_put(model.params, NamedSharding(mesh, P()))

    def ask(params, batch):
        losses, grads = gradients.per_example(model.loss)(params, *batch)
        small = gradients.clipped_sum(model.loss, 0.1, memory="small")
        return (
            gradients.norms(grads),
            gradients.weighted_sum(grads, losses),
            gradients.gram(grads),
            small(params, *batch)[1:],
        )

    ask = jax.jit(ask, compiler_options={"xla_backend_optimization_level": 0})
    one, many = ask(model.params, batch), ask(params, spread)
    assert len(many[0].sharding.device_set) == 8
    compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    jax.tree.map(compare, one, many)
    grads = gradients.per_example(model.loss)(params, *spread)[1]
    x, delta = grads.factors[0]
    assert not delta.sharding.is_fully_replicated
"""


def test_a_batch_that_is_sharded_over_devices():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env=os.environ | flags,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
