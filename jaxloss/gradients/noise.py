"""How large a batch must be before its gradient is more than noise."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _devices
from jaxloss.gradients import sums
from jaxloss.gradients.factors import PerExampleGradients
from jaxloss.gradients.queries import weighted_sum


class NoiseScale(NamedTuple):
    """Unbiased estimates of the two parts of the simple noise scale, shape ``()``.

    Average each over steps before they are divided: their quotient is biased, and
    where the gradient is small against the noise its square may come out below 0.

    Attributes:
        trace: variance of the gradients, summed over the parameters.
        squared_gradient: squared norm of the mean gradient, of all data.
    """

    trace: Array
    squared_gradient: Array

    @property
    def scale(self) -> Array:
        """Batch size at which noise and gradient are equally large."""
        return self.trace / self.squared_gradient


@jax.jit
def noise_scale(
    grads: PerExampleGradients, weights: ArrayLike | None = None
) -> NoiseScale:
    r"""The simple gradient noise scale, estimated from one batch.

    With the mean gradient :math:`\bar g` of the ``B`` examples that count,

    .. math::
        \operatorname{tr}\Sigma \approx
            \tfrac{B}{B - 1} \bigl(\operatorname{mean}_i |g_i|^2 - |\bar g|^2\bigr),
        \qquad
        |G|^2 \approx |\bar g|^2 - \tfrac1B \operatorname{tr}\Sigma,
        \qquad
        \mathcal{B} = \operatorname{tr}\Sigma / |G|^2.

    Batches much smaller than :math:`\mathcal{B}` are noisy, much larger ones wasteful.

    Args:
        grads: of `per_example`.
        weights: 0 or 1, or boolean, shape ``(batch,)``: which examples count; all, if
            None.

    Returns:
        A `NoiseScale`; nan when fewer than two examples count.

    Raises:
        ValueError: when `weights` has another shape.

    Guarantees:
        - Both parts are unbiased: their expectation is that of independent examples.
        - An example of weight 0 does not reach them, even if it is nan.

    Examples:
        >>> from jaxloss.gradients import per_example
        >>> def loss(w, x):
        ...     return jnp.tanh(x @ w)
        >>> _, grads = per_example(loss)(jnp.zeros(2), jnp.array([[3.0, 1], [1, 1]]))
        >>> noise_scale(grads)
        NoiseScale(trace=Array(2., dtype=float32),
                   squared_gradient=Array(4., dtype=float32))

    References:
        McCandlish et al., *An empirical model of large-batch training*, 2018.
    """
    dtype = grads.zeros.dtype
    if weights is None:
        weights = jnp.ones(grads.zeros.shape, dtype)
    counted = jnp.asarray(weights).astype(bool)
    count = jnp.sum(counted).astype(dtype)
    gradients = jax.tree.leaves(weighted_sum(grads, counted))
    leaves = zip(gradients, grads.layout.leaves, strict=True)
    wide = [g.astype(dtype) for g, leaf in leaves if leaf.floating]
    of_mean = sum(jnp.sum(jnp.square(g / count)) for g in wide)
    squares = functools.partial(sums.squares, method="auto")
    square = _devices.automatic(squares, True, grads.zeros)(grads)
    mean_square = jnp.sum(jnp.where(counted, square, 0)) / count
    trace = (mean_square - of_mean) * count / (count - 1)
    return NoiseScale(trace, of_mean - trace / count)
