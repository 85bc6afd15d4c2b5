"""What is compiled for devices that are not there: kernels, and a training step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec as P

from jaxloss import gradients, ledger, losses, per_sample, reduction, weighting
from jaxloss.kernels import (
    linear_softmax_cross_entropy,
    vocabulary_parallel_softmax_cross_entropy,
    weighted_linear_softmax_cross_entropy,
)

EXAMPLES, BATCH, CLASSES = 2**20, 8192, 1024
WIDTHS = (1024, 4096, 4096, CLASSES)


class Case(NamedTuple):
    """A function and what it is given.

    Attributes:
        function: what is compiled.
        arguments: shapes and dtypes, a tree for each argument.
        specs: how each argument lies on the mesh; None compiles for one device.
        donated: positions of the arguments that are written over.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    specs: tuple[Any, ...] | None = None
    donated: tuple[int, ...] = ()


def floats(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def integers(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.int32)


def size(tree: Any) -> int:
    """The bytes of a tree of arrays."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


# Kernels.

_PAIR = floats(16384, 1024), floats(16384, 1024)
_LABELLED = floats(8192, 32768), integers(8192)
_UTTERANCES = floats(64, 512, 128), integers(64, 64), integers(64), integers(64)
_TRANSDUCED = floats(8, 200, 61, 512), integers(8, 60), integers(8), integers(8)
_SERIES = floats(64, 256, 8), floats(64, 256, 8), integers(64), integers(64)
_TAGGED = (
    *(floats(64, 256, 32), integers(64, 256), floats(32, 32)),
    *(floats(32), floats(32), integers(64)),
)
KERNELS = {
    "squared_error": (per_sample(losses.squared_error), _PAIR),
    "huber_loss": (per_sample(losses.huber_loss), _PAIR),
    "sigmoid_binary_cross_entropy": (
        per_sample(losses.sigmoid_binary_cross_entropy),
        _PAIR,
    ),
    "sigmoid_focal_loss": (per_sample(losses.sigmoid_focal_loss), _PAIR),
    "softmax_cross_entropy_with_integer_labels": (
        per_sample(losses.softmax_cross_entropy_with_integer_labels),
        _LABELLED,
    ),
    "softmax_cross_entropy": (
        per_sample(losses.softmax_cross_entropy),
        (floats(8192, 4096), floats(8192, 4096)),
    ),
    "ctc_loss": (per_sample(losses.ctc_loss), _UTTERANCES),
    "rnnt_loss": (per_sample(losses.rnnt_loss), _TRANSDUCED),
    "soft_dtw": (per_sample(losses.soft_dtw), _SERIES),
    "crf_nll": (
        per_sample(losses.crf_nll, in_axes=(0, 0, None, None, None, 0)),
        _TAGGED,
    ),
}


def kernels() -> dict[str, Case]:
    """The losses of a batch; and with the gradient of their weighted sum."""
    cases = {}
    for name, (kernel, arguments) in KERNELS.items():
        cases[name] = Case(kernel, arguments)
        weights = floats(arguments[0].shape[0])
        cases[f"{name}, gradient"] = Case(_pulled(kernel), (weights, *arguments))
    cases["linear_softmax_cross_entropy, gradient"] = _of_hidden()
    cases["weighted_linear_softmax_cross_entropy, gradient"] = _of_hidden_weighted()
    return cases


def _pulled(kernel: Callable[..., Any]) -> Callable[..., Any]:
    def losses_and_gradient(weights: Any, prediction: Any, *rest: Any) -> Any:
        found, pull = jax.vjp(lambda x: kernel(x, *rest), prediction)
        return found, pull(weights)[0]

    return losses_and_gradient


def _of_hidden(axis_name: str | None = None) -> Case:
    """The cross-entropy of hidden states; the vocabulary lies along an axis, if any."""

    def ask(weights: Any, hidden: Any, head: Any, labels: Any) -> Any:
        def kernel(hidden: Any, head: Any) -> Any:
            return linear_softmax_cross_entropy(
                hidden, labels, head, axis_name=axis_name
            )

        found, pull = jax.vjp(kernel, hidden, head)
        return found, pull(weights)

    hidden = floats(8192, 1024, dtype=jnp.bfloat16)
    head = floats(1024, 32768, dtype=jnp.bfloat16)
    arguments = floats(8192), hidden, head, integers(8192)
    if axis_name is None:
        return Case(ask, arguments)
    part = P(None, axis_name)
    specs = P(), P(), part, P()
    mapped = jax.shard_map(ask, in_specs=specs, out_specs=(P(), (P(), part)))
    return Case(mapped, arguments, specs)


def _of_hidden_weighted() -> Case:
    """The same with weights that are known, and the gradient of the mean."""

    def ask(weights: Any, hidden: Any, head: Any, labels: Any) -> Any:
        def mean(hidden: Any, head: Any) -> Any:
            return weighted_linear_softmax_cross_entropy(hidden, labels, weights, head)

        return jax.value_and_grad(mean, (0, 1), has_aux=True)(hidden, head)

    return Case(ask, _of_hidden().arguments)


def _of_logits() -> Case:
    """The cross-entropy of logits whose classes lie along the mesh."""

    def ask(weights: Any, logits: Any, labels: Any) -> Any:
        def kernel(logits: Any) -> Any:
            return vocabulary_parallel_softmax_cross_entropy(
                logits, labels, axis_name="data"
            )

        found, pull = jax.vjp(kernel, logits)
        return found, pull(weights)[0]

    specs = P(), P(None, "data"), P()
    mapped = jax.shard_map(ask, in_specs=specs, out_specs=(P(), P(None, "data")))
    return Case(mapped, (floats(8192), floats(8192, 32768), integers(8192)), specs)


# The training step.

KERNEL = per_sample(losses.softmax_cross_entropy_with_integer_labels)
OPTIMIZER = optax.sgd(0.1, momentum=0.9)


def parameters() -> list[dict[str, jax.ShapeDtypeStruct]]:
    layers = zip(WIDTHS[:-1], WIDTHS[1:], strict=True)
    return [{"w": floats(n, m), "b": floats(m)} for n, m in layers]


def logits(params: Any, x: Any) -> Any:
    """The scores of one example."""
    *hidden, last = params
    for layer in hidden:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ last["w"] + last["b"]


def training_step(owned: bool) -> Case:
    """One step of training with losses of the samples, weights and a ledger.

    It is written as for one device. Where each device deals its own samples (`owned`),
    the records are written within `jax.shard_map`; else the compiler lays it out.
    """
    records = jax.eval_shape(lambda: ledger.init(EXAMPLES))
    laid_out = jax.tree.map(lambda x: P("data") if x.shape else P(), records)

    def write(records: Any, index: Any, columns: Any) -> Any:
        first = jax.lax.axis_index("data") * records.seen.size if owned else 0
        return ledger.update(records, index - first, **columns)

    if owned:
        specs = laid_out, P("data"), P("data")
        write = jax.shard_map(write, in_specs=specs, out_specs=laid_out)

    def step(params: Any, state: Any, records: Any, index: Any, x: Any, y: Any) -> Any:
        def batch_loss(params: Any) -> Any:
            scores = jax.vmap(logits, (None, 0))(params, x)
            found = KERNEL(scores, y)
            weights = weighting.self_paced(found, 5.0)
            return reduction.weighted_mean(found, weights), (found, scores)

        gradient_of = jax.value_and_grad(batch_loss, has_aux=True)
        (loss, (found, scores)), gradient = gradient_of(params)
        columns = {
            "losses": found,
            "margins": per_sample(losses.margin)(scores, y),
            "label_probabilities": jnp.exp(-found),
            "correct": scores.argmax(-1) == y,
        }
        records = write(records, index, columns)
        change, state = OPTIMIZER.update(gradient, state, params)
        return optax.apply_updates(params, change), state, records, loss

    params, state, x, y = plain_step().arguments
    arguments = params, state, records, integers(BATCH), x, y
    specs = P(), P(), laid_out, P("data"), P("data"), P("data")
    return Case(step, arguments, specs, (0, 1, 2))


def plain_step() -> Case:
    """The same training with nothing but the mean of the losses."""

    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        def batch_loss(params: Any) -> Any:
            return KERNEL(jax.vmap(logits, (None, 0))(params, x), y).mean()

        loss, gradient = jax.value_and_grad(batch_loss)(params)
        change, state = OPTIMIZER.update(gradient, state, params)
        return optax.apply_updates(params, change), state, loss

    params = parameters()
    state = jax.eval_shape(OPTIMIZER.init, params)
    arguments = params, state, floats(BATCH, WIDTHS[0]), integers(BATCH)
    return Case(step, arguments, (P(), P(), P("data"), P("data")), (0, 1))


def clipped_gradient() -> Case:
    """The gradients of the examples, each clipped, and summed over the devices."""

    def sample_loss(params: Any, x: Any, y: Any) -> Any:
        found = logits(params, x)
        return losses.softmax_cross_entropy_with_integer_labels(found, y)

    def summed(params: Any, x: Any, y: Any) -> Any:
        found, norms, total = gradients.clipped_sum(sample_loss, 1.0)(params, x, y)
        return found, norms, jax.lax.psum(total, "data")

    specs = P(), P("data"), P("data")
    out_specs = P("data"), P("data"), P()
    mapped = jax.shard_map(summed, in_specs=specs, out_specs=out_specs)
    batch = floats(BATCH, WIDTHS[0]), integers(BATCH)
    return Case(mapped, (parameters(), *batch), specs)


def on_the_mesh() -> dict[str, Case]:
    """What all devices of a mesh do together."""
    return {
        "training step, mean loss alone": plain_step(),
        "training step, each device its own samples": training_step(owned=True),
        "training step, any device any sample": training_step(owned=False),
        "sum of clipped gradients": clipped_gradient(),
        "softmax_cross_entropy, vocabulary on the mesh": _of_logits(),
        "linear_softmax_cross_entropy, vocabulary on the mesh": _of_hidden("data"),
    }
