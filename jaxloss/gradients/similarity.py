"""Inner products between the gradients of all pairs of examples."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss import _devices
from jaxloss.gradients import algebra
from jaxloss.gradients.algebra import Parts
from jaxloss.gradients.factors import PerExampleGradients
from jaxloss.gradients.layout import Cluster, Layout
from jaxloss.gradients.queries import materialise

# Numbers that may be held at a time, beside the result.
BUDGET = 2**24


@jax.jit
def gram(grads: PerExampleGradients, other: PerExampleGradients | None = None) -> Array:
    r"""How alike the gradients of any two examples are.

    .. math:: K_{ij} = \langle \nabla \ell_i, \nabla \ell'_j \rangle

    One cell says by how much a small step on one example lowers the loss of the other;
    the whole is the empirical neural tangent kernel of the loss.

    Args:
        grads: of `per_example`.
        other: of the same parameters, for another batch; `grads` itself if None.

    Returns:
        Shape ``(batch, other batch)``, float32 or wider.

    Raises:
        ValueError: when `other` is of other parameters.

    Guarantees:
        - No array of the size of the batch times the parameters is formed; at most
          one of a part of one parameter.

    Examples:
        >>> from jaxloss.gradients import per_example
        >>> def loss(w, x):
        ...     return jnp.tanh(x @ w)
        >>> _, grads = per_example(loss)(jnp.zeros(2), jnp.array([[1.0, 0], [1, 2]]))
        >>> gram(grads)
        Array([[1., 1.], [1., 5.]], dtype=float32)
    """
    other = grads if other is None else other
    here, there = grads.layout, other.layout
    if here.treedef != there.treedef or any(
        a.shape != b.shape for a, b in zip(here.leaves, there.leaves, strict=True)
    ):
        raise ValueError(
            "`other` must be gradients of the same parameters as `grads`, got "
            f"{there.treedef} against {here.treedef}."
        )
    return _devices.automatic(_products, True, grads.zeros)(grads, other)


def _products(grads: PerExampleGradients, other: PerExampleGradients) -> Array:
    here, there = grads.layout, other.layout
    total = jnp.zeros(grads.zeros.shape + other.zeros.shape, grads.zeros.dtype)
    if not total.size:
        return total
    if here != there:  # for instance sequences of another length: sites may differ
        pairs = zip(*map(_floating, (grads, other)), strict=True)
    else:
        pairs = zip(grads.materialised, other.materialised, strict=True)
    for a, b in pairs:
        total += _flat(a, total.dtype) @ _flat(b, total.dtype).T
    if here == there:
        for leaf in here.leaves:
            for cluster in leaf.clusters:
                total += _cluster(here, cluster, grads, other).astype(total.dtype)
    return total


def _cluster(
    layout: Layout,
    cluster: Cluster,
    grads: PerExampleGradients,
    other: PerExampleGradients,
) -> Array:
    parts = jax.vmap(lambda factors: algebra.parts(layout, cluster, factors))
    a, b = parts(grads.factors), parts(other.factors)
    rows, columns = grads.zeros.size, other.zeros.size
    groups, dense, n, m = algebra.sizes(layout, cluster)
    looked = sum(layout.sites[i].sizes[1] for i in cluster.lookups)
    steps = dense + looked
    by_pairs = rows * columns * steps**2 * (n + m)
    by_blocks = (rows + columns) * steps * n * m + rows * columns * n * m
    if by_pairs > by_blocks:
        return _by_blocks(a, b, (groups, n, m))

    def row(one: Parts) -> Array:
        return jax.vmap(lambda another: algebra.product(one, another))(b)

    at_once = BUDGET // max(columns * groups * steps**2, 1)
    if at_once >= rows:
        return jax.vmap(row)(a)
    return jax.lax.map(row, a, batch_size=max(at_once, 1))


def _by_blocks(a: Parts, b: Parts, sizes: tuple[int, int, int]) -> Array:
    """Forms some rows of M at a time, for all examples."""
    groups, n, m = sizes
    count = max(x.shape[0] for x in (*(a.dense or ()), *(a.lookup or ())))
    count += max(x.shape[0] for x in (*(b.dense or ()), *(b.lookup or ())))
    chunk = max(min(n, BUDGET // max(count * groups * m, 1)), 1)
    starts = jnp.arange(math.ceil(n / chunk), dtype=jnp.int32) * chunk

    def part(total: Array, start: Array) -> tuple[Array, None]:
        x, y = (_some_rows(p, start, chunk, n, m) for p in (a, b))
        return total + x @ y.T, None

    shape = jax.eval_shape(
        lambda: _some_rows(a, 0, chunk, n, m) @ _some_rows(b, 0, chunk, n, m).T
    )
    total = _devices.varying_as(jnp.zeros(shape.shape, shape.dtype), (a, b))
    return jax.lax.scan(part, total, starts)[0]


def _some_rows(parts: Parts, start: Any, chunk: int, n: int, m: int) -> Array:
    """Rows `start` to `start + chunk` of M, flat, ``(batch, G * chunk * m)``."""

    def one(parts: Parts) -> Array:
        dense, lookup = parts
        first = dense or lookup
        assert first is not None
        matrix = jnp.zeros((first[1].shape[0], chunk, m), first[1].dtype)
        if dense:
            short = -n % chunk  # the last rows of the last part are 0
            x = jnp.pad(dense[0], ((0, 0), (0, 0), (0, short)))
            x = jax.lax.dynamic_slice_in_dim(x, start, chunk, 2)
            matrix = jnp.einsum("gtn,gtm->gnm", x, dense[1])
        if lookup:
            rows = lookup[0] - start
            rows = jnp.where((rows < 0) | (rows >= chunk), chunk, rows)
            add = jax.vmap(lambda w, i, d: w.at[i].add(d, mode="drop"))
            matrix = add(matrix, rows, lookup[1])
        return matrix.reshape(-1)

    return jax.vmap(one)(parts)


def _flat(gradients: Array, dtype: Any) -> Array:
    return gradients.reshape(gradients.shape[0], -1).astype(dtype)


def _floating(grads: PerExampleGradients) -> list[Array]:
    gradients = jax.tree.leaves(materialise(grads))
    leaves = zip(gradients, grads.layout.leaves, strict=True)
    return [gradient for gradient, leaf in leaves if leaf.floating]
