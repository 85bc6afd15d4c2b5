"""No example moves a clipped sum by more than the norm, however odd its numbers."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import gradients, updates

LIMIT = 0.01
SCALES = [1e-30, 1e-20, 1e-10, 1.0, 1e10, 1e20, 1e30]


def dense(w, x, y):
    return jnp.sum(x[0] @ w) * y


def steps(w, x, y):
    return jnp.sum(x @ w) * y


def image(w, x, y):
    kernel = jnp.reshape(w, (3, 1, 2))
    dims = ("NWC", "WIO", "NWC")
    signal = jnp.reshape(x, (1, -1, 1))
    return (
        jnp.sum(
            jax.lax.conv_general_dilated(signal, kernel, (1,), "SAME", None, None, dims)
        )
        * y
    )


def scanned(w, x, y):
    def step(total, row):
        return total + jnp.sum(row @ w), None

    return jax.lax.scan(step, jnp.zeros(()), x)[0] * y


def tied(w, x, y):
    # Used twice, and looked up: three sites that make up one parameter.
    return (jnp.sum(x @ w) + jnp.sum(w[jnp.array([0, 2, 0])])) * y


def rows(w, x, y):
    """A lookup; its cotangent is what the example holds."""
    index = jnp.where(x[0] == x[0], jnp.array([0, 2, 0]), 1)
    return jnp.sum(w[index] * jnp.sum(x)) * y


def fallback(w, x, y):
    return jnp.sum(jnp.tanh(w) * jnp.sum(x)) * y


PLACES = [dense, steps, image, scanned, tied, rows, fallback]


def batch():
    """Every pair of scales, for what the parameter meets and for the cotangent."""
    pairs = np.array(list(itertools.product(SCALES, SCALES)))
    x = np.array([[1.0, -0.5, 0.25], [0.5, 0.75, -1.0]])[None] * pairs[:, :1, None]
    return jnp.asarray(x, jnp.float32), jnp.asarray(pairs[:, 1], jnp.float32)


def sums(place, w, x, y):
    """Norms and clipped sums of one example, by every way there is."""
    tree = jax.vmap(jax.grad(place), (None, 0, 0))(w, x[None], y[None])
    _, grads = gradients.per_example(place)(w, x[None], y[None])
    found: dict[str, Any] = {"norms": (gradients.norms(grads), None)}
    for memory in ("fast", "small"):
        for method in ("auto", "gram", "direct"):
            fn = gradients.clipped_sum(place, LIMIT, memory=memory, method=method)
            found[f"{memory} {method}"] = fn(w, x[None], y[None])[1:]
    links = {
        "mean": updates.clipped_mean(LIMIT),
        "private": updates.private(LIMIT, 0.0, 1, jax.random.key(0)),
    }
    for name, link in links.items():
        for form, given in (("factors", grads), ("tree", tree)):
            found[f"{name} {form}"] = None, link.update(given, link.init(w), w)[0]
    return found


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_no_example_exceeds_the_norm_whatever_the_sizes(place):
    x, y = batch()
    w = jnp.linspace(-1.0, 1.5, 6).reshape(3, 2)
    compiled = jax.jit(
        jax.vmap(lambda x, y: sums(place, w, x, y)),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    with jax.enable_x64(True):
        wide = (a.astype(jnp.float64) for a in (w, x, y))
        exact = jax.vmap(jax.grad(place), (None, 0, 0))(*wide)
        exact = np.linalg.norm(np.asarray(exact).reshape(len(x), -1), axis=1)
    ordinary = (exact > 1e-18) & (exact < 1e18)
    for name, (norms, total) in compiled(x, y).items():
        if norms is not None:
            np.testing.assert_allclose(norms[ordinary, 0], exact[ordinary], rtol=1e-5)
        if total is not None:
            lengths = np.linalg.norm(
                np.asarray(total, np.float64).reshape(len(x), -1), axis=1
            )
            assert (lengths <= LIMIT * (1 + 1e-5)).all(), name
            wanted = np.minimum(exact, LIMIT)[ordinary]
            np.testing.assert_allclose(lengths[ordinary], wanted, rtol=1e-5)
