"""Shows a training in TensorBoard, example by example: what the ledger sums up.

After every epoch on scikit-learn's digits, one label in ten of them wrong, the summary
of the ledger is written: how many examples are learnt and how many never were, the
quantiles and the histogram of the losses, and which ones are worst. Look at it with
``tensorboard --logdir build/monitoring``.
"""

import functools
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits
from tensorboardX import SummaryWriter

from jaxloss import ledger, losses, per_sample

EPOCHS, BATCH, NOISE = 10, 64, 0.1
OUT = Path(__file__).parents[1] / "build" / "monitoring"
kernel = per_sample(losses.softmax_cross_entropy_with_integer_labels)


def logits(params, x):
    hidden = jax.nn.relu(x @ params["w1"] + params["b1"])
    return hidden @ params["w2"] + params["b2"]


def log(writer, found, epoch):
    """Writes the summary of a ledger, as TensorBoard takes it."""
    for name, value in found["scalars"].items():
        writer.add_scalar(name, float(value), epoch)
    for name, (counts, edges) in found["histograms"].items():
        counts, edges = np.asarray(counts), np.asarray(edges, float)
        middle = (edges[1:] + edges[:-1]) / 2
        writer.add_histogram_raw(
            name,
            min=edges[0],
            max=edges[-1],
            num=counts.sum(),
            sum=counts @ middle,
            sum_squares=counts @ middle**2,
            bucket_limits=edges[1:].tolist(),
            bucket_counts=counts.tolist(),
            global_step=epoch,
        )
    worst = zip(found["largest"]["index"], found["largest"]["loss"], strict=True)
    lines = [f"| {index} | {loss:.3f} |" for index, loss in worst]
    table = "\n".join(["| example | loss |", "|---|---|", *lines])
    writer.add_text("largest losses", table, epoch)


def main(seed=0):
    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    noise = (rng.random(len(labels)) < NOISE) * rng.integers(1, 10, len(labels))
    x = jnp.asarray(images / 16, jnp.float32)
    y = jnp.asarray((labels + noise) % 10, jnp.int32)
    params = {
        "w1": jnp.asarray(rng.normal(0, 1 / 8, (64, 128)), jnp.float32),
        "b1": jnp.zeros(128),
        "w2": jnp.asarray(rng.normal(0, 1 / 12, (128, 10)), jnp.float32),
        "b2": jnp.zeros(10),
    }
    optimizer = optax.adam(2e-3)
    state, records = optimizer.init(params), ledger.init(len(x))

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(params, state, records, rows):
        def loss(params):
            scores = logits(params, x[rows])
            sample_losses = kernel(scores, y[rows])
            return sample_losses.mean(), (sample_losses, scores)

        grads, (sample_losses, scores) = jax.grad(loss, has_aux=True)(params)
        correct = scores.argmax(-1) == y[rows]
        records = ledger.update(records, rows, losses=sample_losses, correct=correct)
        change, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, change), state, records

    shutil.rmtree(OUT, ignore_errors=True)
    with SummaryWriter(str(OUT)) as writer:
        for epoch in range(EPOCHS):
            order = rng.permutation(len(x))
            for rows in order[: len(x) // BATCH * BATCH].reshape(-1, BATCH):
                params, state, records = step(params, state, records, rows)
            log(writer, ledger.summary(records), epoch)

    found = ledger.summary(records, k=50)
    wrong = np.mean(noise[np.asarray(found["largest"]["index"])] != 0)
    print(f"{found['scalars']['examples/learnt']:.1%} of the examples are learnt,")
    print(f"{found['scalars']['examples/never_learnt']:.1%} never were")
    print(f"of the 50 of largest loss {wrong:.0%} have a wrong label")
    print(f"events in {OUT}")

    assert wrong > 0.8
    assert found["scalars"]["examples/learnt"] > 0.8


if __name__ == "__main__":
    main()
