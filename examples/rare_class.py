"""Raises the recall of a rare class by weights of classes.

All but ten of the nines are taken out of the training set of scikit-learn's digits, so
that a plain training hardly says nine. Weighted by the effective number of examples it
does. This costs precision: more of the other digits are called a nine as well.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from jaxloss import losses, per_sample, reduction, weighting

RARE, LEFT, STEPS = 9, 10, 300


@jax.jit
def train(images, labels, weights):
    """Returns a linear classifier, trained on whole batches."""
    optimizer = optax.adam(0.02)
    params = {"w": jnp.zeros((64, 10)), "b": jnp.zeros(10)}

    def loss(params):
        kernel = per_sample(losses.softmax_cross_entropy_with_integer_labels)
        sample_losses = kernel(images @ params["w"] + params["b"], labels)
        decay = 0.003 * jnp.sum(params["w"] ** 2)
        return reduction.weighted_mean(sample_losses, weights) + decay

    def step(carry, _):
        params, state = carry
        change, state = optimizer.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, change), state), None

    start = params, optimizer.init(params)
    (params, _), _ = jax.lax.scan(step, start, length=STEPS)
    return params


def main(seed=0):
    images, labels = load_digits(return_X_y=True)
    x, held_out, y, truth = train_test_split(
        images / 16, labels, test_size=0.5, stratify=labels, random_state=seed
    )
    rare = np.flatnonzero(np.equal(y, RARE))
    x, y = np.delete(x, rare[LEFT:], 0), np.delete(y, rare[LEFT:])
    x, y = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.int32)
    of_class = weighting.class_balanced(jnp.bincount(y, length=10), beta=0.999)

    print(f"{LEFT} examples of {RARE}, {len(y) / 10:.0f} of a class in the mean")
    recall, accuracy = {}, {}
    for name, weights in (("uniform", jnp.ones(len(y))), ("balanced", of_class[y])):
        params = train(x, y, weights)
        said = np.argmax(held_out @ params["w"] + params["b"], axis=-1)
        recall[name] = np.mean(said[truth == RARE] == RARE)
        precision = np.mean(truth[said == RARE] == RARE)
        accuracy[name] = np.mean(said == truth)
        print(
            f"{name:9s} recall of {RARE} {recall[name]:.3f}, precision "
            f"{precision:.3f}; accuracy over all {accuracy[name]:.3f}"
        )

    assert recall["balanced"] > recall["uniform"] + 0.1
    assert accuracy["balanced"] > accuracy["uniform"]


if __name__ == "__main__":
    main()
