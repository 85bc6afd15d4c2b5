"""Updates that tell little about any one example."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxloss.updates.examples import Aggregator, read, require_number
from jaxloss.updates.means import clipped_total


class PrivateState(NamedTuple):
    """State of `private`.

    Attributes:
        key: the data of the random key for the next step (`jax.random.key_data`).
    """

    key: Array


def private(
    max_norm: float | Array,
    noise_multiplier: float | Array,
    batch_size: float | Array,
    key: Array,
) -> optax.GradientTransformationExtraArgs:
    r"""The noisy mean of clipped gradients, as in DP-SGD.

    .. math::
        \frac1b \Bigl(\sum_i w_i \min(1, C / \lVert g_i \rVert) \, g_i
            + \sigma C \, \mathcal{N}(0, I)\Bigr)

    The sum before noise has **sensitivity** :math:`C` for adding or leaving out one
    example, so that a step is one Gaussian mechanism with noise multiplier
    :math:`\sigma`. What many steps cost is the business of an accountant, as
    ``dp-accounting``, and depends on how batches are drawn: usually each example by
    itself with probability :math:`b / N` (Poisson sampling). Batches then vary in size;
    pad them to one shape and give the padding weight 0.

    Args:
        max_norm: the norm :math:`C`, over all parameters together.
        noise_multiplier: :math:`\sigma`, standard deviation of the noise in units
            of `max_norm`.
        batch_size: :math:`b`, the expected size of a batch. It is fixed, since the size
            of the batch at hand is itself private.
        key: of `jax.random.key`. Two trainings with one key have the same noise, which
            then cancels in their difference: take a new one for each.

    Returns:
        An `optax.experimental.aggregating.Aggregator` whose state is a `PrivateState`.
        Its ``update`` takes ``weights``: shape ``(batch,)``, clamped to [0, 1], nan to
        0. The weight of an example must not depend on other examples.

    Raises:
        ValueError: when `max_norm` or `batch_size` is not positive, or
            `noise_multiplier` negative; by ``update``, as in `clipped_mean`.
        TypeError: when `key` is no key; by ``update``, when a gradient is not floating.

    Guarantees:
        - Sums that differ in one example are at most `max_norm` apart, whatever its
          gradient: one whose norm is not finite counts as 0.
        - That is up to rounding, in float32 or wider for every dtype of the parameters:
          1e-5 of `max_norm` for a clipped norm, and about 1e-7 of the sum, whose norm
          can be that of `max_norm` times the batch. Norms are taken with
          ``method="direct"``; one beyond 1.8e19 counts as not finite.
        - Noise is drawn at each step anew, for every element by itself, in float32 or
          wider, and added before anything is rounded to a narrower dtype. It is
          floating-point noise, which is not safe against an attacker who reads the
          last bits (Mironov, 2012).
        - An empty batch gives noise alone.

    Examples:
        >>> dp = private(1.0, 0.0, batch_size=2, key=jax.random.key(0))  # without noise
        >>> grads = jnp.array([[3.0, 4.0], [0.0, 0.5], [jnp.inf, 0.0]])
        >>> dp.update(grads, dp.init(jnp.zeros(2)))[0]
        Array([0.3 , 0.65], dtype=float32)

    References:
        Abadi et al., *Deep learning with differential privacy*, 2016; Mironov, *On
        significance of the least significant bits for differential privacy*, 2012.
    """
    require_number("max_norm", max_norm, above=0)
    require_number("noise_multiplier", noise_multiplier)
    require_number("batch_size", batch_size, above=0)
    key = _typed(key)
    impl = jax.random.key_impl(key)

    def init(params):
        return PrivateState(jax.random.key_data(key))

    def update(updates, state, params=None, *, weights=None, **extra_args):
        batch = read(updates, params, weights)
        kept = jnp.where(batch.weights > 0, jnp.minimum(batch.weights, 1), 0)
        clipped = clipped_total(batch.grads, max_norm, kept, "direct")
        following, drawn = jax.random.split(
            jax.random.wrap_key_data(state.key, impl=impl)
        )
        leaves, treedef = jax.tree.flatten(clipped)
        keys = jax.random.split(drawn, len(leaves)) if leaves else []
        noisy = [
            (leaf + _noise(k, leaf, max_norm, noise_multiplier))
            / jnp.asarray(batch_size, leaf.dtype)
            if jnp.issubdtype(leaf.dtype, jnp.floating)
            else leaf
            for k, leaf in zip(keys, leaves, strict=True)
        ]
        state = PrivateState(jax.random.key_data(following))
        return batch.narrowed(jax.tree.unflatten(treedef, noisy)), state

    return Aggregator(init, update)


def _noise(key: Array, leaf: Array, max_norm: Any, noise_multiplier: Any) -> Array:
    deviation = jnp.asarray(max_norm, leaf.dtype) * jnp.asarray(
        noise_multiplier, leaf.dtype
    )
    return deviation * jax.random.normal(key, leaf.shape, leaf.dtype)


def _typed(key: Array) -> Array:
    dtype = getattr(key, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        if not key.shape:
            return key
    elif dtype == jnp.uint32:  # of `jax.random.PRNGKey`
        return jax.random.wrap_key_data(key)
    raise TypeError(f"`key` must be one key of `jax.random.key`, got {key!r}.")
