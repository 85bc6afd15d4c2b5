"""Updates that look at the examples, and keep in their state what they saw."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxloss.gradients import NoiseScale, noise_scale, norms
from jaxloss.gradients.layout import accumulator
from jaxloss.updates.examples import Aggregator, column, read, require_number
from jaxloss.updates.means import weighted_mean


class SkipNonFiniteState(NamedTuple):
    """State of `skip_non_finite`.

    Attributes:
        skipped: how many examples were left out so far, shape ``()``, int32.
        skipped_last: how many of them in the last step, shape ``()``, int32.
        inner: state of the transformation it wraps.
    """

    skipped: Array
    skipped_last: Array
    inner: Any


def skip_non_finite(
    inner: optax.GradientTransformation | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Leaves out the examples whose gradient or loss is not finite, and counts them.

    One bad example then costs its share of a batch, not the batch
    (`optax.apply_if_finite`) and not the training.

    Args:
        inner: what gets the gradients and the remaining weights: one of this module,
            or a chain that begins with one. `weighted_mean()`, if None.

    Returns:
        An `optax.experimental.aggregating.Aggregator` whose state is a
        `SkipNonFiniteState`. Its ``update`` takes ``weights`` and ``losses``, both
        optional and of shape ``(batch,)``, and hands on all but the losses.

    Raises:
        ValueError: by ``update``, when example axes or the shapes of ``weights`` or
            ``losses`` differ.
        TypeError: by ``update``, when a gradient is not floating.

    Guarantees:
        - The others are updated as if the example had not been in the batch.
        - An example of weight 0 is not counted, whatever it holds.
        - A gradient counts as not finite when the square of its norm is not: in
          float32 that is so also beyond 1.8e19.

    Examples:
        >>> from jaxloss.updates import clipped_mean
        >>> optimizer = optax.chain(skip_non_finite(clipped_mean(5.0)), optax.sgd(1.0))
        >>> grads = jnp.array([[30.0, 40.0], [1.0, 2.0], [jnp.nan, 0.0]])
        >>> step, state = optimizer.update(grads, optimizer.init(jnp.zeros(2)))
        >>> step, state[0].skipped
        (Array([-2., -3.], dtype=float32), Array(1, dtype=int32))
    """
    wrapped = optax.with_extra_args_support(weighted_mean() if inner is None else inner)

    def init(params):
        zero = jnp.zeros((), jnp.int32)
        return SkipNonFiniteState(zero, zero, wrapped.init(params))

    def update(updates, state, params=None, *, weights=None, losses=None, **extra_args):
        batch = read(updates, params, weights)
        finite = jnp.isfinite(norms(batch.grads))
        if losses is not None:
            finite &= jnp.isfinite(column("losses", losses, finite.shape))
        skipped = jnp.sum(~finite & (batch.weights != 0), dtype=jnp.int32)
        weights = jnp.where(finite, batch.weights, 0)
        result, after = wrapped.update(
            updates, state.inner, params, weights=weights, **extra_args
        )
        return result, SkipNonFiniteState(state.skipped + skipped, skipped, after)

    return Aggregator(init, update)


class NoiseScaleState(NamedTuple):
    """State of `monitor_noise_scale`.

    Attributes:
        steps: how many batches the averages are of, shape ``()``, int32.
        average: both parts, averaged; ``average.scale`` is the noise scale, nan before
            the first batch.
    """

    steps: Array
    average: NoiseScale


def monitor_noise_scale(decay: float = 0.99) -> optax.GradientTransformationExtraArgs:
    r"""Keeps the gradient noise scale in its state and passes the gradients on.

    Of the two estimates of `jaxloss.gradients.noise_scale` it averages each by itself
    over the steps, as their quotient is biased:

    .. math::
        a_n = a_{n-1} + \frac{1 - d}{1 - d^n} (x_n - a_{n-1}), \qquad
        \mathcal{B} = a^{\operatorname{tr}\Sigma} / a^{|G|^2}.

    It leaves the example axis, and so stands before the link that eats it:
    ``optax.chain(monitor_noise_scale(), weighted_mean(), optax.sgd(0.1))``.

    Args:
        decay: :math:`d`, in [0, 1): it averages over about ``1 / (1 - d)`` steps.

    Returns:
        A transformation whose state is a `NoiseScaleState`. Its ``update`` takes
        ``weights``: shape ``(batch,)``; those other than 0 say which examples count.

    Raises:
        ValueError: when `decay` is not in [0, 1); by ``update``, when example axes or
            the shape of ``weights`` differ.
        TypeError: by ``update``, when a gradient is not floating.

    Guarantees:
        - The averages are without the bias towards 0 of the first steps.
        - A batch without an estimate, since fewer than two examples count or one of
          them is not finite, leaves the state as it was.

    Examples:
        >>> monitor = monitor_noise_scale()
        >>> grads = jnp.array([[3.0, 1.0], [1.0, 1.0]])
        >>> _, state = monitor.update(grads, monitor.init(jnp.zeros(2)))
        >>> state.average.scale
        Array(0.5, dtype=float32)

    References:
        McCandlish et al., *An empirical model of large-batch training*, 2018.
    """
    require_number("decay", decay, below=1)

    def init(params):
        zero = jnp.zeros((), accumulator(*(p.dtype for p in jax.tree.leaves(params))))
        return NoiseScaleState(jnp.zeros((), jnp.int32), NoiseScale(zero, zero))

    def update(updates, state, params=None, *, weights=None, **extra_args):
        batch = read(updates, params, weights)
        found = noise_scale(batch.grads, batch.weights != 0)
        known = jnp.isfinite(found.trace) & jnp.isfinite(found.squared_gradient)
        steps = state.steps + known.astype(jnp.int32)

        def averaged(old: Array, new: Array) -> Array:
            number = jnp.maximum(steps, 1).astype(old.dtype)
            rate = (1 - decay) / (1 - decay**number)
            return jnp.where(known, old + rate * (new.astype(old.dtype) - old), old)

        average = jax.tree.map(averaged, state.average, found)
        return updates, NoiseScaleState(steps, average)

    return optax.GradientTransformationExtraArgs(init, update)
