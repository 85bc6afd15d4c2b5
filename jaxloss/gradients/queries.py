"""What can be asked of factored gradients."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _devices
from jaxloss.gradients import algebra, sums
from jaxloss.gradients.algebra import Method
from jaxloss.gradients.factors import PerExampleGradients, check_direction
from jaxloss.gradients.layout import accumulator


@functools.partial(jax.jit, static_argnames="method")
def norms(grads: PerExampleGradients, method: Method = "auto") -> Array:
    r"""The length of each example's gradient.

    .. math:: \lVert \nabla \ell_i \rVert_2

    A large norm marks an example that the model has not learnt, or that is wrong.

    Args:
        grads: of `per_example`.
        method: what to do where a parameter meets an example in ``T`` places, as in a
            sequence or an image. "gram" adds up products of rows,
            :math:`\sum_{tu} (x_t \cdot x_u)(d_t \cdot d_u)`; "direct" forms the matrix
            :math:`\sum_t x_t d_t^\top` of one parameter and squares it; "auto" takes
            for each parameter the one that costs less.

    Returns:
        Shape ``(batch,)``, float32 or wider. The derivative at norm 0 is 0.

    Raises:
        ValueError: for another `method` than these.

    Guarantees:
        - Exact up to rounding with "direct". "gram" cancels where rows have a large
          common part ``r`` times their spread: in float32 the relative error is about
          3e-6 at r = 10, 5e-4 at r = 100 and 5e-2 at r = 1000. The square is clamped
          at 0. For a privacy claim use "direct".
        - In float32 a norm beyond 1.8e19 is inf or nan, one below 1e-19 may be 0; that
          is the norm of the gradient, whatever the sizes of the factors.
        - An example that is not finite leaves the norms of the others alone.

    Examples:
        >>> from jaxloss.gradients import per_example
        >>> def loss(w, x):
        ...     return jnp.tanh(x @ w)
        >>> _, grads = per_example(loss)(jnp.zeros(2), jnp.array([[3.0, 4], [0, 1]]))
        >>> norms(grads)
        Array([5., 1.], dtype=float32)
    """

    def lengths(grads: PerExampleGradients) -> Array:
        return sums.root(sums.squares(grads, method))

    return _devices.automatic(lengths, True, grads.zeros)(grads)


@jax.jit
def weighted_sum(grads: PerExampleGradients, weights: ArrayLike) -> Any:
    r"""The sum of the gradients, each times its weight.

    .. math:: \sum_i w_i \nabla \ell_i

    Args:
        grads: of `per_example`.
        weights: shape ``(batch,)``; float, integer or boolean, of any sign.

    Returns:
        A tree like the parameters, in their dtypes; summed in float32 or wider.

    Raises:
        ValueError: when `weights` has another shape.

    Guarantees:
        - An example of weight 0 does not reach the sum, even if it is nan or inf.

    Examples:
        >>> from jaxloss.gradients import per_example
        >>> def loss(w, x):
        ...     return jnp.tanh(x @ w)
        >>> x = jnp.array([[3.0, 4.0], [0.0, 1.0], [jnp.nan, 0.0]])
        >>> _, grads = per_example(loss)(jnp.zeros(2), x)
        >>> weighted_sum(grads, jnp.array([0.5, 1.0, 0.0]))
        Array([1.5, 3. ], dtype=float32)
    """
    weights = jnp.asarray(weights)
    if weights.shape != grads.zeros.shape:
        raise ValueError(
            f"`weights` must have shape {grads.zeros.shape}, one for each example, "
            f"got {weights.shape}."
        )
    total = functools.partial(sums.total, blocks={})
    return _devices.automatic(total, False, grads.zeros)(grads, weights)


@jax.jit
def dot(grads: PerExampleGradients, direction: Any) -> Array:
    r"""How far each gradient points in one direction.

    .. math:: \langle \nabla \ell_i, v \rangle

    Args:
        grads: of `per_example`.
        direction: a tree like the parameters.

    Returns:
        Shape ``(batch,)``, float32 or wider.

    Raises:
        ValueError: when `direction` is not like the parameters.

    Examples:
        >>> from jaxloss.gradients import per_example
        >>> def loss(w, x):
        ...     return jnp.tanh(x @ w)
        >>> _, grads = per_example(loss)(jnp.zeros(2), jnp.array([[3.0, 4], [0, 1]]))
        >>> dot(grads, jnp.array([1.0, -1.0]))
        Array([-1., -1.], dtype=float32)
    """
    layout = grads.layout
    leaves = check_direction(layout, direction)

    def along(grads: PerExampleGradients, leaves: list[Array]) -> Array:
        def one(factors: Any, materialised: Any, total: Array) -> Array:
            waiting = iter(materialised)
            for leaf, v in zip(layout.leaves, leaves, strict=True):
                for cluster in leaf.clusters:
                    part = algebra.along(layout, cluster, factors, v)
                    total = total + part.astype(total.dtype)
                if leaf.materialised:
                    g = next(waiting).astype(total.dtype)
                    total = total + jnp.sum(g * v.astype(total.dtype))
            return total

        return jax.vmap(one)(grads.factors, grads.materialised, grads.zeros)

    return _devices.automatic(along, True, grads.zeros)(grads, leaves)


@jax.jit
def materialise(grads: PerExampleGradients) -> Any:
    """The gradients themselves: what ``jax.vmap(jax.grad(loss))`` returns.

    Args:
        grads: of `per_example`.

    Returns:
        A tree like the parameters, each leaf ``(batch, *shape)`` in its dtype. It has
        the size of the batch times the parameters: for debugging and small models.

    Examples:
        >>> from jaxloss.gradients import per_example
        >>> def loss(w, x):
        ...     return jnp.tanh(x @ w)
        >>> _, grads = per_example(loss)(jnp.zeros(2), jnp.array([[3.0, 4], [0, 1]]))
        >>> materialise(grads)
        Array([[3., 4.],
               [0., 1.]], dtype=float32)
    """
    layout = grads.layout

    def one(factors: Any, materialised: Any) -> list[Array]:
        waiting, gradients = iter(materialised), []
        for leaf in layout.leaves:
            if leaf.materialised:
                gradients.append(next(waiting))
                continue
            parts = []
            for cluster in leaf.clusters:
                matrix = algebra.block(layout, cluster, factors)
                parts.append(algebra.placed(layout, cluster, matrix, leaf.shape))
            gradients.append(algebra.together(parts, leaf))
        return gradients

    size = grads.zeros.shape[0]
    each = _devices.automatic(jax.vmap(one, axis_size=size), True, grads.zeros)
    gradients = each(grads.factors, grads.materialised)
    return jax.tree.unflatten(layout.treedef, gradients)


def clip_weights(norms: ArrayLike, max_norm: float | Array) -> Array:
    r"""The weights that scale every gradient down to at most a norm.

    .. math:: w_i = \min(1, C / \lVert g_i \rVert)

    Args:
        norms: of the gradients, shape ``(batch,)`` or any other.
        max_norm: the norm :math:`C` above which a gradient is scaled down.

    Returns:
        The shape of `norms`, in [0, 1], without a gradient.

    Guarantees:
        - 0 for a norm of nan or inf, so that the example is left out of the sum.
        - 1 for a norm of 0.

    Examples:
        >>> clip_weights(jnp.array([4.0, 0.5, 0.0, jnp.nan]), 1.0)
        Array([0.25, 1.  , 1.  , 0.  ], dtype=float32)
    """
    norms = jnp.asarray(norms)
    dtype = accumulator(norms.dtype)
    norms, limit = norms.astype(dtype), jnp.asarray(max_norm, dtype)
    over = norms > limit
    weights = jnp.where(over, limit / jnp.where(over, norms, 1), 1)
    return jax.lax.stop_gradient(jnp.where(jnp.isfinite(norms), weights, 0))
