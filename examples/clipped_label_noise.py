"""Trains on digits of which many labels are wrong, with and without clipping.

A wrong label makes a large gradient, again and again. Where the gradient of every
example is scaled down to at most a norm, the few that are right about a digit count as
much as those that shout. The digits are scikit-learn's, the model is Flax Linen's.
"""

import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from jaxloss import gradients, losses, updates

SEED, EPOCHS, BATCH, NOISE, MAX_NORM = 0, 150, 64, 0.4, 0.1


class Classifier(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(nn.relu(nn.Dense(256)(x)))


MODEL = Classifier()


def loss(params, x, y):
    logits = jnp.asarray(MODEL.apply(params, x))
    return losses.softmax_cross_entropy_with_integer_labels(logits, y)


def train(images, labels, link, name, seed):
    """Trains from scratch with `link` as the first of the optimizer."""
    optimizer = optax.chain(link, optax.adam(1e-3))
    params = MODEL.init(jax.random.key(seed), images[0])
    state, rng = optimizer.init(params), np.random.default_rng(seed)

    @jax.jit
    def epoch(params, state, order):
        def step(carry, rows):
            params, state = carry
            _, grads = gradients.per_example(loss)(params, images[rows], labels[rows])
            change, state = optimizer.update(grads, state, params)
            return (optax.apply_updates(params, change), state), None

        return jax.lax.scan(step, (params, state), order)[0]

    whole = len(images) // BATCH * BATCH
    for _ in tqdm(range(EPOCHS), desc=name, unit="epoch"):
        order = rng.permutation(len(images))[:whole].reshape(-1, BATCH)
        params, state = epoch(params, state, order)
    return params


def compare(seed):
    """Held-out accuracy after each training, and norms of the plain one."""
    data, target = load_digits(return_X_y=True)
    images, held_out, clean, truth = train_test_split(
        jnp.asarray(data / 16, jnp.float32),
        target,
        test_size=0.25,
        stratify=target,
        random_state=seed,
    )
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(clean)) < NOISE
    given = np.where(wrong, (clean + rng.integers(1, 10, len(clean))) % 10, clean)
    labels = jnp.asarray(given, jnp.int32)
    accuracy = {}
    for name, link in (
        ("plain", updates.weighted_mean()),
        ("clipped", updates.clipped_mean(MAX_NORM)),
    ):
        params = train(images, labels, link, name, seed)
        said = np.argmax(np.asarray(MODEL.apply(params, held_out)), -1)
        accuracy[name] = np.mean(said == truth)
    return accuracy, wrong


def main(seed=SEED):
    started = time.perf_counter()
    accuracy, wrong = compare(seed)
    print(f"\n{wrong.sum()} of {len(wrong)} training labels are wrong")
    for name, share in accuracy.items():
        print(f"held-out accuracy, {name:7s}: {share:.3f}")
    print(f"seconds: {time.perf_counter() - started:.1f}")
    return accuracy


if __name__ == "__main__":
    accuracy = main()
    assert accuracy["clipped"] > accuracy["plain"] + 0.05
