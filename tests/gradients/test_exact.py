"""Factored gradients against the gradients themselves, on models of every kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import gradients
from jaxloss.gradients import sites
from tests.gradients.models import BATCH, MODELS

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


def reference(model):
    """Losses and gradients, one example at a time."""
    step = jax.jit(jax.value_and_grad(model.loss), compiler_options=QUICK)
    examples = [jax.tree.map(lambda x, i=i: x[i], model.batch) for i in range(BATCH)]
    losses, grads = zip(*(step(model.params, *e) for e in examples), strict=True)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *grads)
    return np.asarray(losses), flat(stacked)


def close(value, wanted, tolerance):
    value, wanted = np.asarray(value, np.float64), np.asarray(wanted, np.float64)
    assert value.shape == wanted.shape
    assert np.abs(value - wanted).max() <= tolerance * np.abs(wanted).max()


def answers(model, weights, direction, max_norm):
    """All that can be asked, by every way there is, in one program."""

    def ask(params, batch, weights, direction, max_norm):
        losses, grads = gradients.per_example(model.loss)(params, *batch)
        result = {
            "losses": losses,
            "materialise": gradients.materialise(grads),
            "weighted_sum": gradients.weighted_sum(grads, weights),
            "dot": gradients.dot(grads, direction),
            "gram": gradients.gram(grads),
            "directional": gradients.directional(model.loss)(
                params, direction, *batch
            )[1],
        }
        for method in ("auto", "gram", "direct"):
            result[f"norms {method}"] = gradients.norms(grads, method)
            result[f"streaming {method}"] = gradients.norms_streaming(
                model.loss, method=method
            )(params, *batch)[1]
        for memory in ("fast", "small"):
            result[f"clipped {memory}"] = gradients.clipped_sum(
                model.loss, max_norm, memory=memory
            )(params, *batch)[2]
        return result

    compiled = jax.jit(ask, compiler_options=QUICK)
    return compiled(model.params, model.batch, weights, direction, max_norm)


def check(model, tolerance):
    rng = np.random.default_rng(1)
    dtype = jax.tree.leaves(model.params)[0].dtype
    losses, wanted = reference(model)
    norms = np.linalg.norm(wanted, axis=1)
    max_norm = float(np.median(norms))
    weights = rng.normal(size=BATCH)
    direction = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), dtype), model.params
    )
    along = wanted @ one(direction)
    answer = answers(model, jnp.asarray(weights, dtype), direction, max_norm)
    close(answer["losses"], losses, tolerance)
    close(flat(answer["materialise"]), wanted, tolerance)
    close(one(answer["weighted_sum"]), weights @ wanted, tolerance)
    for name in ("dot", "directional"):
        # Relative to what is added up: the sum itself may be anywhere near 0.
        size = norms.max() * np.linalg.norm(one(direction))
        assert np.abs(np.asarray(answer[name]) - along).max() <= tolerance * size
    close(answer["gram"], wanted @ wanted.T, tolerance)
    for method in ("auto", "gram", "direct"):
        close(answer[f"norms {method}"], norms, tolerance)
        close(answer[f"streaming {method}"], norms, tolerance)
    clipped = np.minimum(1, max_norm / norms) @ wanted
    for memory in ("fast", "small"):
        close(one(answer[f"clipped {memory}"]), clipped, tolerance)


every_model = pytest.mark.parametrize("name", MODELS)
