"""Trains on digits without telling much about any one of them, and says how much.

DP-SGD on scikit-learn's handwritten digits with a Flax NNX model: every example enters
a batch by itself with the same probability, its gradient is clipped, the sum of the
batch gets noise. ``dp-accounting`` says what the whole training tells: an epsilon.
"""

import time

import dp_accounting
import jax
import jax.numpy as jnp
import numpy as np
import optax
from dp_accounting.pld import PLDAccountant
from flax import nnx
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from jaxloss import gradients, losses, updates

SEED, STEPS, BATCH = 0, 240, 256
MAX_NORM, NOISE, DELTA = 1.0, 3.0, 1e-4


class Classifier(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(64, 128, rngs=rngs)
        self.out = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.tanh(self.hidden(x)))


def epsilon(probability, noise, steps):
    """What so many steps with Poisson sampling and Gaussian noise tell."""
    one = dp_accounting.GaussianDpEvent(noise)  # pyright: ignore[reportCallIssue] (attrs fields)
    sampled = dp_accounting.PoissonSampledDpEvent
    step = sampled(probability, one)  # pyright: ignore[reportCallIssue] (attrs fields)
    accountant = PLDAccountant()
    accountant.compose(step, steps)
    return accountant.get_epsilon(DELTA)


def train(images, labels, noise):
    """Returns the trained model as a function of images."""
    graph, params = nnx.split(Classifier(nnx.Rngs(SEED)), nnx.Param)
    private = updates.private(MAX_NORM, noise, BATCH, jax.random.key(SEED))
    optimizer = optax.chain(private, optax.sgd(0.5, momentum=0.9))

    def loss(params, x, y):
        logits = nnx.merge(graph, params)(x)
        return losses.softmax_cross_entropy_with_integer_labels(logits, y)

    @jax.jit
    def step(params, state, rows, drawn):
        x, y = images[rows], labels[rows]
        sample_losses, grads = gradients.per_example(loss)(params, x, y)
        change, state = optimizer.update(grads, state, params, weights=drawn)
        return optax.apply_updates(params, change), state, sample_losses

    rng, state = np.random.default_rng(SEED), optimizer.init(params)
    probability = BATCH / len(images)
    room = BATCH + int(8 * BATCH**0.5)  # in which every batch will fit, padded
    for _ in tqdm(range(STEPS), desc=f"noise {noise}", unit="step"):
        (rows,) = np.nonzero(rng.random(len(images)) < probability)
        padding = room - len(rows)
        assert padding >= 0
        drawn = np.arange(room) < len(rows)
        params, state, _ = step(params, state, np.pad(rows, (0, padding)), drawn)
    return jax.jit(lambda x: nnx.merge(graph, params)(x))


def main():
    started = time.perf_counter()
    data, target = load_digits(return_X_y=True)
    images, held_out, labels, truth = train_test_split(
        jnp.asarray(data / 16, jnp.float32),
        jnp.asarray(target, jnp.int32),
        test_size=0.25,
        stratify=target,
        random_state=SEED,
    )
    accuracy = {}
    for noise in (0.0, NOISE):
        model = train(images, labels, noise)
        accuracy[noise] = float(jnp.mean(model(held_out).argmax(-1) == truth))
    spent = epsilon(BATCH / len(images), NOISE, STEPS)

    print(f"\nheld-out accuracy: {accuracy[0.0]:.3f} without noise, infinite epsilon")
    print(f"                   {accuracy[NOISE]:.3f} with noise, epsilon {spent:.2f}")
    print(f"                   at delta {DELTA}; {len(images)} training digits")
    print(f"seconds: {time.perf_counter() - started:.1f}")

    assert spent < 5
    assert accuracy[0.0] > 0.95
    assert accuracy[NOISE] > 0.85


if __name__ == "__main__":
    main()
