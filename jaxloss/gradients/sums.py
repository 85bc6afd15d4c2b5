"""Sums over a batch of factored gradients, and their norms."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss import _devices
from jaxloss.gradients import algebra
from jaxloss.gradients.algebra import Method
from jaxloss.gradients.factors import PerExampleGradients
from jaxloss.gradients.layout import Cluster, Layout
from jaxloss.gradients.sites import Conv

# The matrices M for every example, (batch, G, n, m), by the reference of the cluster.
Blocks = Mapping[int, Array]


def squares(grads: PerExampleGradients, method: Method) -> Array:
    """The squared norm of each example's gradient, ``(batch,)``."""
    return squares_and_blocks(grads, method)[0]


def squares_and_blocks(
    grads: PerExampleGradients, method: Method
) -> tuple[Array, Blocks]:
    """As `squares`, with the matrices that were formed on the way and are small."""
    if method not in ("auto", "gram", "direct"):
        raise ValueError(
            f'`method` must be "auto", "gram" or "direct", got {method!r}.'
        )
    layout = grads.layout

    def one(factors: Any, materialised: Any, total: Array) -> tuple[Array, Blocks]:
        blocks = {}
        for leaf in layout.leaves:
            for cluster in leaf.clusters:
                if _keeps_block(layout, cluster, method):
                    own = algebra.balanced(layout, cluster, factors)
                    block = algebra.block(layout, cluster, own)
                    blocks[cluster.reference] = block
                    part = jnp.sum(jnp.square(block))
                else:
                    part = algebra.square(layout, cluster, factors, method)
                total = total + part.astype(total.dtype)
        for leaf in materialised:
            total = total + jnp.sum(jnp.square(leaf.astype(total.dtype)))
        return total, blocks

    total, blocks = jax.vmap(one)(grads.factors, grads.materialised, grads.zeros)
    # Sums of products may come out below 0 where they cancel.
    return jnp.maximum(total, 0), blocks


def _keeps_block(layout: Layout, cluster: Cluster, method: Method) -> bool:
    """Whether M is formed for the norm, and no larger than the factors."""
    if not cluster.dense or algebra.sizes(layout, cluster)[1] == 1:
        return False
    smaller = algebra.is_direct(layout, cluster, "auto")
    return smaller and algebra.is_direct(layout, cluster, method)


def root(square: Array) -> Array:
    """The square root, with derivative 0 at 0."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), square)


def total(grads: PerExampleGradients, weights: Array, blocks: Blocks) -> Any:
    """The weighted sum of the gradients, a tree like the parameters."""
    layout = grads.layout
    weights = weights.astype(grads.zeros.dtype)
    sums = []
    waiting = iter(grads.materialised)
    for leaf in layout.leaves:
        if leaf.materialised:
            sums.append(_weighted(next(waiting), weights).astype(leaf.dtype))
            continue
        parts = []
        for cluster in leaf.clusters if weights.size else ():
            if cluster.reference in blocks:
                matrix = _weighted(blocks[cluster.reference], weights)
                parts.append(algebra.placed(layout, cluster, matrix, leaf.shape))
            else:
                parts.append(_cluster_sum(grads, cluster, weights, leaf.shape))
        sums.append(algebra.together(parts, leaf))
    return jax.tree.unflatten(layout.treedef, sums)


def _cluster_sum(
    grads: PerExampleGradients, cluster: Cluster, weights: Array, shape: Any
) -> Array:
    layout = grads.layout
    groups, _, n, m = algebra.sizes(layout, cluster)
    if len(cluster.dense) == 1 and not cluster.lookups:
        number = cluster.dense[0][0]
        if isinstance(layout.sites[number].rule, Conv):
            return _kernel_sum(layout, number, *grads.factors[number], weights, shape)

    # Both factors are masked, since nan times 0 is nan. As they are, without the axes G
    # and T, XLA shares what it weighs with the sums of other parameters, of biases.
    factors = {
        i: (_kept(x, weights), _scaled(delta, weights))
        for i, (x, delta) in ((i, grads.factors[i]) for i in cluster.sites)
    }
    dense, lookup = jax.vmap(lambda f: algebra.parts(layout, cluster, f))(factors)
    matrix = jnp.zeros((groups, n, m), weights.dtype)
    if dense:
        x, d = dense
        if groups == 1:
            x, d = x.reshape(-1, n), d.reshape(-1, m)
            matrix = (x.T @ d)[None]
        else:
            matrix = jnp.einsum("bgtn,bgtm->gnm", x, d)
    if lookup:
        rows, d = (part.swapaxes(0, 1) for part in lookup)
        add = jax.vmap(lambda start, i, d: start.at[i].add(d))
        matrix = add(matrix, rows.reshape(groups, -1), d.reshape(groups, -1, m))
    return algebra.placed(layout, cluster, matrix, shape)


def _kernel_sum(
    layout: Layout, number: int, x: Array, delta: Array, weights: Array, shape: Any
) -> Array:
    """The kernel gradient of one convolution of the whole batch."""
    site = layout.sites[number]
    x, delta = _kept(x, weights), _scaled(delta, weights)

    def outputs(leaf: Array) -> Array:
        kernel = algebra.follow(site.chain, leaf)
        return jax.vmap(lambda image: algebra.convolved(site, image, kernel))(x)

    leaf = _devices.shaped_as(delta, shape)
    (total,) = jax.linear_transpose(outputs, leaf)(delta)
    return total


def _kept(array: Array, weights: Array) -> Array:
    """Sets the examples of weight 0 to 0; the rows of a lookup stay as they are."""
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return array
    array = array.astype(weights.dtype)
    return jnp.where(_column(weights, array) != 0, array, 0)


def _scaled(array: Array, weights: Array) -> Array:
    """Weighs the examples; those of weight 0 are 0 whatever they hold."""
    column, array = _column(weights, array), array.astype(weights.dtype)
    return jnp.where(column != 0, column * array, 0)


def _weighted(gradients: Array, weights: Array) -> Array:
    if gradients.ndim < 3:  # as a bias, whose gradient is scaled for its matrix too
        return jnp.sum(_scaled(gradients, weights), 0)
    return jnp.einsum("b,b...->...", weights, _kept(gradients, weights))


def _column(weights: Array, like: Array) -> Array:
    return weights.reshape(weights.shape + (1,) * (like.ndim - 1))
