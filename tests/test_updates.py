"""Updates from per-example gradients against the same sums written out in NumPy."""

import functools
import io
import itertools
import pickle
from typing import Any

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax.experimental import aggregating

from jaxloss import gradients, updates

BATCH = 6
QUICK = {"xla_backend_optimization_level": 0}
KEY = jax.random.key(7)
FORMS = pytest.mark.parametrize("form", ["factors", "tree"])


def loss(params, x, y):
    h = jnp.tanh(x @ params["w"] + params["b"][None])
    return jnp.sum((jnp.mean(h, 0) @ params["v"] - y) ** 2)


def setting(dtype=jnp.float32, size=BATCH):
    rng = np.random.default_rng(0)
    shapes = {"b": (4,), "v": (4, 2), "w": (3, 4)}
    params = {k: jnp.asarray(rng.normal(size=s), dtype) for k, s in shapes.items()}
    x, y = rng.normal(size=(size, 5, 3)), 3 * rng.normal(size=(size, 2))
    return params, jnp.asarray(x, dtype), jnp.asarray(y, dtype)


def given(form, params, x, y):
    """Gradients of each example in one of the two forms."""
    return FUNCTIONS[form](params, x, y)


FUNCTIONS = {
    "tree": jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0)), compiler_options=QUICK),
    "factors": lambda *args: gradients.per_example(loss)(*args)[1],
}


def rows(params, x, y):
    """The same, one row of float64 numbers for each example."""
    tree = given("tree", params, x, y)
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], 1)


def flat(tree):
    leaves = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)]
    return np.concatenate(leaves)


def clip(table, limit):
    norm = np.linalg.norm(table, axis=1, keepdims=True)
    return table * np.minimum(1, limit / norm)


@functools.cache
def compiled(link):
    def update(grads, params, extra):
        return link.update(grads, link.init(params), params, **extra)[0]

    return jax.jit(update, compiler_options=QUICK)


def once(link, grads, params, **extra):
    """The first update, compiled without optimisation: it is asked for values."""
    return compiled(link)(grads, params, extra)


def close(value, wanted, tolerance=1e-5):
    value = flat(value)
    assert np.abs(value - wanted).max() <= tolerance * np.abs(wanted).max()


# The means


@FORMS
@pytest.mark.parametrize(("x64", "tolerance"), [(False, 1e-5), (True, 1e-12)])
def test_means_and_private_sums_are_those_of_the_gradients(form, x64, tolerance):
    with jax.enable_x64(x64):
        params, x, y = setting(jnp.float64 if x64 else jnp.float32)
        grads, table = given(form, params, x, y), rows(params, x, y)
        weights = np.array([1.0, 0.25, 0.0, 1.0, 0.5, 0.75])
        limit = float(np.median(np.linalg.norm(table, axis=1)))
        w = jnp.asarray(weights, x.dtype)

        mean = once(updates.weighted_mean(), grads, params)
        close(mean, table.mean(0), tolerance)
        mean = once(updates.weighted_mean(), grads, params, weights=w)
        close(mean, weights @ table / weights.sum(), tolerance)
        for method in ("gram", "direct"):
            link = updates.clipped_mean(limit, method=method)
            close(once(link, grads, params), clip(table, limit).mean(0), tolerance)
        mean = once(updates.clipped_mean(limit), grads, params, weights=w)
        close(mean, weights @ clip(table, limit) / weights.sum(), tolerance)
        link = updates.private(limit, 0.0, 8, jax.random.key(0))
        mean = once(link, grads, params, weights=w)
        close(mean, weights @ clip(table, limit) / 8, tolerance)


@FORMS
def test_the_mean_without_weights_is_the_gradient_of_the_mean_loss(form):
    params, x, y = setting()
    wanted = jax.grad(
        lambda p: jnp.mean(jax.vmap(loss, (None, 0, 0))(p, x, y)),
    )(params)
    close(
        once(updates.weighted_mean(), given(form, params, x, y), params), flat(wanted)
    )


