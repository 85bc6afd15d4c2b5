"""Raises the accuracy on the worst group, at the cost of the others.

One digit in twenty of scikit-learn's was scanned the wrong way round: a small group,
to which a plain training of a small model hardly bends. Group DRO gives weight to the
group whose loss is largest. The mean of the worst tenth of the losses helps less, but
need not know the groups.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from jaxloss import losses, per_sample, reduction, weighting

STEPS, SHARE = 400, 0.05
kernel = per_sample(losses.softmax_cross_entropy_with_integer_labels)


@functools.partial(jax.jit, static_argnames="how")
def train(images, labels, groups, how):
    """Returns a linear classifier, trained on whole batches."""
    optimizer = optax.adam(0.02)
    params = {"w": jnp.zeros((64, 10)), "b": jnp.zeros(10)}

    def loss(params, shares):
        sample_losses = kernel(images @ params["w"] + params["b"], labels)
        decay = 0.001 * jnp.sum(params["w"] ** 2)
        if how == "group weights":
            weights, shares = weighting.group_weights(
                sample_losses, groups, shares, step_size=0.05
            )
            return reduction.weighted_sum(sample_losses, weights) + decay, shares
        if how == "tail mean":
            return reduction.tail_mean(sample_losses, 0.1) + decay, shares
        return sample_losses.mean() + decay, shares

    def step(carry, _):
        params, state, shares = carry
        grads, shares = jax.grad(loss, has_aux=True)(params, shares)
        change, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, change), state, shares), None

    start = params, optimizer.init(params), weighting.init_groups(2)
    (params, *_), _ = jax.lax.scan(step, start, length=STEPS)
    return params


def main(seed=0):
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)
    x, held_out, y, truth = train_test_split(
        images, labels, test_size=0.5, stratify=labels, random_state=seed
    )
    groups = (np.random.default_rng(seed).random(len(y)) < SHARE).astype(np.int32)
    x = np.where(groups[:, None] == 1, turned(x), x)
    worst = {}
    for how in ("mean", "group weights", "tail mean"):
        params = train(x, y, groups, how)
        accuracy = [
            np.mean((part @ params["w"] + params["b"]).argmax(-1) == truth)
            for part in (held_out, turned(held_out))
        ]
        worst[how] = min(accuracy)
        print(f"{how:13s} accuracy {accuracy[0]:.3f} upright, {accuracy[1]:.3f} turned")

    assert worst["group weights"] > worst["mean"] + 0.05
    assert worst["group weights"] > worst["tail mean"] > worst["mean"]


def turned(x):
    return x.reshape(-1, 8, 8).transpose(0, 2, 1).reshape(-1, 64)


if __name__ == "__main__":
    main()
