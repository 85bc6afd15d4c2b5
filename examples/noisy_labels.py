"""Finds the mislabelled digits of a training set while training on it.

One label in ten of scikit-learn's handwritten digits is wrong on purpose. One ordinary
training writes every sample's loss and margin into a ledger; the audit reads from it
which labels were contradicted; a second training gives those samples weight 0.
"""

import csv
import functools
import time
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score, precision_score, recall_score
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from jaxloss import audit, ledger, losses, per_sample, reduction

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402 (the backend is chosen first)

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


def draw(images, given, said, confidence, flipped, suspects, ranking, mean_losses):
    figure, axes = plt.subplots(4, 8, figsize=(12, 7.4), layout="constrained")
    for axis, i in zip(axes.flat, ranking, strict=False):
        axis.imshow(images[i].reshape(8, 8), cmap="gray_r")
        verdict = "#b03020" if flipped[i] else "#3060a0"
        axis.set_title(
            f"given {given[i]}, model {said[i]}\n({confidence[i]:.0%})",
            color=verdict,
            fontsize=10,
        )
        axis.set_axis_off()
    figure.suptitle(
        f"The 32 most suspicious of {len(images)} digits, {suspects.sum()} suspects in "
        "all\nred: the label was flipped; blue: it was not"
    )
    figure.savefig(OUT / "most_suspicious.png", dpi=120)

    figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
    bins = np.geomspace(max(mean_losses.min(), 1e-3), mean_losses.max(), 50)
    for which, name, color in (
        (~flipped, "clean", "#3060a0"),
        (flipped, "flipped", "#b03020"),
    ):
        axis.hist(mean_losses[which], bins, alpha=0.7, label=name, color=color)
    axis.set(
        xscale="log",
        xlabel="mean loss over the training (nats)",
        ylabel="samples",
        title="Loss of clean and flipped samples",
    )
    axis.legend()
    figure.savefig(OUT / "losses.png", dpi=120)


def main():
    started = time.perf_counter()
    seconds = {}

    def lap(part):
        seconds[part] = time.perf_counter() - started - sum(seconds.values())

    OUT.mkdir(parents=True, exist_ok=True)
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
    said, confidence = opinion.argmax(-1), opinion.max(-1)
    mean_losses = np.asarray(ledger.loss_mean(records))
    draw(images, given, said, confidence, flipped, suspects, ranking, mean_losses)
    with open(OUT / "samples.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(
            "sample given_label model_label confidence true_label flipped suspicion "
            "suspect mean_loss loss_variance times_forgotten".split()
        )
        variance = np.asarray(ledger.loss_variance(records))
        forgotten = np.asarray(records.forgotten)
        for i in ranking:
            table.writerow(
                [kept[i], given[i], said[i], f"{confidence[i]:.4f}", truth[i]]
                + [int(flipped[i]), f"{scores[i]:.4f}", int(suspects[i])]
                + [f"{mean_losses[i]:.4f}", f"{variance[i]:.4f}", forgotten[i]]
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
    print(f"report in {OUT}")

    assert average_precision >= 0.97
    assert precision >= 0.90 and recall >= 0.90
    assert after >= before


if __name__ == "__main__":
    main()