@FORMS
def test_an_example_of_weight_0_reaches_nothing(form):
    params, x, y = setting()
    mean, clipped = updates.weighted_mean(), updates.clipped_mean(1.0)
    private = updates.private(1.0, 0.0, 5, KEY)
    table = np.delete(rows(params, x, y), 2, 0)
    for bad, dtype in ((jnp.nan, jnp.bool_), (jnp.inf, jnp.int32), (1e30, jnp.bool_)):
        grads = given(form, params, x, y.at[2].set(bad))
        weights = jnp.array([1, 1, 0, 1, 1, 1], dtype)
        close(once(mean, grads, params, weights=weights), table.mean(0))
        for link in (clipped, private):
            wanted = clip(table, 1.0).mean(0)
            close(once(link, grads, params, weights=weights), wanted)


@FORMS
def test_clipping_makes_a_gradient_that_is_not_finite_0_and_leaves_its_weight(form):
    params, x, y = setting()
    grads = given(form, params, x, y.at[2].set(jnp.nan))
    kept = clip(np.delete(rows(params, x, y), 2, 0), 1.0)
    close(once(updates.clipped_mean(1.0), grads, params), kept.sum(0) / BATCH)


@FORMS
def test_a_mean_over_nothing_is_0(form):
    params, x, y = setting()
    full, empty = given(form, params, x, y), given(form, params, x[:0], y[:0])
    for link in (
        updates.weighted_mean(),
        updates.clipped_mean(1.0),
        updates.skip_non_finite(),
        updates.private(1.0, 0.0, 4, KEY),
    ):
        for grads, weights in ((full, jnp.zeros(BATCH)), (empty, None)):
            mean = once(link, grads, params, weights=weights)
            jax.tree.map(
                np.testing.assert_array_equal,
                mean,
                jax.tree.map(jnp.zeros_like, params),
            )


@FORMS
def test_narrow_parameters_get_sums_that_were_rounded_once(form):
    params, x, y = setting(jnp.bfloat16)
    wanted = rows(params, x, y).mean(0)
    mean = once(updates.weighted_mean(), given(form, params, x, y), params)
    assert {leaf.dtype for leaf in jax.tree.leaves(mean)} == {jnp.dtype(jnp.bfloat16)}
    if form == "tree":  # Half a unit in the last place, each element by itself.
        assert (np.abs(flat(mean) - wanted) <= 2**-8 * np.abs(wanted) + 1e-6).all()
    else:  # Each gradient of the reference is rounded, that of the factors is not.
        close(mean, wanted, 2**-7)


def test_a_mean_does_not_overflow_where_its_sum_would():
    grads = jnp.full((8, 2), 3e4, jnp.float16)
    mean = once(updates.weighted_mean(), grads, jnp.zeros(2, jnp.float16))
    np.testing.assert_array_equal(mean, np.full(2, 3e4, np.float16))


# Privacy


@jax.jit
def private_sum(limit, grads, weights=None):
    """The sum before noise, compiled as it is for users."""
    link = updates.private(limit, 0.0, 1, KEY)
    return link.update(grads, link.init({}), weights=weights)[0]


SCALES = [1e-30, 1.0, 1e4, 1e18, 3e38, np.inf, np.nan]


@FORMS
@pytest.mark.parametrize("limit", [1e-2, 1e3])
def test_one_example_moves_the_sum_by_at_most_the_norm(form, limit):
    params, x, y = setting()
    without = np.arange(BATCH) != 3
    there = private_sum(limit, given(form, params, x[without], y[without]))
    rounding = 1e-5 * limit + 1e-6 * np.linalg.norm(flat(there))
    for scale in SCALES:
        for spoiled in ((x, y.at[3].set(scale)), (x.at[3, 0].set(scale), y)):
            here = private_sum(limit, given(form, params, *spoiled))
            distance = np.linalg.norm(flat(here) - flat(there))
            assert distance <= limit + rounding
            if not np.isfinite(rows(params, *spoiled)).all():
                assert distance <= rounding


