"""Which training digits does a wrong answer lean on?

One label in ten of scikit-learn's handwritten digits is wrong on purpose. For a
held-out digit that the model takes for another, the gradient of the answer it gave is
compared with the gradient of every training digit: a step on those that are most alike
makes the model surest of that answer. They are shown in a picture; wrong labels are
among them far more often than by chance.
"""

import time
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from jaxloss import gradients, losses, updates

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402 (the backend is chosen first)

SEED, EPOCHS, BATCH, NOISE, SHOWN = 0, 40, 64, 0.1, 8
OUT = Path(__file__).parents[1] / "build" / "influence_digits"


class Classifier(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(64, 64, rngs=rngs)
        self.out = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.relu(self.hidden(x)))


GRAPH, START = nnx.split(Classifier(nnx.Rngs(SEED)), nnx.Param)


def logits_of(params, x):
    return nnx.merge(GRAPH, params)(x)


def loss(params, x, y):
    return losses.softmax_cross_entropy_with_integer_labels(logits_of(params, x), y)


def train(images, labels, rng):
    optimizer = optax.chain(updates.weighted_mean(), optax.adam(3e-3))

    @jax.jit
    def step(params, state, rows):
        _, grads = gradients.per_example(loss)(params, images[rows], labels[rows])
        change, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, change), state

    params, state = START, optimizer.init(START)
    whole = len(images) // BATCH * BATCH
    for _ in tqdm(range(EPOCHS), desc="train", unit="epoch"):
        for rows in rng.permutation(len(images))[:whole].reshape(-1, BATCH):
            params, state = step(params, state, rows)
    return params


def draw(wrong, truth, said, ranking, images, given, flipped):
    count = min(6, len(wrong))
    figure, axes = plt.subplots(
        count, SHOWN + 1, figsize=(11, 1.5 * count + 0.6), layout="constrained"
    )
    for row in range(count):
        cells = [(wrong[row], f"is {truth[row]}, said {said[row]}", "black")]
        for i in ranking[row, :SHOWN]:
            color = "#b03020" if flipped[i] else "#3060a0"
            cells.append((images[i], f"labelled {given[i]}", color))
        for axis, (image, title, color) in zip(axes[row], cells, strict=True):
            axis.imshow(np.reshape(image, (8, 8)), cmap="gray_r")
            axis.set_title(title, color=color, fontsize=9)
            axis.set_axis_off()
    figure.suptitle(
        "Wrong answers (left) and the training digits that speak most for them\n"
        "red: the label was flipped; blue: it was not"
    )
    OUT.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT / "influence.png", dpi=110)


def main(seed=SEED):
    started = time.perf_counter()
    data, target = load_digits(return_X_y=True)
    images, held_out, clean, truth = train_test_split(
        jnp.asarray(data / 16, jnp.float32),
        target,
        test_size=0.25,
        stratify=target,
        random_state=seed,
    )
    rng = np.random.default_rng(seed)
    flipped = rng.random(len(clean)) < NOISE
    given = np.where(flipped, (clean + rng.integers(1, 10, len(clean))) % 10, clean)
    labels = jnp.asarray(given, jnp.int32)
    params = train(images, labels, rng)

    said = np.argmax(np.asarray(jax.vmap(logits_of, (None, 0))(params, held_out)), -1)
    (rows,) = np.nonzero(said != truth)
    wrong, answers = held_out[rows], jnp.asarray(said[rows], jnp.int32)
    per_example = gradients.per_example(loss)
    of_answers = per_example(params, wrong, answers)[1]
    alike = gradients.gram(of_answers, per_example(params, images, labels)[1])
    ranking = np.argsort(-np.asarray(alike), axis=1)

    # The same for one answer, by a single derivative along its gradient.
    along = jax.grad(loss)(params, wrong[0], answers[0])
    _, slopes = gradients.directional(loss)(params, along, images, labels)
    np.testing.assert_allclose(slopes, alike[0], rtol=1e-3, atol=1e-3 * alike.max())

    top = ranking[:, :SHOWN]
    same = np.mean(given[top] == said[rows][:, None])
    mislabelled, share = np.mean(flipped[top]), np.mean(flipped)
    draw(wrong, truth[rows], said[rows], ranking, images, given, flipped)
    print(f"\n{len(rows)} of {len(truth)} held-out digits are taken for another")
    print(f"of the {SHOWN} training digits that speak most for each wrong answer,")
    print(f"  {same:.0%} are labelled with that answer")
    print(f"  {mislabelled:.0%} are mislabelled, of all training digits {share:.0%}")
    print(f"picture in {OUT}")
    print(f"seconds: {time.perf_counter() - started:.1f}")
    return same, mislabelled, share


if __name__ == "__main__":
    same, mislabelled, share = main()
    assert same > 0.9
    assert mislabelled > 5 * share
