"""A curriculum where labels are wrong, and where they are right.

Four labels in ten of scikit-learn's digits are wrong. The share of examples to train
on, those of smallest loss, falls from all to what may be right while the training goes
on, before the network knows the wrong ones by heart. With right labels a curriculum
from easy to hard brings nothing; it even costs a little, as the hard ones come late.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from jaxloss import losses, per_sample, reduction, weighting

STEPS, NOISE = 600, 0.4
kernel = per_sample(losses.softmax_cross_entropy_with_integer_labels)


def logits(params, x):
    hidden = jax.nn.relu(x @ params["w1"] + params["b1"])
    return hidden @ params["w2"] + params["b2"]


@jax.jit
def train(params, images, labels, batches, shares):
    """Returns a small network, trained on a share of smallest losses at every step."""
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-3, STEPS))

    def step(carry, now):
        (params, state), (rows, share) = carry, now

        def loss(params):
            sample_losses = kernel(logits(params, images[rows]), labels[rows])
            weights = weighting.keep_small(sample_losses, share)
            return reduction.weighted_mean(sample_losses, weights)

        change, state = optimizer.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, change), state), None

    start = params, optimizer.init(params)
    (params, _), _ = jax.lax.scan(step, start, (batches, shares))
    return params


def main(seed=0):
    images, labels = load_digits(return_X_y=True)
    x, held_out, y, truth = train_test_split(
        (images / 16).astype(np.float32), labels, test_size=0.5, random_state=seed
    )
    rng = np.random.default_rng(seed)
    noise = (rng.random(len(y)) < NOISE) * rng.integers(1, 10, len(y))
    batches = rng.integers(0, len(y), (STEPS, 128))
    start = {
        "w1": rng.normal(0, 1 / 8, (64, 256)).astype(np.float32),
        "b1": np.zeros(256, np.float32),
        "w2": rng.normal(0, 1 / 16, (256, 10)).astype(np.float32),
        "b2": np.zeros(10, np.float32),
    }
    everything = weighting.curriculum(1.0, 1.0, 0)
    fewer = weighting.curriculum(1.0, 1.0 - NOISE - 0.05, STEPS // 6)
    easy_first = weighting.curriculum(0.3, 1.0, STEPS // 2)
    accuracy = {}
    for kind, name, given, share in (
        ("noisy", "all examples", (y + noise) % 10, everything),
        ("noisy", "fewer and fewer", (y + noise) % 10, fewer),
        ("right", "all examples", y, everything),
        ("right", "easy ones first", y, easy_first),
    ):
        params = train(start, x, given, batches, share(jnp.arange(STEPS)))
        said = logits(params, held_out).argmax(-1)
        accuracy[kind, name] = np.mean(said == truth)
        print(f"{kind} labels, {name:15s} held-out accuracy {accuracy[kind, name]:.3f}")

    gain = accuracy["noisy", "fewer and fewer"] - accuracy["noisy", "all examples"]
    assert gain > 0.02
    loss = accuracy["right", "all examples"] - accuracy["right", "easy ones first"]
    assert -0.01 < loss < 0.03


if __name__ == "__main__":
    main()