def test_a_tiny_input_does_not_hide_a_huge_cotangent():
    # The square of the input vanishes in float32, the gradient does not.
    def product(params, x, scale):
        return jnp.sum(x @ params) * scale

    small, large = [1e-37, 0.9e-19, 1e-12, 1.0], [1.0, 1e12, 1.7e19, 1e38]
    for x, scale in itertools.product(small, large):
        batch = jnp.full((1, 3), x, jnp.float32), jnp.full(1, scale, jnp.float32)
        _, grads = gradients.per_example(product)(jnp.zeros((3, 2)), *batch)
        norm = np.linalg.norm(flat(private_sum(1e-2, grads)))
        assert norm <= 1e-2 * (1 + 1e-5)
        exact = np.sqrt(6) * x * scale
        if exact < 1e18:
            np.testing.assert_allclose(norm, min(exact, 1e-2), rtol=1e-5, atol=1e-30)


def test_the_sum_of_narrow_gradients_is_not_rounded_before_the_noise():
    # In bfloat16 the sum of 1000 examples would not be changed by one more.
    grads = jnp.full((1000, 4), 0.5, jnp.bfloat16)
    for weights in (jnp.ones(1000), jnp.ones(1000).at[0].set(0)):
        link = updates.private(1.0, 1e-2, 1, KEY)
        narrow = once(link, grads, None, weights=weights)
        wide = once(link, grads.astype(jnp.float32), None, weights=weights)
        np.testing.assert_array_equal(narrow, wide.astype(jnp.bfloat16))
        assert np.abs(wide - jnp.sum(weights) / 2).max() < 0.05


@FORMS
def test_weights_beyond_0_and_1_do_not_raise_the_sensitivity(form):
    params, x, y = setting()
    grads = given(form, params, x, y)
    wild = jnp.array([-3.0, 7.0, jnp.nan, jnp.inf, 1.0, 0.5])
    weights = np.array([0, 1, 0, 1, 1, 0.5])
    wanted = weights @ clip(rows(params, x, y), 1.0)
    close(private_sum(1.0, grads, wild), wanted)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_noise_is_gaussian_of_the_stated_size_and_independent(dtype):
    limit, multiplier, size, count = 0.5, 3.0, 10, 20_000
    params = {"a": jnp.zeros(count, dtype), "b": jnp.zeros((count,), dtype)}
    link = updates.private(limit, multiplier, size, KEY)
    empty = jax.tree.map(lambda p: jnp.zeros((0, *p.shape), dtype), params)
    state, draws = link.init(params), []
    for _ in range(2):
        noise, state = link.update(empty, state, params)
        draws += [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(noise)]
    draws = np.stack(draws) / (limit * multiplier / size)
    # Five standard errors of each statistic, or the tests of few would fail by chance.
    error = 5 / np.sqrt(count)
    assert np.abs(draws.mean(1)).max() < error
    assert np.abs(draws.var(1) - 1).max() < error * np.sqrt(2)
    assert np.abs((draws**4).mean(1) - 3).max() < error * np.sqrt(96)
    correlation = np.corrcoef(draws) - np.eye(4)  # over leaves and steps
    assert np.abs(correlation).max() < error
    assert np.abs(np.mean(draws[:, 1:] * draws[:, :-1], 1)).max() < error


def test_the_noise_follows_from_the_key_in_the_state():
    params, x, y = setting()
    grads = given("factors", params, x, y)
    link = updates.private(1.0, 1.0, BATCH, KEY)
    start = link.init(params)
    update = jax.jit(link.update, compiler_options=QUICK)
    first, state = update(grads, start, params)
    again, _ = update(grads, start, params)
    second, _ = update(grads, state, params)
    np.testing.assert_array_equal(flat(first), flat(again))
    assert not np.any(flat(first) == flat(second))
    raw = updates.private(1.0, 1.0, BATCH, jax.random.key_data(KEY))
    close(once(raw, grads, params), flat(first), 1e-6)
    other = updates.private(1.0, 1.0, BATCH, jax.random.key(7, impl="rbg"))
    assert not np.any(flat(once(other, grads, params)) == flat(first))


