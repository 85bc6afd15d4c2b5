"""Means over the examples: of the gradients, and of the gradients clipped."""

from typing import Any

import jax.numpy as jnp
import optax
from jax import Array

from jaxloss import _devices
from jaxloss.gradients import PerExampleGradients, clip_weights, weighted_sum
from jaxloss.gradients.algebra import Method
from jaxloss.gradients.sums import root, squares_and_blocks, total
from jaxloss.updates.examples import Aggregator, read, require_number


def weighted_mean() -> optax.GradientTransformationExtraArgs:
    r"""The mean of the gradients, divided by the sum of the weights.

    .. math:: \frac{\sum_i w_i g_i}{\sum_i w_i}

    Without weights it is the gradient of the mean loss.

    Returns:
        An `optax.experimental.aggregating.Aggregator` without state. Its ``update``
        takes ``weights``: shape ``(batch,)``; float, integer or boolean.

    Raises:
        ValueError: by ``update``, when example axes or the shape of ``weights`` differ.
        TypeError: by ``update``, when a gradient is not floating.

    Guarantees:
        - An example of weight 0 does not reach the mean, even if it is nan or inf.
        - When the weights sum to 0, or the batch is empty, the mean is 0.

    Examples:
        >>> optimizer = optax.chain(weighted_mean(), optax.sgd(1.0))
        >>> grads = jnp.array([[2.0, 4.0], [4.0, 8.0], [jnp.nan, 0.0]])
        >>> state = optimizer.init(jnp.zeros(2))
        >>> optimizer.update(grads, state, weights=jnp.array([1, 1, 0]))[0]
        Array([-3., -6.], dtype=float32)
    """

    def update(updates, state, params=None, *, weights=None, **extra_args):
        batch = read(updates, params, weights)
        mean = weighted_sum(batch.grads, _shares(batch.weights))
        return batch.narrowed(mean), state

    return Aggregator(optax.init_empty_state, update)


def clipped_mean(
    max_norm: float | Array, *, method: Method = "auto"
) -> optax.GradientTransformationExtraArgs:
    r"""The mean of the gradients, each scaled down to a norm of at most `max_norm`.

    .. math:: \frac{\sum_i w_i \min(1, C / \lVert g_i \rVert) \, g_i}{\sum_i w_i}

    It divides by the sum of the weights as they were given, the number of examples if
    none were: not by what clipping leaves of them. The weight comes after clipping. So
    no example moves the mean by more than its share of the weight times `max_norm`.

    Args:
        max_norm: the norm :math:`C`, over all parameters together, above which a
            gradient is scaled down.
        method: how norms are measured, as in `jaxloss.gradients.norms`.

    Returns:
        An `optax.experimental.aggregating.Aggregator` without state. Its ``update``
        takes ``weights``: shape ``(batch,)``; float, integer or boolean.

    Raises:
        ValueError: when `max_norm` is not positive; by ``update``, when example axes
            or the shape of ``weights`` differ.
        TypeError: by ``update``, when a gradient is not floating.

    Guarantees:
        - A gradient whose norm is not finite counts as 0, and its weight stays in the
          divisor; `skip_non_finite` takes it out.
        - When the weights sum to 0, or the batch is empty, the mean is 0.

    Examples:
        >>> optimizer = optax.chain(clipped_mean(5.0), optax.sgd(1.0))
        >>> grads = jnp.array([[30.0, 40.0], [1.0, 2.0]])
        >>> optimizer.update(grads, optimizer.init(jnp.zeros(2)))[0]
        Array([-2., -3.], dtype=float32)

    References:
        Abadi et al., *Deep learning with differential privacy*, 2016, without the
        noise; Menon et al., *Can gradient clipping mitigate label noise?*, 2020.
    """
    require_number("max_norm", max_norm, above=0)

    def update(updates, state, params=None, *, weights=None, **extra_args):
        batch = read(updates, params, weights)
        shares = _shares(batch.weights)
        return batch.narrowed(
            clipped_total(batch.grads, max_norm, shares, method)
        ), state

    return Aggregator(optax.init_empty_state, update)


def clipped_total(
    grads: PerExampleGradients, max_norm: Any, weights: Array, method: Method
) -> Any:
    """The weighted sum of the gradients, clipped before they are weighed."""

    def clipped(grads: PerExampleGradients, max_norm: Any, weights: Array) -> Any:
        square, blocks = squares_and_blocks(grads, method)
        return total(grads, weights * clip_weights(root(square), max_norm), blocks)

    return _devices.automatic(clipped, False, grads.zeros)(grads, max_norm, weights)


def _shares(weights: Array) -> Array:
    """The weights divided by their sum; 0 if that is 0."""
    whole = jnp.sum(weights)
    return jnp.where(whole != 0, weights / jnp.where(whole != 0, whole, 1), 0)
