"""Finds the mislabelled digits of a training set while training on it.

One label in ten of scikit-learn's handwritten digits is wrong on purpose. One ordinary
training writes every sample's loss and margin into a ledger; the audit reads from it
which labels were contradicted; a second training gives those samples weight 0.
"""

import functools
import time
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score, precision_score, recall_score
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from jaxloss import audit, ledger, losses, per_sample, reduction, report

SEED, EPOCHS, BATCH, NOISE = 0, 80, 64, 0.1
OUT = Path(__file__).parents[1] / "build" / "noisy_labels"


class Classifier(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        for _ in range(2):
            x = nn.Dropout(0.5, deterministic=not train)(nn.relu(nn.Dense(256)(x)))
        return nn.Dense(10)(x)


def train(images, labels, weights, name):
    """Trains from scratch; returns the model's probabilities and the ledger."""
    model, key = Classifier(), jax.random.key(SEED)
    steps = -(-len(images) // BATCH)
    schedule = optax.cosine_decay_schedule(3e-3, EPOCHS * steps)
    optimizer = optax.adamw(schedule, weight_decay=1e-4)

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(params, opt_state, records, index, where, key):
        x, y, w = images[index], labels[index], weights[index] * where

        def batch_loss(params):
            logits = model.apply(params, x, train=True, rngs={"dropout": key})
            kernel = per_sample(losses.softmax_cross_entropy_with_integer_labels)
            sample_losses = kernel(logits, y)
            return reduction.weighted_mean(sample_losses, w), (sample_losses, logits)

        gradient_of = jax.value_and_grad(batch_loss, has_aux=True)
        (loss, (sample_losses, logits)), gradient = gradient_of(params)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        records = ledger.update(
            records,
            index,
            losses=sample_losses,
            margins=per_sample(losses.margin, temperature=1.0)(logits, y),
            label_probabilities=jnp.exp(-sample_losses),
            correct=logits.argmax(-1) == y,
            where=where,
        )
        params = optax.apply_updates(params, updates)
        return params, opt_state, records, loss, sample_losses

    images, labels = jnp.asarray(images), jnp.asarray(labels, jnp.int32)
    weights = jnp.asarray(weights, jnp.float32)
    params = model.init(key, images[:1], train=False)
    opt_state, records = optimizer.init(params), ledger.init(len(images))
    rng, loss = np.random.default_rng(SEED), 0.0
    progress = tqdm(range(EPOCHS), desc=name, unit="epoch")
    for epoch in progress:
        order = np.pad(rng.permutation(len(images)), (0, steps * BATCH - len(images)))
        where = np.arange(order.size) < len(images)  # the last batch is padded
        for i, rows in enumerate(np.split(np.arange(order.size), steps)):
            params, opt_state, records, loss, _ = step(
                params,
                opt_state,
                records,
                order[rows],
                where[rows],
                jax.random.fold_in(key, epoch * steps + i),
            )
        progress.set_postfix(loss=f"{loss:.3f}", refresh=False)
    predict = jax.jit(
        lambda x: nn.softmax(jnp.asarray(model.apply(params, x, train=False)))
    )
    return predict, records


def flip(labels, rng):
    """Gives a share of the labels another class; returns them and which they are."""
    flipped = np.zeros(len(labels), bool)
    flipped[rng.choice(len(labels), round(NOISE * len(labels)), replace=False)] = True
    shift = rng.integers(1, 10, len(labels))
    return np.where(flipped, (labels + shift) % 10, labels), flipped


def main():
    started = time.perf_counter()
    seconds = {}

    def lap(part):
        seconds[part] = time.perf_counter() - started - sum(seconds.values())

    data, target = load_digits(return_X_y=True)
    data = (data / 16).astype(np.float32)
    index = np.arange(len(data))
    kept, held_out = train_test_split(
        index, test_size=0.25, stratify=target, random_state=SEED
    )
    images, truth = data[kept], target[kept]
    given, flipped = flip(truth, np.random.default_rng(SEED))
    lap("data")

    predict, records = train(images, given, np.ones(len(images)), "train")
    before = np.mean(predict(data[held_out]).argmax(-1) == target[held_out])
    lap("first training")

    scores = audit.suspicion(records)
    ranking, suspects = audit.ranking(scores), audit.cut(scores)
    average_precision = average_precision_score(flipped, scores)
    precision = precision_score(flipped, suspects)
    recall = recall_score(flipped, suspects)
    lap("audit")

    cleaned, _ = train(images, given, ~suspects, "train without the suspects")
    after = np.mean(cleaned(data[held_out]).argmax(-1) == target[held_out])
    lap("second training")

    opinion = np.asarray(cleaned(images))
    said = opinion.argmax(-1)
    page = report.write(
        OUT,
        title=f"Handwritten digits, {NOISE:.0%} of the labels flipped",
        labels=given,
        scores=scores,
        suspects=suspects,
        probabilities=opinion,
        suggested=said,
        losses=ledger.loss_mean(records),
        dynamics=audit.dynamics(records),
        images=images,
        ids=kept,
        metadata={"true label": truth, "flipped": flipped},
        force=True,
    )
    lap("report")

    print("\nThe ten most suspicious digits")
    print("  sample  given  model says  flipped")
    for i in ranking[:10]:
        print(f"  {kept[i]:6d}  {given[i]:5d}  {said[i]:10d}  {bool(flipped[i])}")
    print(f"\naverage precision of the ranking  {average_precision:.3f}")
    print(f"decision: precision {precision:.3f}, recall {recall:.3f}")
    print(f"held-out accuracy: before {before:.4f}, after {after:.4f}")
    print("seconds: " + ", ".join(f"{part} {s:.1f}" for part, s in seconds.items()))
    print(f"report: {page}")

    assert average_precision >= 0.97
    assert precision >= 0.90 and recall >= 0.90
    assert after >= before


if __name__ == "__main__":
    main()
