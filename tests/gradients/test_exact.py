"""Factored gradients against the gradients themselves, on models of every kind."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import gradients
from jaxloss.gradients import sites
from tests.gradients.models import BATCH, MODELS, Draw, Model

# Compiled without optimisation: these tests ask for values, not for speed.
QUICK = {"xla_backend_optimization_level": 0}


def flat(tree):
    """Materialised gradients as (batch, all parameters), float64."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([leaf.reshape(BATCH, -1) for leaf in leaves], 1)


def one(tree):
    return np.concatenate(
        [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)]
    )


@functools.cache
def wide(name):
    """A model in float64 whose numbers float32 can hold, its losses and gradients.

    One example at a time, by `jax.grad`; for the tests in both dtypes.
    """
    with jax.enable_x64(True):
        loss, *numbers = MODELS[name](Draw(jnp.float64))
        model = Model(loss, *cast(cast(numbers, jnp.float32), jnp.float64))
        step = jax.jit(jax.value_and_grad(loss), compiler_options=QUICK)
        rows = [jax.tree.map(lambda x, i=i: x[i], model.batch) for i in range(BATCH)]
        losses, grads = zip(*(step(model.params, *row) for row in rows), strict=True)
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *grads)
        return model, np.asarray(losses), flat(stacked)


def narrow(name):
    """The same model in float32."""
    loss = MODELS[name](Draw(jnp.float32)).loss
    with jax.enable_x64(True):
        return Model(loss, *cast(wide(name)[0][1:], jnp.float32))


def cast(tree, dtype):
    return jax.tree.map(
        lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )


def close(value, wanted, tolerance):
    value, wanted = np.asarray(value, np.float64), np.asarray(wanted, np.float64)
    assert value.shape == wanted.shape
    assert np.abs(value - wanted).max() <= tolerance * np.abs(wanted).max()


def answers(model, weights, direction, every):
    """All that can be asked, by the usual way or by every way there is, at once."""

    def ask(params, batch, weights, direction):
        losses, grads = gradients.per_example(model.loss)(params, *batch)
        found = {
            "losses": losses,
            "weighted_sum": gradients.weighted_sum(grads, weights),
            "dot": gradients.dot(grads, direction),
            "gram": gradients.gram(grads),
            "norms": [gradients.norms(grads)],
        }
        if every:
            found["materialise"] = gradients.materialise(grads)
            found["norms"] += [gradients.norms(grads, m) for m in ("gram", "direct")]
            found["norms"].append(
                gradients.norms_streaming(model.loss)(params, *batch)[1]
            )
        return found

    compiled = jax.jit(ask, compiler_options=QUICK)
    return compiled(model.params, model.batch, weights, direction)


def draw_questions(model):
    rng = np.random.default_rng(1)
    dtype = jax.tree.leaves(model.params)[0].dtype
    weights = jnp.asarray(rng.normal(size=BATCH), dtype)
    direction = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), dtype), model.params
    )
    return weights, direction


def check_slopes(slopes, wanted, direction, tolerance):
    # Relative to what is added up: the sum itself may be anywhere near 0.
    size = np.linalg.norm(wanted, axis=1).max() * np.linalg.norm(one(direction))
    error = np.abs(np.asarray(slopes) - wanted @ one(direction))
    assert error.max() <= tolerance * size


def check(name, model, tolerance, every):
    _, losses, wanted = wide(name)
    weights, direction = draw_questions(model)
    answer = answers(model, weights, direction, every)
    close(answer["losses"], losses, tolerance)
    if every:
        close(flat(answer["materialise"]), wanted, tolerance)
    close(one(answer["weighted_sum"]), np.asarray(weights) @ wanted, tolerance)
    close(answer["gram"], wanted @ wanted.T, tolerance)
    for norms in answer["norms"]:
        close(norms, np.linalg.norm(wanted, axis=1), tolerance)
    check_slopes(answer["dot"], wanted, direction, tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_every_answer_is_exact_in_float64(name):
    with jax.enable_x64(True):
        check(name, wide(name)[0], 1e-12, every=True)


@pytest.mark.parametrize("name", MODELS)
def test_every_answer_is_close_in_float32(name):
    every = name in ("mlp", "transformer_both", "adversarial")
    check(name, narrow(name), 1e-5, every)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_not_factored_gives_the_same_answers(name, monkeypatch):
    monkeypatch.setattr(sites, "match", lambda eqn, param: None)
    with jax.enable_x64(True):
        model, _, wanted = wide(name)

        def ask(params, batch):
            grads = gradients.per_example(model.loss)(params, *batch)[1]
            return gradients.norms(grads), gradients.weighted_sum(grads, jnp.ones(5))

        compiled = jax.jit(ask, compiler_options=QUICK)
        norms, total = compiled(model.params, model.batch)
        close(norms, np.linalg.norm(wanted, axis=1), 1e-12)
        close(one(total), wanted.sum(0), 1e-12)


@pytest.mark.parametrize("name", ["mlp", "cnn", "nested_scans", "adversarial"])
def test_clipped_sums_and_directions_are_exact(name):
    with jax.enable_x64(True):
        model, _, wanted = wide(name)
        norms = np.linalg.norm(wanted, axis=1)
        limit = float(np.median(norms))
        _, direction = draw_questions(model)

        def ask(params, batch, direction):
            slopes = gradients.directional(model.loss)(params, direction, *batch)[1]
            small = gradients.clipped_sum(model.loss, limit, memory="small")
            fast = gradients.clipped_sum(model.loss, limit)
            return slopes, [f(params, *batch)[1:] for f in (small, fast)]

        compiled = jax.jit(ask, compiler_options=QUICK)
        slopes, sums = compiled(model.params, model.batch, direction)
        check_slopes(slopes, wanted, direction, 1e-12)
        for measured, total in sums:
            close(measured, norms, 1e-12)
            close(one(total), np.minimum(1, limit / norms) @ wanted, 1e-12)
