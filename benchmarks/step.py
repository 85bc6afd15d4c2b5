"""What losses of the samples cost a training step: `python -m benchmarks step`."""

import copy
import os
import pathlib
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tensorflow as tf
import torch
from tqdm import tqdm

from benchmarks import devices, provenance, stopwatch
from benchmarks.gradient_models import MODELS, Model, to_torch
from benchmarks.losses import PACKAGES
from jaxloss import ledger, reduction, weighting

TITLES = {
    "mlp": "MLP 784-512-512-10, batch 256",
    "cnn": "CNN 28 x 28, convolutions 32 and 64, dense 128, batch 256",
}
EXAMPLES = 50_000
RATE, MOMENTUM = 0.01, 0.9
PLAIN = ": mean loss alone"
LOSSES = ": losses returned, weighted"
LEDGER = "jaxloss: losses returned, weighted, in the ledger"
BOUND = 1.05

Step = Callable[[], float]


def run(only: list[str], shapes: str, rounds: int) -> dict:
    """Times every model; agreement of the first loss is asserted before."""
    torch.set_num_threads(os.cpu_count() or 1)
    cases = []
    for name in (bar := tqdm(only or list(TITLES), unit="model")):
        bar.set_postfix_str(name)
        small = shapes == "small"
        model, size = MODELS[name](small), 8 if small else 256
        field = _of_jax(model, size)
        if devices.of_torch():
            field |= _of_torch(model, size)
        if devices.of_tensorflow():
            field |= _of_tensorflow(model, size)
        first = {who: step() for who, step in field.items()}
        for who, loss in first.items():
            if not np.isclose(loss, first[LEDGER], rtol=1e-4):
                raise AssertionError(f"{who} has a loss of {loss}, not {first[LEDGER]}")
        cases.append({"model": name, "ms": stopwatch.race(field, rounds=rounds)})
    about = provenance.about(PACKAGES, devices.left_out())
    return {"about": about, "small": small, "cases": cases}


def _of_jax(model: Model, size: int) -> dict[str, Step]:
    """The state is written over, so that a step costs what it costs in a training."""
    x, y = (jnp.asarray(a) for a in model.data(size))
    index = jnp.asarray(np.random.default_rng(0).permutation(EXAMPLES)[:size])
    optimizer = optax.sgd(RATE, MOMENTUM)
    kernel = jax.vmap(model.loss, (None, 0, 0))

    def updated(params: Any, state: Any, gradient: Any) -> Any:
        change, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, change), state

    def plain(held: Any, x: Any, y: Any) -> Any:
        params, state = held
        loss, gradient = jax.value_and_grad(lambda p: jnp.mean(kernel(p, x, y)))(params)
        return updated(params, state, gradient), loss

    def of_samples(params: Any, state: Any, x: Any, y: Any) -> Any:
        def batch_loss(params: Any) -> Any:
            losses = kernel(params, x, y)
            weights = weighting.self_paced(losses, 50.0)  # keeps them all
            return reduction.weighted_mean(losses, weights), losses

        gradient_of = jax.value_and_grad(batch_loss, has_aux=True)
        (loss, losses), gradient = gradient_of(params)
        return updated(params, state, gradient), loss, losses

    def returned(held: Any, x: Any, y: Any) -> Any:
        held, loss, losses = of_samples(*held, x, y)
        return held, loss, losses

    def recorded(held: Any, x: Any, y: Any, index: Any) -> Any:
        *held, records = held
        held, loss, losses = of_samples(*held, x, y)
        return (*held, ledger.update(records, index, losses=losses)), loss, losses

    def step(function: Callable[..., Any], more: tuple[Any, ...], *data: Any) -> Step:
        compiled = jax.jit(function, donate_argnums=0)
        params = jax.tree.map(jnp.array, model.params)
        held = [(params, optimizer.init(params), *more)]

        def run() -> float:
            held[0], loss, *losses = compiled(held[0], *data)
            jax.block_until_ready((held[0], losses))
            return float(loss)

        return run

    return {
        f"JAX{PLAIN}": step(plain, (), x, y),
        f"jaxloss{LOSSES}": step(returned, (), x, y),
        LEDGER: step(recorded, (ledger.init(EXAMPLES),), x, y, index),
    }


