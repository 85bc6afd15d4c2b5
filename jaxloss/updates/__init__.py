"""Optax transformations that take the gradient of every example, and weights for it.

The first link of an ordinary ``optax.chain``: updates come in with an example axis and
leave without it. Weights are given to ``update``::

    optimizer = optax.chain(updates.clipped_mean(1.0), optax.adam(1e-3))
    losses, grads = gradients.per_example(loss)(params, x, y)
    step, state = optimizer.update(grads, state, params, weights=weights)

Each takes `jaxloss.gradients.PerExampleGradients`, or a tree like the parameters whose
leaves are ``(batch, *shape)``, as of ``jax.vmap(jax.grad(loss))``. ``weights`` have
shape ``(batch,)`` and are 1 if not given; an example of weight 0 reaches nothing, even
if it is nan. Sums are made in float32 or wider and leave in the dtype of the parameter.
"""

from jaxloss.updates.means import (
    clipped_mean as clipped_mean,
    weighted_mean as weighted_mean,
)
from jaxloss.updates.monitors import (
    NoiseScaleState as NoiseScaleState,
    SkipNonFiniteState as SkipNonFiniteState,
    monitor_noise_scale as monitor_noise_scale,
    skip_non_finite as skip_non_finite,
)
from jaxloss.updates.privacy import PrivateState as PrivateState, private as private
