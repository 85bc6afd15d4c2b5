"""Which parameters are factored, where they meet the example, and why not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import gradients
from tests.gradients.models import (
    MODELS,
    Draw,
    adversarial,
    cnn,
    experts,
    mlp,
    resnet,
    rnn,
    transformer,
)

DRAW = Draw(jnp.float32)


def explained(model, **options):
    example = jax.tree.map(lambda x: x[0], model.batch)
    return gradients.explain(model.loss, model.params, *example, **options)


def kept(model):
    """For each parameter, what is said of it; joined where it is used apart."""
    said = {}
    for row in explained(model).rows:
        said.setdefault(row.name, []).append(row.kept)
    return {name.strip("[]'"): ", ".join(parts) for name, parts in said.items()}


wide = functools.partial(transformer, d=128, vocabulary=500)

WIDE = {
    "mlp": functools.partial(mlp, inputs=784, width=512),
    "cnn": functools.partial(cnn, width=32),
    "resnet": functools.partial(resnet, width=64),
    "transformer_untied": functools.partial(wide, tied=False),
    "transformer_tied": wide,
    "transformer_both": functools.partial(wide, remat=True, scanned=True),
}


@pytest.mark.parametrize("name", WIDE)
def test_a_model_of_usual_width_is_factored(name):
    assert explained(WIDE[name](DRAW)).share >= 0.99


@pytest.mark.parametrize("name", [name for name in MODELS if name != "adversarial"])
def test_only_what_is_added_or_multiplied_is_materialised(name):
    said = {row.kept for row in explained(MODELS[name](DRAW)).rows}
    whole = {kept for kept in said if kept.startswith("whole")}
    assert {kept.partition(",")[0] for kept in whole} <= {"whole: add", "whole: mul"}


def test_the_plan_of_a_transformer_with_a_tied_head():
    said = explained(transformer(DRAW)).rows
    rows = {row.name: row for row in said}
    assert rows["['embed']"].kept == "dot_general + gather"
    assert rows["['embed']"].sizes == (1, 12, 11, 8)
    assert rows["['layers'][0]['qkv']"].sizes == (1, 6, 8, 24)
    assert rows["['layers'][0]['out']"].norm == "direct"
    long = {row.name: row.norm for row in explained(wide(DRAW)).rows}
    assert long["['layers'][0]['out']"] == "gram"
    assert rows["['layers'][1]['norm']"].kept == "whole: mul"
    assert rows["['place']"].kept == "whole: add"


def test_scans_over_layers_are_groups_and_scans_over_time_are_steps():
    rows = {row.name: row for row in explained(transformer(DRAW, scanned=True)).rows}
    assert rows["['layers']['up']"].sizes == (2, 6, 8, 16)
    rows = {row.name: row for row in explained(rnn(DRAW, unrolled=False)).rows}
    assert rows["['again']"].sizes == (1, 5, 6, 6)
    rows = {row.name: row for row in explained(rnn(DRAW, unrolled=True)).rows}
    assert rows["['again']"].kept == "5 dot_general"
    assert rows["['again']"].sizes == (1, 5, 6, 6)


def test_the_reasons_name_the_equation():
    assert kept(adversarial(DRAW)) == {
        "a": "dot_general",
        "auto": "2 dot_general",
        "b": "dot_general",
        "branch": "whole: cond",
        "decay": "whole: add, after sin",
        "fused": "dot_general",
        "gain": "whole: dot_general, after mul",
        "over": "whole: two uses share some of its elements, but not all",
        "stack": "dot_general, dot_general",
        "table": "dynamic_slice",
        "unused": "nothing: does not reach the loss",
        "v": "whole: dot_general, after mul",
    }


def test_lookups_experts_and_inner_maps_are_factored():
    said = kept(experts(DRAW))
    assert said.pop("experts") == said.pop("gate") == said.pop("inner") == "dot_general"
    assert set(said.values()) == {"gather"}


def test_what_jax_cannot_look_into_is_materialised_and_exact():
    @jax.custom_vjp
    def linear(w, x):
        return x @ w

    linear.defvjp(
        lambda w, x: (x @ w, (w, x)),
        lambda kept, g: (2 * jnp.outer(kept[1], g), kept[0] @ g),  # a rule of its own
    )
    w, x = DRAW(3, 2), DRAW.data(3)

    def loss(w, x):
        return jnp.sum(linear(w, x) ** 2)

    (row,) = gradients.explain(loss, w, x[0]).rows
    assert row.kept.startswith("whole: custom_vjp_call")
    grads = gradients.per_example(loss)(w, x)[1]
    wanted = jax.vmap(jax.grad(loss), (None, 0))(w, x)
    np.testing.assert_allclose(gradients.materialise(grads), wanted, rtol=1e-6)


def test_a_scan_that_carries_a_parameter_materialises_it():
    def loss(params, x):
        def step(h, row):
            return jnp.tanh(h + row @ params["w"]), None

        return jnp.sum(jax.lax.scan(step, params["h"], x)[0])

    params = {"h": DRAW(3), "w": DRAW(2, 3)}
    h, w = gradients.explain(loss, params, DRAW(4, 2)).rows
    assert (h.kept, w.kept) == ("whole: scan: enters what is carried", "dot_general")
    assert h.norm is None and w.sizes == (1, 4, 2, 3)


def test_explain_needs_shapes_only_and_counts_bytes():
    def loss(params, x):
        return jnp.sum(jnp.tanh(x @ params["w"] + params["b"]))

    params = {
        "b": jax.ShapeDtypeStruct((30,), jnp.float32),
        "w": jax.ShapeDtypeStruct((20, 30), jnp.float32),
    }
    found = gradients.explain(loss, params, jax.ShapeDtypeStruct((20,), jnp.float32))
    b, w = found.rows
    assert (b.bytes, b.whole_bytes) == (120, 120)
    assert (w.bytes, w.whole_bytes) == (4 * (20 + 30), 4 * 20 * 30)
    assert (w.flops, w.whole_flops) == (2 * 50, 4 * 600)
    assert found.share == 600 / 630
    assert "95.2 % of 630 parameters are factored." in str(found)


def test_strict_raises_for_a_large_parameter_that_is_materialised():
    def loss(params, x):
        return jnp.sum(jnp.tanh(x * params["scale"]))

    params, x = {"scale": jnp.ones(300)}, jnp.ones((2, 300))
    gradients.per_example(loss, strict=True)(params, x)
    gradients.per_example(loss, strict=300)(params, x)
    with pytest.raises(ValueError, match=r"\['scale'\].*`strict` allows 299.*mul"):
        gradients.per_example(loss, strict=299)(params, x)


def test_an_identity_on_the_way_keeps_the_parameter_factored():
    def loss(w, x):
        w = jnp.flip(w.T.reshape(2, 3, 5).astype(jnp.bfloat16).astype(jnp.float32), 1)
        w = jnp.squeeze(w[None, :, ::2, 1:], 0)
        return jnp.sum(jnp.tanh(jnp.einsum("ijk,j->ik", w, x)))

    w, x = DRAW(5, 6), DRAW.data(2)
    assert gradients.explain(loss, w, x[0]).rows[0].kept == "dot_general"
    grads = gradients.per_example(loss)(w, x)[1]
    wanted = jax.vmap(jax.grad(loss), (None, 0))(w, x)
    # JAX rounds the gradient to bfloat16 on its way back; we do not.
    np.testing.assert_allclose(gradients.materialise(grads), wanted, rtol=1e-2)