# What wraps and what watches


@FORMS
def test_examples_that_are_not_finite_are_skipped_and_counted(form):
    params, x, y = setting()
    grads = given(form, params, x, y.at[2].set(jnp.nan).at[5].set(jnp.inf))
    link = updates.skip_non_finite()
    weights = jnp.array([1.0, 2, 3, 4, 5, 0])
    losses = jnp.array([1.0, jnp.inf, jnp.nan, 0, 0, 0])
    table = rows(params, x, y)
    state: Any = link.init(params)

    mean, state = link.update(grads, state, params)
    close(mean, table[[0, 1, 3, 4]].mean(0))
    assert (state.skipped, state.skipped_last) == (2, 2)
    mean, state = link.update(grads, state, params, weights=weights)
    close(mean, np.array([1, 2, 4, 5]) @ table[[0, 1, 3, 4]] / 12)
    assert (state.skipped, state.skipped_last) == (3, 1)  # one had weight 0
    mean, state = link.update(grads, state, params, losses=losses)
    close(mean, table[[0, 3, 4]].mean(0))
    assert (state.skipped, state.skipped_last) == (6, 3)


@FORMS
def test_skipping_takes_the_example_out_of_the_divisor_of_a_clipped_mean(form):
    params, x, y = setting()
    grads = given(form, params, x, y.at[2].set(jnp.nan))
    kept = clip(np.delete(rows(params, x, y), 2, 0), 1.0)
    inner = optax.chain(updates.clipped_mean(1.0), optax.scale(-2.0))
    close(once(updates.skip_non_finite(inner), grads, params), -2 * kept.mean(0))


@FORMS
def test_the_monitor_averages_both_estimates_without_the_bias_of_the_start(form):
    decay, link = 0.8, updates.monitor_noise_scale(0.8)
    state: Any
    after: Any
    params, x, y = setting()
    state, seen = link.init(params), []
    assert np.isnan(state.average.scale)
    for shift in (0.0, 1.0, 2.0):
        grads = given(form, params, x + shift, y)
        passed, state = link.update(grads, state, params)
        assert passed is grads
        table = rows(params, x + shift, y)
        trace = np.trace(np.cov(table.T))
        seen.append((trace, np.sum(table.mean(0) ** 2) - trace / BATCH))
    shares = decay ** np.arange(3)[::-1]
    wanted = shares @ np.array(seen) / shares.sum()
    np.testing.assert_allclose(state.average, wanted, rtol=1e-4)
    np.testing.assert_allclose(state.average.scale, wanted[0] / wanted[1], rtol=1e-4)
    assert state.steps == 3

    bad = given(form, params, x, y.at[0].set(jnp.nan))
    one = jnp.arange(BATCH) == 1
    for batch, weights in ((bad, None), (grads, one), (grads, jnp.zeros(BATCH))):
        _, after = link.update(batch, state, params, weights=weights)
        jax.tree.map(np.testing.assert_array_equal, after, state)
    counted = jnp.arange(BATCH) > 0
    _, after = link.update(bad, link.init(params), params, weights=counted)
    rest = np.trace(np.cov(rows(params, x, y)[1:].T))
    np.testing.assert_allclose(after.average.trace, rest, rtol=1e-4)


# Among the rest of optax