def _of_torch(model: Model, size: int) -> dict[str, Step]:
    x, y = (devices.to_torch(a) for a in model.data(size))
    assert model.torch is not None
    module = model.torch().to(x.device)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            value = to_torch(name, model.params[name])
            parameter.copy_(devices.to_torch(value))

    def step(mean: Callable[[torch.Tensor], torch.Tensor]) -> Step:
        own = copy.deepcopy(module)
        optimizer = torch.optim.SGD(own.parameters(), lr=RATE, momentum=MOMENTUM)

        def run() -> float:
            optimizer.zero_grad()
            loss = mean(own(x, y))
            loss.backward()
            optimizer.step()
            return loss.item()

        return devices.ended_by_torch(run)

    def weighted(losses: torch.Tensor) -> torch.Tensor:
        weights = (losses.detach() < 50.0).float()
        return (losses * weights).sum() / weights.sum()

    return {
        f"PyTorch{PLAIN}": step(torch.mean),
        f"PyTorch{LOSSES}": step(weighted),
    }


def _of_tensorflow(model: Model, size: int) -> dict[str, Step]:
    x, y = (devices.to_tensorflow(a) for a in model.data(size))
    assert model.tensorflow is not None
    kernel = model.tensorflow

    def step(mean: Callable[..., Any], with_losses: bool) -> Step:
        with tf.device(devices.of_tensorflow()):
            params = {name: tf.Variable(value) for name, value in model.params.items()}
            moments = {
                name: tf.Variable(tf.zeros_like(value))
                for name, value in params.items()
            }

        @tf.function
        def train() -> Any:
            with tf.GradientTape() as tape:
                losses = kernel(params, x, y)
                loss = mean(losses)
            gradient = tape.gradient(loss, params)
            for name, value in params.items():
                moments[name].assign(MOMENTUM * moments[name] + gradient[name])
                value.assign_sub(RATE * moments[name])
            return (loss, losses) if with_losses else (loss,)

        return devices.ended_by_tensorflow(lambda: float(train()[0]))

    def weighted(losses: Any) -> Any:
        weights = tf.cast(tf.stop_gradient(losses) < 50.0, tf.float32)
        return tf.reduce_sum(losses * weights) / tf.reduce_sum(weights)

    return {
        f"TensorFlow{PLAIN}": step(tf.reduce_mean, with_losses=False),
        f"TensorFlow{LOSSES}": step(weighted, with_losses=True),
    }


def table(results: dict) -> str:
    """The results as a page of Markdown, with what is claimed."""
    lines = [
        "# What losses of the samples cost a training step",
        "",
        "Milliseconds of one step of SGD with momentum, median (minimum) of blocks in "
        "alternation in one process, float32. *Over the plain step*: that of the same "
        "library with the mean loss alone, of medians (of minima). The weights are "
        "made of the losses; the ledger has 50000 records. PyTorch and TensorFlow have "
        "no ledger. All had the same loss in their first step.",
        "",
        *provenance.sentences(results["about"]),
    ]
    if results["small"]:
        lines += ["", "Small sizes, not those of the titles: a trial."]
    for case in results["cases"]:
        ms = case["ms"]
        lines += ["", f"## {TITLES[case['model']]}", ""]
        lines += ["| step | ms | over the plain step |", "|---|---|---|"]
        for who in ms:
            plain = f"{who.partition(':')[0].replace('jaxloss', 'JAX')}{PLAIN}"
            ratios = [of(ms[who]) / of(ms[plain]) for of in (statistics.median, min)]
            shown = "" if who == plain else f"{ratios[0]:.3f} ({ratios[1]:.3f})"
            median = statistics.median(ms[who])
            lines.append(f"| {who} | {median:.4g} ({min(ms[who]):.4g}) | {shown} |")
        ratio = statistics.median(ms[LEDGER]) / statistics.median(ms[f"JAX{PLAIN}"])
        verdict = "holds" if ratio <= BOUND else "**does not hold**"
        lines += ["", f"With everything {ratio:.3f}, at most {BOUND}: {verdict}."]
    return "\n".join(lines) + "\n"


def save(results: dict, folder: pathlib.Path) -> None:
    """Writes the samples, and the page made of them."""
    provenance.save("step", results, table(results), folder)
