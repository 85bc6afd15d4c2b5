"""Models of which the gradients are compared, once for each library.

Parameters are NumPy arrays with the names that PyTorch gives them; a weight has its
inputs first, as in JAX.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow as tf
import torch
import torch.nn.functional as F

from jaxloss.losses import softmax_cross_entropy_with_integer_labels as cross_entropy

Arrays = dict[str, np.ndarray]


class Model(NamedTuple):
    """The loss of one example, and the same of a batch in other libraries."""

    params: Arrays
    data: Callable[[int], tuple[np.ndarray, ...]]  # of so many examples
    loss: Callable[..., Any]  # of JAX: one number for one example
    torch: Callable[[], Any] | None = None  # makes a module whose outputs are losses
    tensorflow: Callable[..., Any] | None = None  # losses of a batch


def _dense(rng: np.random.Generator, name: str, n: int, m: int) -> Arrays:
    weight = rng.normal(size=(n, m), scale=n**-0.5).astype(np.float32)
    return {f"{name}.weight": weight, f"{name}.bias": np.zeros(m, np.float32)}


def _images(shape: tuple[int, ...]) -> Callable[[int], tuple[np.ndarray, ...]]:
    def data(size: int) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng(1)
        images = rng.normal(size=(size, *shape)).astype(np.float32)
        return images, rng.integers(0, 10, size).astype(np.int32)

    return data


def _apply(params: Any, name: str, x: Any) -> Any:
    return x @ params[f"{name}.weight"] + params[f"{name}.bias"]


# A network of dense layers


class _Mlp(torch.nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.layers = torch.nn.ModuleList(map(torch.nn.Linear, sizes, sizes[1:]))

    def forward(self, x, y):
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return F.cross_entropy(self.layers[-1](x), y, reduction="none")


def mlp(small: bool) -> Model:
    sizes = (20, 16, 10) if small else (784, 512, 512, 10)
    rng, params = np.random.default_rng(0), {}
    for i, (n, m) in enumerate(zip(sizes, sizes[1:], strict=False)):
        params |= _dense(rng, f"layers.{i}", n, m)
    last = len(sizes) - 2

    def loss(params, x, y):
        for i in range(last):
            x = jax.nn.relu(_apply(params, f"layers.{i}", x))
        return cross_entropy(_apply(params, f"layers.{last}", x), y)

    def of_tensorflow(params, x, y):
        for i in range(last):
            x = tf.nn.relu(_apply(params, f"layers.{i}", x))
        logits = _apply(params, f"layers.{last}", x)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)

    return Model(params, _images(sizes[:1]), loss, lambda: _Mlp(sizes), of_tensorflow)


# A network of convolutions; it pools by means, which every library does quickly


class _Cnn(torch.nn.Module):
    def __init__(self, side, first, second, width):
        super().__init__()
        self.first = torch.nn.Conv2d(1, first, 3, padding=1)
        self.second = torch.nn.Conv2d(first, second, 3, padding=1)
        self.hidden = torch.nn.Linear((side // 4) ** 2 * second, width)
        self.out = torch.nn.Linear(width, 10)

    def forward(self, x, y):
        # Opacus takes the strides of an image with its channels last amiss.
        x = F.avg_pool2d(F.relu(self.first(x[:, None, :, :, 0])), 2)
        x = F.avg_pool2d(F.relu(self.second(x)), 2)
        x = F.relu(self.hidden(x.permute(0, 2, 3, 1).flatten(1)))
        return F.cross_entropy(self.out(x), y, reduction="none")


def cnn(small: bool) -> Model:
    side, first, second, width = (8, 4, 4, 8) if small else (28, 32, 64, 128)
    rng, params = np.random.default_rng(0), {}
    for name, n, m in (("first", 1, first), ("second", first, second)):
        kernel = rng.normal(size=(3, 3, n, m), scale=(9 * n) ** -0.5)
        params[f"{name}.weight"] = kernel.astype(np.float32)
        params[f"{name}.bias"] = np.zeros(m, np.float32)
    params |= _dense(rng, "hidden", (side // 4) ** 2 * second, width)
    params |= _dense(rng, "out", width, 10)

    def convolved(params, name, x):
        kernel, dims = params[f"{name}.weight"], ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(
            x[None], kernel, (1, 1), "SAME", dimension_numbers=dims
        )[0]
        y = jax.nn.relu(y + params[f"{name}.bias"])
        half = y.shape[0] // 2
        return y.reshape(half, 2, half, 2, -1).mean((1, 3))

    def loss(params, x, y):
        x = convolved(params, "second", convolved(params, "first", x))
        x = jax.nn.relu(_apply(params, "hidden", x.reshape(-1)))
        return cross_entropy(_apply(params, "out", x), y)

    def of_tensorflow(params, x, y):
        for name in ("first", "second"):
            x = tf.nn.conv2d(x, params[f"{name}.weight"], 1, "SAME")
            x = tf.nn.avg_pool2d(tf.nn.relu(x + params[f"{name}.bias"]), 2, 2, "VALID")
        width = params["hidden.weight"].shape[0]
        x = tf.nn.relu(_apply(params, "hidden", tf.reshape(x, (-1, width))))
        logits = _apply(params, "out", x)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)

    def module():
        return _Cnn(side, first, second, width)

    return Model(params, _images((side, side, 1)), loss, module, of_tensorflow)


# A transformer that predicts the next token


class _Block(torch.nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm, self.norm2 = torch.nn.LayerNorm(d), torch.nn.LayerNorm(d)
        self.qkv, self.out = torch.nn.Linear(d, 3 * d), torch.nn.Linear(d, d)
        self.up, self.down = torch.nn.Linear(d, 4 * d), torch.nn.Linear(4 * d, d)

    def forward(self, x):
        batch, length, d = x.shape
        heads = _heads(d)
        q, k, v = (
            part.reshape(batch, length, heads, -1).transpose(1, 2)
            for part in self.qkv(self.norm(x)).chunk(3, -1)
        )
        scores = q @ k.transpose(2, 3) * (heads / d) ** 0.5
        everything = torch.ones(length, length, dtype=torch.bool, device=x.device)
        hidden = everything.triu(1)
        mixed = scores.masked_fill(hidden, -1e9).softmax(-1) @ v
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, d))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class _Transformer(torch.nn.Module):
    def __init__(self, vocabulary, length, d, layers):
        super().__init__()
        self.token = torch.nn.Embedding(vocabulary, d)
        self.place = torch.nn.Embedding(length, d)
        self.blocks = torch.nn.ModuleList(_Block(d) for _ in range(layers))
        self.norm, self.head = torch.nn.LayerNorm(d), torch.nn.Linear(d, vocabulary)

    def forward(self, tokens):
        # Opacus wants an index for each example and place.
        places = torch.arange(tokens.shape[1], device=tokens.device)
        places = places.repeat(tokens.shape[0], 1)
        x = self.token(tokens) + self.place(places)
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))[:, :-1].transpose(1, 2)
        return F.cross_entropy(logits, tokens[:, 1:], reduction="none").mean(1)


def _heads(d: int) -> int:
    return max(1, d // 64)


def _normed(params: Any, name: str, x: Any) -> Any:
    x = x - x.mean(-1, keepdims=True)
    x = x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5)
    return x * params[f"{name}.weight"] + params[f"{name}.bias"]


def _block(params: Any, x: Any) -> Any:
    length, d = x.shape
    heads = _heads(d)
    y = _apply(params, "qkv", _normed(params, "norm", x))
    q, k, v = (part.reshape(length, heads, -1) for part in jnp.split(y, 3, -1))
    scores = jnp.einsum("thc,shc->hts", q, k) * (heads / d) ** 0.5
    seen = jnp.tril(jnp.ones((length, length), bool))
    mixed = jnp.einsum("hts,shc->thc", jax.nn.softmax(jnp.where(seen, scores, -1e9)), v)
    x = x + _apply(params, "out", mixed.reshape(length, d))
    return x + _apply(
        params, "down", jax.nn.gelu(_apply(params, "up", _normed(params, "norm2", x)))
    )


def transformer(small: bool, scanned: bool = False) -> Model:
    vocabulary, length, d, layers = (16, 6, 8, 2) if small else (1000, 64, 256, 4)
    rng = np.random.default_rng(0)

    def normed(name):
        ones, zeros = np.ones(d, np.float32), np.zeros(d, np.float32)
        return {f"{name}.weight": ones, f"{name}.bias": zeros}

    def block():
        params = normed("norm") | normed("norm2")
        for name, n, m in (("qkv", 1, 3), ("out", 1, 1), ("up", 1, 4), ("down", 4, 1)):
            params |= _dense(rng, name, n * d, m * d)
        return params

    params = {
        "token.weight": rng.normal(size=(vocabulary, d)).astype(np.float32),
        "place.weight": rng.normal(size=(length, d)).astype(np.float32),
    }
    params |= normed("norm") | _dense(rng, "head", d, vocabulary)
    blocks = [block() for _ in range(layers)]
    if scanned:
        for name in blocks[0]:
            params[f"blocks.{name}"] = np.stack([own[name] for own in blocks])
    else:
        for i, own in enumerate(blocks):
            params |= {f"blocks.{i}.{name}": value for name, value in own.items()}

    def inside(params, start):
        return {k.removeprefix(start): v for k, v in params.items() if start in k}

    def loss(params, tokens):
        x = params["token.weight"][tokens] + params["place.weight"]
        if scanned:
            step = jax.checkpoint(lambda x, own: (_block(own, x), None))
            x, _ = jax.lax.scan(step, x, inside(params, "blocks."))
        else:
            for i in range(layers):
                x = _block(inside(params, f"blocks.{i}."), x)
        logits = _apply(params, "head", _normed(params, "norm", x))
        return jnp.mean(jax.vmap(cross_entropy)(logits[:-1], tokens[1:]))

    def data(size):
        tokens = np.random.default_rng(1).integers(0, vocabulary, (size, length))
        return (tokens.astype(np.int32),)

    def module():
        return _Transformer(vocabulary, length, d, layers)

    return Model(params, data, loss, None if scanned else module)


def to_torch(name: str, array: np.ndarray) -> np.ndarray:
    """A parameter, or its gradient, in the order of the axes of PyTorch."""
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    lookup = name in ("token.weight", "place.weight")
    return array.T if array.ndim == 2 and not lookup else array


MODELS = {
    "mlp": mlp,
    "cnn": cnn,
    "transformer": transformer,
    "scanned": lambda small: transformer(small, scanned=True),
}