@pytest.fixture
def promoting():
    """Optax promotes integers to floats, which the strict tests forbid."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def links():
    return {
        "weighted_mean": updates.weighted_mean(),
        "clipped_mean": updates.clipped_mean(1.0),
        "private": updates.private(1.0, 0.5, BATCH, KEY),
        "skip_non_finite": updates.skip_non_finite(updates.clipped_mean(1.0)),
        "monitor": optax.chain(
            updates.monitor_noise_scale(), updates.clipped_mean(1.0)
        ),
    }


STATEFUL = pytest.mark.parametrize("name", ["private", "skip_non_finite", "monitor"])


@STATEFUL
def test_both_forms_give_the_same_step_of_adam(name, promoting):
    params, x, y = setting()
    optimizer = optax.chain(links()[name], optax.adam(optax.linear_schedule(1, 0, 9)))
    weights = jnp.array([1, 0, 1, 1, 1, 1])
    state, steps = optimizer.init(params), []
    update = jax.jit(optimizer.update, compiler_options=QUICK)
    for form in ("factors", "tree"):
        grads = given(form, params, x, y)
        steps.append(update(grads, state, params, weights=weights))
    (step, state), (other, there) = steps
    close(step, flat(other), 1e-5)
    close(state, flat(there), 1e-5)
    assert jax.tree.structure(state) == jax.tree.structure(there)


def test_a_chain_equals_the_optimizer_given_the_mean(promoting):
    params, x, y = setting()
    grads, tree = given("factors", params, x, y), given("tree", params, x, y)
    mean = jax.tree.map(lambda g: jnp.mean(g, 0), tree)
    schedule = optax.cosine_decay_schedule(1, 9)
    for optimizer in (
        optax.sgd(0.1, momentum=0.9),
        optax.adamw(1e-2, mask={"b": False, "v": True, "w": True}),
        optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(schedule)),
        optax.masked(optax.sgd(0.3), {"b": False, "v": True, "w": True}),
        optax.multi_transform(
            {"train": optax.adam(1e-2), "freeze": optax.set_to_zero()},
            {"b": "freeze", "v": "train", "w": "train"},
        ),
        optax.MultiSteps(optax.sgd(0.1), 2).gradient_transformation(),
    ):
        step = once(optax.chain(updates.weighted_mean(), optimizer), grads, params)
        wanted = once(optimizer, mean, params)
        np.testing.assert_allclose(flat(step), flat(wanted), rtol=1e-4, atol=1e-6)


def test_parts_of_a_materialised_tree_can_be_clipped_each_by_itself():
    params, x, y = setting()
    tree = given("tree", params, x, y)
    labels = {"b": "small", "v": "large", "w": "large"}
    link = optax.multi_transform(
        {"small": updates.clipped_mean(0.1), "large": updates.clipped_mean(1.0)},
        labels,
    )
    mean = once(link, tree, params)
    kept = np.asarray(tree["b"], np.float64)
    close({"b": mean["b"]}, clip(kept, 0.1).mean(0))
    large = {k: tree[k] for k in ("v", "w")}
    table = np.concatenate([np.reshape(g, (BATCH, -1)) for g in large.values()], 1)
    close({k: mean[k] for k in large}, clip(np.float64(table), 1.0).mean(0))


def test_the_clipping_norm_may_follow_a_schedule(promoting):
    params, x, y = setting()
    grads, table = given("factors", params, x, y), rows(params, x, y)
    schedule = optax.linear_schedule(2.0, 1.0, 1)
    link = optax.inject_hyperparams(updates.clipped_mean, static_args="method")(
        schedule
    )
    state: Any = link.init(params)
    for limit in (2.0, 1.0):
        mean, state = link.update(grads, state, params)
        close(mean, clip(table, limit).mean(0))


def test_they_are_aggregators_and_stand_in_the_process_of_optax():
    params, x, y = setting()
    tree = given("tree", params, x, y)
    for name, link in links().items():
        assert isinstance(link, aggregating.Aggregator) or name == "monitor"
        assert isinstance(link, optax.GradientTransformationExtraArgs)
    process = aggregating.process(
        optax.identity(), updates.clipped_mean(1.0), optax.scale(-1.0)
    )
    step, _ = jax.jit(process.update)(tree, process.init(params), params)
    close(step, -clip(rows(params, x, y), 1.0).mean(0))


@STATEFUL
def test_a_step_compiles_once_and_trains_in_a_scan(name, promoting):
    params, x, y = setting()
    optimizer = optax.chain(links()[name], optax.adam(1e-2))
    traces = []

    def step(params, state, weights):
        traces.append(None)
        losses, grads = gradients.per_example(loss)(params, x, y)
        change, state = optimizer.update(
            grads, state, params, weights=weights, losses=losses
        )
        return optax.apply_updates(params, change), state, jnp.mean(losses)

    state, weights = optimizer.init(params), jnp.ones(BATCH)
    jitted = jax.jit(step, compiler_options=QUICK)
    one, then, _ = jitted(params, state, weights)
    jitted(one, then, weights)
    assert len(traces) == 1

    def body(carry, _):
        params, state, mean = step(carry[0], carry[1], weights)
        return (params, state), mean

    def train(carry):
        return jax.lax.scan(body, carry, length=40)

    _, means = jax.jit(train, compiler_options=QUICK)((params, state))
    assert means[-1] < 0.8 * means[0]


@STATEFUL
def test_the_state_is_arrays_that_can_be_saved(name, promoting):
    params, x, y = setting()
    grads = given("factors", params, x, y)
    optimizer = optax.chain(links()[name], optax.adam(1e-2))
    update = jax.jit(optimizer.update, compiler_options=QUICK)
    _, state = update(grads, optimizer.init(params), params)
    saved = flax.serialization.to_bytes(state)
    again = flax.serialization.from_bytes(optimizer.init(params), saved)
    pickled = pickle.load(io.BytesIO(pickle.dumps(state)))
    for other in (again, pickled):
        step, wanted = (update(grads, s, params) for s in (other, state))
        jax.tree.map(np.testing.assert_array_equal, step, wanted)


# Errors


def test_what_is_wrong_is_said():
    params, x, y = setting()
    tree = given("tree", params, x, y)
    link = updates.weighted_mean()

    def gives(
        updates_, message, kind: type[Exception] = ValueError, params=params, **extra
    ):
        with pytest.raises(kind, match=message):
            once(link, updates_, params, **extra)

    for grads in (tree, given("factors", params, x, y)):
        gives(grads, r"`weights` must have shape \(6,\).*\(5,\)", weights=jnp.ones(5))
        gives(
            grads,
            r"`weights` must have shape \(6,\).*\(6, 1\)",
            weights=jnp.ones((6, 1)),
        )
    gives(params, r"`updates`\['b'\] must have an example axis")
    gives(jnp.zeros(()), "example axis", params=None)
    gives(tree | {"v": tree["v"][:3]}, r"\['v'\] must hold 6 examples.* got 3")
    gives(jnp.ones((3, 2), jnp.int32), "floating, got int32", TypeError, params=None)
    both = gradients.per_example(loss)(params, x, y)
    gives(both, r"`updates`\[1\] is a PerExampleGradients", TypeError, params=None)
    skipping = updates.skip_non_finite()
    with pytest.raises(ValueError, match=r"`losses` must have shape \(6,\)"):
        once(skipping, tree, params, losses=jnp.ones(()))


def test_numbers_out_of_range_are_refused():
    nan = float("nan")
    for bad in (0.0, -1.0, nan, float("inf")):
        with pytest.raises(ValueError, match="`max_norm` must be above 0"):
            updates.clipped_mean(bad)
        with pytest.raises(ValueError, match="`max_norm` must be above 0"):
            updates.private(bad, 1.0, 4, KEY)
        with pytest.raises(ValueError, match="`batch_size` must be above 0"):
            updates.private(1.0, 1.0, bad, KEY)
    for bad in (-0.1, nan):
        with pytest.raises(ValueError, match="`noise_multiplier` must be at least 0"):
            updates.private(1.0, bad, 4, KEY)
    for bad in (-0.1, 1.0, nan):
        with pytest.raises(ValueError, match=r"`decay` must be at least 0 and below 1"):
            updates.monitor_noise_scale(bad)
    wrong: list[Any] = [0, jax.random.split(KEY), jnp.ones(2)]
    for bad in wrong:
        with pytest.raises(TypeError, match="`key` must be one key"):
            updates.private(1.0, 1.0, 4, bad)
