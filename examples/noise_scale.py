"""How large a batch is worth its price, measured while a model trains.

The gradient noise scale is about the batch size at which the noise of the gradient is
as large as the gradient. At the start all examples agree and small batches do; the
better the model, the more examples it takes to see where to go. Digits of scikit-learn,
a model of Flax Linen; the scale is kept by the first link of the optimizer.
"""

import time
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
from sklearn.datasets import load_digits
from tqdm import tqdm

from jaxloss import gradients, losses, updates

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402 (the backend is chosen first)

SEED, STEPS, BATCH, DECAY = 0, 600, 128, 0.98
OUT = Path(__file__).parents[1] / "build" / "noise_scale"


class Classifier(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(nn.relu(nn.Dense(128)(x)))


MODEL = Classifier()


def loss(params, x, y):
    logits = jnp.asarray(MODEL.apply(params, x))
    return losses.softmax_cross_entropy_with_integer_labels(logits, y)


def train(seed):
    """Loss and noise scale at each step."""
    data, target = load_digits(return_X_y=True)
    images, labels = jnp.asarray(data / 16, jnp.float32), jnp.asarray(target, jnp.int32)
    optimizer = optax.chain(
        updates.monitor_noise_scale(DECAY), updates.weighted_mean(), optax.sgd(0.1)
    )

    @jax.jit
    def step(params, state: Any, rows):
        sample_losses, grads = gradients.per_example(loss)(
            params, images[rows], labels[rows]
        )
        change, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, change)
        return params, state, jnp.mean(sample_losses), state[0].average.scale

    params = MODEL.init(jax.random.key(seed), images[0])
    state, rng, seen = optimizer.init(params), np.random.default_rng(seed), []
    for _ in tqdm(range(STEPS), desc="train", unit="step"):
        rows = rng.choice(len(images), BATCH, replace=False)
        params, state, mean, scale = step(params, state, rows)
        seen.append((float(mean), float(scale)))
    return np.array(seen).T


def draw(means, scales):
    figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axis.plot(scales, color="#3060a0", label="gradient noise scale (left)")
    axis.axhline(BATCH, color="#3060a0", linestyle=":", label="size of the batches")
    axis.set(yscale="log", xlabel="step", ylabel="examples")
    axis.set_title("The noise scale grows while the loss falls")
    other = axis.twinx()
    other.plot(means, color="#b03020", alpha=0.6, label="loss (right)")
    other.set(yscale="log", ylabel="mean loss of the batch (nats)")
    figure.legend(loc="outside lower center", ncols=3)
    OUT.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT / "noise_scale.png", dpi=120)


def main(seed=SEED):
    started = time.perf_counter()
    means, scales = train(seed)
    draw(means, scales)
    early, late = np.median(scales[10:40]), np.median(scales[-100:])
    print(
        f"\nloss: {means[:10].mean():.2f} at the start, {means[-50:].mean():.3f} later"
    )
    print(f"gradient noise scale: {early:.0f} examples at the start, {late:.0f} later")
    print(f"picture in {OUT}")
    print(f"seconds: {time.perf_counter() - started:.1f}")
    return early, late


if __name__ == "__main__":
    early, late = main()
    assert late > 5 * early > 0
