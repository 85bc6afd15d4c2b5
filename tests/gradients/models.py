"""Small models of every kind: a loss of one example, parameters and a batch."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

BATCH = 5


class Model(NamedTuple):
    loss: Callable[..., Any]
    params: Any
    batch: tuple[Any, ...]


class Draw:
    """Numbers for parameters and data, in the dtype that is asked for."""

    def __init__(self, dtype):
        self.rng, self.dtype = np.random.default_rng(0), dtype

    def __call__(self, *shape):
        scale = 1 / np.sqrt(shape[-2]) if len(shape) > 1 else 0.3
        return jnp.asarray(scale * self.rng.normal(size=shape), self.dtype)

    def data(self, *shape):
        return jnp.asarray(self.rng.normal(size=(BATCH, *shape)), self.dtype)

    def integers(self, low, high, *shape):
        numbers = self.rng.integers(low, high, (BATCH, *shape))
        return jnp.asarray(numbers, jnp.int32)

    def like(self, tree):
        """The same tree with new numbers, so that nothing starts at 0 or 1."""
        return jax.tree.map(lambda leaf: self(*leaf.shape) + 0.1, tree)


def lenient(function):
    """Models of other libraries broadcast and promote; ours must do neither."""

    @functools.wraps(function)
    def inside(*args, **kwargs):
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            return function(*args, **kwargs)

    return inside


def cross_entropy(logits, label):
    return -jax.nn.log_softmax(logits)[label]


def tokens_loss(logits, tokens):
    log_p = jax.nn.log_softmax(logits)
    return -jnp.mean(jnp.take_along_axis(log_p[:-1], tokens[1:, None], 1))


def mlp(draw, inputs=12, width=8):
    def loss(params, x, y):
        h = x
        for layer in params[:-1]:
            h = jax.nn.relu(h @ layer["w"] + layer["b"])
        return cross_entropy(h @ params[-1]["w"] + params[-1]["b"], y)

    sizes = [(inputs, width), (width, width), (width, 5)]
    params = [{"w": draw(n, m), "b": draw(m)} for n, m in sizes]
    return Model(loss, params, (draw.data(inputs), draw.integers(0, 5)))


@lenient
def cnn(draw, width=4):
    class CNN(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.max_pool(nn.gelu(nn.Conv(width, (3, 3))(x)), (2, 2), (2, 2))
            x = nn.gelu(nn.Conv(width + 2, (3, 3), strides=2, padding="VALID")(x))
            return nn.Dense(5)(x.reshape(-1))

    images = draw.data(9, 9, 2)
    params = draw.like(jax.eval_shape(CNN().init, jax.random.key(0), images[0]))

    @lenient
    def loss(params, x, y):
        return cross_entropy(CNN().apply(params, x), y)

    return Model(loss, params, (images, draw.integers(0, 5)))


@lenient
def convs(draw):
    """Strides, paddings, dilations, groups, depthwise and transposed convolutions."""

    class Convs(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = jnp.tanh(nn.Conv(4, (3, 2), padding=((2, 0), (0, 1)))(x))
            x = jnp.tanh(nn.Conv(6, (3, 3), padding="CIRCULAR", kernel_dilation=2)(x))
            x = jnp.tanh(nn.Conv(4, (3, 3), strides=(2, 1), feature_group_count=2)(x))
            x = jnp.tanh(nn.Conv(8, (3, 3), feature_group_count=4)(x))
            x = jnp.tanh(nn.ConvTranspose(3, (3, 3), strides=(2, 2))(x))
            return x.mean((0, 1))

    images = draw.data(7, 6, 2)
    params = draw.like(jax.eval_shape(Convs().init, jax.random.key(0), images[0]))

    @lenient
    def loss(params, x, y):
        return cross_entropy(Convs().apply(params, x), y)

    return Model(loss, params, (images, draw.integers(0, 3)))


@lenient
def resnet(draw, width=8):
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = nn.relu(nn.GroupNorm(2)(nn.Conv(width, (3, 3), use_bias=False)(x)))
            y = nn.GroupNorm(4)(nn.Conv(width, (3, 3), use_bias=False)(y))
            x = nn.Conv(width, (1, 1))(x)
            return nn.Dense(4)(nn.relu(x + y).mean((0, 1)))

    images = draw.data(6, 6, 3)
    params = draw.like(jax.eval_shape(Block().init, jax.random.key(0), images[0]))

    @lenient
    def loss(params, x, y):
        return cross_entropy(Block().apply(params, x), y)

    return Model(loss, params, (images, draw.integers(0, 4)))


@lenient
def nnx_model(draw):
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.embed = nnx.Embed(7, 6, dtype=draw.dtype, rngs=rngs)
            self.dense = nnx.Linear(6, 8, rngs=rngs)
            self.norm = nnx.LayerNorm(8, rngs=rngs)
            self.out = nnx.Linear(8, 3, rngs=rngs)

        def __call__(self, tokens):
            h = self.norm(nnx.silu(self.dense(self.embed(tokens))))
            return self.out(h.mean(0))

    graph, params = nnx.split(Net(nnx.Rngs(0)), nnx.Param)
    params = draw.like(params)

    @lenient
    def loss(params, tokens, y):
        return cross_entropy(nnx.merge(graph, params)(tokens), y)

    return Model(loss, params, (draw.integers(0, 7, 4), draw.integers(0, 3)))


@lenient
def attention_module(draw):
    class Transformer(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            x = nn.Embed(11, 8)(tokens)
            x = x + self.param("place", nn.initializers.normal(), (6, 8))
            y, mask = nn.LayerNorm()(x), nn.make_causal_mask(tokens)
            x = x + nn.MultiHeadDotProductAttention(num_heads=2)(y, y, mask=mask)
            x = x + nn.Dense(8)(nn.gelu(nn.Dense(16)(nn.LayerNorm()(x))))
            return nn.Dense(11)(nn.LayerNorm()(x))

    tokens = draw.integers(0, 11, 6)
    params = draw.like(jax.eval_shape(Transformer().init, jax.random.key(0), tokens[0]))

    @lenient
    def loss(params, tokens):
        return tokens_loss(Transformer().apply(params, tokens), tokens)

    return Model(loss, params, (tokens,))


def normalised(x, scale):
    x = x - x.mean(-1, keepdims=True)
    return x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6) * scale


def fused_block(p, x):
    heads, d = 2, x.shape[-1]
    y = normalised(x, p["norm"][None])
    q, k, v = jnp.split(y @ p["qkv"], 3, -1)
    q, k, v = (a.reshape(-1, heads, d // heads) for a in (q, k, v))
    scores = jnp.einsum("thc,shc->hts", q, k) / np.sqrt(d // heads)
    seen = jnp.tril(jnp.ones(scores.shape, bool))
    scores = jax.nn.softmax(jnp.where(seen, scores, -1e9))
    x = x + jnp.einsum("hts,shc->thc", scores, v).reshape(-1, d) @ p["out"]
    return x + jax.nn.gelu(normalised(x, p["norm2"][None]) @ p["up"]) @ p["down"]


def transformer(draw, tied=True, remat=False, scanned=False, d=8, vocabulary=11):
    length, layers = 6, 2

    def layer(*lead):
        shapes = {
            "qkv": (d, 3 * d),
            "out": (d, d),
            "up": (d, 2 * d),
            "down": (2 * d, d),
        }
        block = {name: draw(*lead, *shape) for name, shape in shapes.items()}
        return block | {"norm": draw(*lead, d) + 1, "norm2": draw(*lead, d) + 1}

    block = jax.checkpoint(fused_block) if remat else fused_block

    def loss(params, tokens):
        x = params["embed"][tokens] + params["place"]
        if scanned:
            x, _ = lax.scan(lambda x, p: (block(p, x), None), x, params["layers"])
        else:
            for p in params["layers"]:
                x = block(p, x)
        head = params["embed"].T if tied else params["head"]
        return tokens_loss(x @ head, tokens)

    params = {"embed": draw(vocabulary, d), "place": draw(length, d)}
    params["layers"] = layer(layers) if scanned else [layer() for _ in range(layers)]
    if not tied:
        params["head"] = draw(d, vocabulary)
    return Model(loss, params, (draw.integers(0, vocabulary, length),))


@lenient
def gru(draw):
    class GRU(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(nn.RNN(nn.GRUCell(6, param_dtype=draw.dtype))(x)[-1])

    sequences = draw.data(5, 4)
    params = draw.like(jax.eval_shape(GRU().init, jax.random.key(0), sequences[0]))

    @lenient
    def loss(params, x, y):
        return cross_entropy(GRU().apply(params, x), y)

    return Model(loss, params, (sequences, draw.integers(0, 3)))


def rnn(draw, unrolled):
    def loss(params, x, y):
        def step(h, x):
            h = jnp.tanh(x @ params["in"] + h @ params["again"] + params["b"])
            return h, h @ params["out"]

        h = jnp.zeros(6, x.dtype)
        if unrolled:
            outputs = []
            for t in range(x.shape[0]):
                h, out = step(h, x[t])
                outputs.append(out)
            outputs = jnp.stack(outputs)
        else:
            h, outputs = lax.scan(step, h, x)
        return cross_entropy(outputs.mean(0) + h @ params["out"], y)

    params = {"in": draw(4, 6), "again": draw(6, 6), "b": draw(6), "out": draw(6, 3)}
    return Model(loss, params, (draw.data(5, 4), draw.integers(0, 3)))


def nested_scans(draw):
    """A scan over layers of a reversed scan over time, with rematerialisation."""

    def loss(params, x):
        @functools.partial(jax.checkpoint, policy=jax.checkpoint_policies.dots_saveable)
        def layer(x, p):
            def step(h, x):
                h = jnp.tanh(h @ p["again"] + x @ p["in"])
                return h, h @ p["out"]

            _, y = lax.scan(step, jnp.zeros(4, x.dtype), x, reverse=True)
            return x + y @ p["mix"] + p["b"][None], None

        x, _ = lax.scan(layer, x, params)
        return jnp.sum(x**2)

    shapes = {"again": (4, 4), "in": (3, 4), "out": (4, 2), "mix": (2, 3), "b": (3,)}
    return Model(
        loss,
        {name: draw(2, *shape) for name, shape in shapes.items()},
        (draw.data(5, 3),),
    )


def adversarial(draw):
    """Everything that a parameter may do on its way, in one loss."""

    def loss(p, x, i):
        q, k, v = jnp.split(x @ p["fused"][:, :9], 3, -1)
        y = jax.nn.softmax(q @ k.T) @ v
        y = y @ p["stack"][0] + jnp.tanh(y) @ p["stack"][1]
        code = jnp.tanh(y @ p["auto"])
        y = y + code @ p["auto"].T
        y = y + y @ (p["gain"] * p["v"] / jnp.linalg.norm(p["v"]))
        y = y + y @ p["a"] @ p["b"]
        y = y + x[:, :3] @ lax.stop_gradient(p["a"] @ p["b"])
        row = lax.dynamic_slice(p["table"], (i, jnp.int32(0)), (1, 3))[0]
        y = jnp.sum(y * y) + jnp.sum(jnp.sin(row) * y[0])
        z = lax.cond(i > 2, lambda w, x: x @ w, lambda w, x: x, p["branch"], x[0])
        over = jnp.sum(p["over"][:2] @ x[0]) * jnp.sum(jnp.sin(p["over"][1:] @ x[1]))
        return y + jnp.sum(jnp.tanh(z)) + over + 0.1 * jnp.sum(jnp.sin(p["decay"]))

    shapes = {
        "fused": (4, 10),
        "stack": (2, 3, 3),
        "auto": (3, 2),
        "gain": (),
        "v": (3, 3),
        "a": (3, 2),
        "b": (2, 3),
        "table": (5, 3),
        "branch": (4, 4),
        "over": (3, 4),
        "decay": (2,),
        "unused": (3,),
    }
    params = {name: draw(*shape) for name, shape in shapes.items()}
    return Model(loss, params, (draw.data(4, 4), draw.integers(0, 5)))


def experts(draw):
    """An einsum over experts, lookups out of range in each mode, an inner vmap."""

    def loss(p, x, i):
        gate = jax.nn.softmax(x @ p["gate"])
        y = jnp.einsum("te,td,edf->tf", gate, x, p["experts"])
        modes = ["clip", "fill", "drop"]
        rows = [
            p[m].at[i].get(mode="clip" if m == "clip" else "fill", fill_value=0.5)
            for m in modes
        ]
        y = y + sum(jnp.tanh(row) for row in rows)
        y = jax.vmap(lambda row: jnp.tanh(p["inner"] @ row))(y)
        columns = p["columns"][:, jnp.clip(i, 0, 5)].T
        fixed = p["fixed"][jnp.array([0, 2, 0, 1])]
        return jnp.sum(y**2) + jnp.sum(jnp.sin(columns * y) * fixed)

    shapes = {
        "gate": (3, 2),
        "experts": (2, 3, 4),
        "clip": (6, 4),
        "fill": (6, 4),
        "drop": (2, 4),
        "inner": (4, 4),
        "columns": (4, 6),
        "fixed": (9, 4),
    }
    params = {name: draw(*shape) for name, shape in shapes.items()}
    return Model(loss, params, (draw.data(4, 3), draw.integers(-3, 9, 4)))


@lenient
def equinox_model(draw):
    model = eqx.nn.MLP(5, "scalar", 8, 2, key=jax.random.key(0))
    params, static = eqx.partition(model, eqx.is_inexact_array)
    params = draw.like(params)

    @lenient
    def loss(params, x, y):
        return (eqx.combine(params, static)(x) - y) ** 2

    return Model(loss, params, (draw.data(5), draw.data()))


@lenient
def haiku_model(draw):
    def forward(x):
        x = jax.nn.relu(hk.Conv1D(6, 3)(x))
        x, _ = hk.dynamic_unroll(hk.LSTM(5), x, hk.LSTM(5).initial_state(None))
        return hk.nets.MLP([7, 3])(hk.LayerNorm(-1, True, True)(x[-1]))

    model = hk.without_apply_rng(hk.transform(forward))
    sequences = draw.data(6, 4)
    params = draw.like(jax.eval_shape(model.init, jax.random.key(0), sequences[0]))

    @lenient
    def loss(params, x, y):
        return cross_entropy(model.apply(params, x), y)

    return Model(loss, params, (sequences, draw.integers(0, 3)))


MODELS = {
    "mlp": mlp,
    "cnn": cnn,
    "convs": convs,
    "resnet": resnet,
    "nnx": nnx_model,
    "attention_module": attention_module,
    "transformer_untied": functools.partial(transformer, tied=False),
    "transformer_tied": transformer,
    "transformer_remat": functools.partial(transformer, remat=True),
    "transformer_scanned": functools.partial(transformer, scanned=True),
    "transformer_both": functools.partial(transformer, remat=True, scanned=True),
    "gru": gru,
    "rnn_unrolled": functools.partial(rnn, unrolled=True),
    "rnn_scanned": functools.partial(rnn, unrolled=False),
    "nested_scans": nested_scans,
    "adversarial": adversarial,
    "experts": experts,
    "equinox": equinox_model,
    "haiku": haiku_model,
}
