"""What is computed from the factors of one example: squares, products, whole gradients.

Everything here is for one example and is mapped over the batch by its callers. Sums are
kept in float32 or wider.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss.gradients.chains import follow, pull_back
from jaxloss.gradients.layout import Cluster, Layout, Leaf
from jaxloss.gradients.sites import Conv, Dot, Lookup, Site

Factor = tuple[Array, Array]
Factors = Mapping[int, Factor] | Sequence[Factor]  # by the number of the site
Method = Literal["auto", "gram", "direct"]


class Parts(NamedTuple):
    """The factors of a cluster in canonical form."""

    dense: tuple[Array, Array] | None  # X: (G, T, n), D: (G, T, m)
    lookup: tuple[Array, Array] | None  # rows: (G, T), D: (G, T, m)


def sizes(layout: Layout, cluster: Cluster) -> tuple[int, int, int, int]:
    """G, T of the dense sites together, n, m."""
    groups, _, n, m = layout.sites[cluster.reference].sizes
    return groups, sum(layout.sites[i].sizes[1] for i, _ in cluster.dense), n, m


def is_direct(layout: Layout, cluster: Cluster, method: Method) -> bool:
    """Whether the matrix M itself is formed, and not only products of rows."""
    _, steps, n, m = sizes(layout, cluster)
    if method == "auto":
        return steps * (n + m) >= n * m
    return method == "direct"


def parts(layout: Layout, cluster: Cluster, factors: Factors) -> Parts:
    """Brings the factors of a cluster to canonical form and joins them along T."""
    dense, lookup, dtype = [], [], layout.dtype
    for i, swapped in cluster.dense:
        site, (x, delta) = layout.sites[i], factors[i]
        pair = site.x(x).astype(dtype), site.d(delta).astype(dtype)
        dense.append(pair[::-1] if swapped else pair)
    for i in cluster.lookups:
        site, (index, delta) = layout.sites[i], factors[i]
        rows, delta = site.rows(index), site.d(delta).astype(dtype)
        taken = jnp.where((rows >= 0)[..., None], delta, 0)
        lookup.append((jnp.maximum(rows, 0), taken))
    return Parts(_joined(dense), _joined(lookup))


def block(layout: Layout, cluster: Cluster, factors: Factors) -> Array:
    """The matrices M of a cluster, (G, n, m)."""
    site = layout.sites[cluster.reference]
    if cluster.sites == (cluster.reference,) and not site.scans and _is_wide(site):
        assert isinstance(site.rule, Conv)
        x, delta = (f.astype(layout.dtype) for f in factors[cluster.reference])
        return site.rule.block(x, delta)
    dense, lookup = parts(layout, cluster, factors)
    groups, _, n, m = sizes(layout, cluster)
    matrix = _block(dense) if dense else None
    if lookup is None:
        assert matrix is not None
        return matrix
    rows, delta = lookup
    if matrix is None:
        matrix = jnp.zeros((groups, n, m), delta.dtype)
    return jax.vmap(lambda start, i, d: start.at[i].add(d))(matrix, rows, delta)


def balanced(layout: Layout, cluster: Cluster, factors: Factors) -> dict[int, Factor]:
    """Factors of the same gradient, of which those that are met are about 1.

    Else the square of an input of 1e-20 would be 0 in float32, though a cotangent of
    1e20 makes the gradient 1: its norm would come out too small. With powers of two no
    digit changes. What is left then is the size of the gradient itself: squares that
    overflow are those of norms beyond 1e19, and make the norm inf.
    """
    kind, found = jnp.finfo(layout.dtype), {}
    for i in cluster.sites:
        x, delta = factors[i]
        delta = delta.astype(layout.dtype)
        if not isinstance(layout.sites[i].rule, Lookup):
            x = x.astype(layout.dtype)
            size = jax.lax.stop_gradient(jnp.max(jnp.abs(x), initial=0))
            # Such that its reciprocal is an ordinary number, too.
            size = jnp.where(size > 0, jnp.clip(size, kind.tiny * 4, kind.max / 4), 1)
            size = jax.lax.reduce_precision(size, kind.nexp, 0)  # a power of two
            x, delta = x * (1 / size), delta * size
        found[i] = x, delta
    return found


def square(layout: Layout, cluster: Cluster, factors: Factors, method: Method) -> Array:
    """The squared norm of the gradient at a cluster."""
    factors = balanced(layout, cluster, factors)
    groups, steps, n, _ = sizes(layout, cluster)
    rule = layout.sites[cluster.reference].rule
    if groups == steps == 1 and isinstance(rule, Dot):
        # Any order of the elements will do, so that nothing is moved.
        x, d = map(jnp.square, factors[cluster.reference])
        return jnp.sum(x) * jnp.sum(d)
    dense, lookup = parts(layout, cluster, factors)
    if dense is None:
        assert lookup is not None
        return jnp.sum(jax.vmap(lambda i, d: _square_rows(i, d, n))(*lookup))
    x, d = dense
    if lookup is None and steps == 1:
        return jnp.sum(jnp.sum(x * x, (1, 2)) * jnp.sum(d * d, (1, 2)))
    if is_direct(layout, cluster, method):
        return jnp.sum(jnp.square(block(layout, cluster, factors)))
    return product(Parts(dense, lookup), Parts(dense, lookup))


def product(a: Parts, b: Parts) -> Array:
    """The inner product of two gradients at a cluster, from products of their rows."""
    total = None
    if a.dense and b.dense:
        (x, d), (y, e) = a.dense, b.dense
        total = jnp.sum(_rows(x, y) * _rows(d, e))
    if a.lookup and b.lookup:
        (i, d), (j, e) = a.lookup, b.lookup
        same = i[:, :, None] == j[:, None, :]
        total = _add(total, jnp.sum(jnp.where(same, _rows(d, e), 0)))
    for dense, lookup in ((a.dense, b.lookup), (b.dense, a.lookup)):
        if dense and lookup:
            taken = jnp.take_along_axis(dense[0], lookup[0][:, None, :], 2)
            total = _add(total, jnp.sum(taken * _rows(dense[1], lookup[1])))
    assert total is not None
    return total


def along(
    layout: Layout, cluster: Cluster, factors: Factors, direction: Array
) -> Array:
    """The inner product of the gradient at a cluster with a direction of the leaf."""
    dtype = layout.dtype
    direction, total = direction.astype(dtype), jnp.zeros((), dtype)
    for site, (x, delta) in ((layout.sites[i], factors[i]) for i in cluster.sites):
        if isinstance(site.rule, Conv):
            out = convolved(site, x.astype(dtype), follow(site.chain, direction))
            total += jnp.sum(out * delta.astype(dtype))
            continue
        groups, _, n, m = site.sizes
        matrix = follow(site.whole_chain(), direction).reshape(groups, n, m)
        d = site.d(delta).astype(dtype)
        if isinstance(site.rule, Lookup):
            rows = site.rows(x)
            taken = jax.vmap(lambda w, i: w[i])(matrix, jnp.maximum(rows, 0))
            total += jnp.sum(jnp.where((rows >= 0)[..., None], taken * d, 0))
        else:
            x = site.x(x).astype(dtype)
            total += jnp.sum(jnp.einsum("gtn,gnm->gtm", x, matrix) * d)
    return total


def placed(layout: Layout, cluster: Cluster, matrix: Array, shape: Any) -> Array:
    """The part of a leaf's gradient that a cluster holds, from its (G, n, m)."""
    site = layout.sites[cluster.reference]
    lengths = tuple(length for length, stacked in site.scans if stacked)
    groups, _, n, m = site.rule.sizes
    matrix = matrix.reshape((*lengths, groups, n, m))
    return pull_back(site.whole_chain(), shape, matrix)


def together(parts: Sequence[Array], leaf: Leaf) -> Array:
    """The gradient of a leaf from its parts, in its dtype; 0 if there are none."""
    if not parts:
        return jnp.zeros(leaf.shape, leaf.dtype)
    return functools.reduce(jnp.add, parts).astype(leaf.dtype)


def convolved(site: Site, image: Array, kernel: Array) -> Array:
    """The output of a convolution, for every step of the scans around it."""
    assert isinstance(site.rule, Conv)
    apply = site.rule.apply
    for _, stacked in reversed(site.scans):
        apply = jax.vmap(apply, in_axes=(0, 0 if stacked else None))
    return apply(image, kernel)


def _is_wide(site: Site) -> bool:
    """Whether one position of a kernel gives matrices that are worth multiplying."""
    return isinstance(site.rule, Conv) and site.rule.shape[site.rule.specs[1][1]] >= 8


def _block(dense: tuple[Array, Array]) -> Array:
    return jnp.einsum("gtn,gtm->gnm", *dense)


def _rows(a: Array, b: Array) -> Array:
    """Inner products of all rows, (G, T, U)."""
    return jnp.einsum("gtk,guk->gtu", a, b)


def _square_rows(rows: Array, delta: Array, n: int) -> Array:
    """Adds up the steps that take the same row, then squares: nothing cancels."""
    steps = rows.shape[0]
    if n > steps:
        # Rows are numbered in the order of their size, so that `steps` suffice.
        order = jnp.argsort(rows)
        ordered = rows[order]
        new = jnp.concatenate([jnp.zeros(1, bool), ordered[1:] != ordered[:-1]])
        rows = jnp.zeros_like(rows).at[order].set(jnp.cumsum(new, dtype=rows.dtype))
    sums = jnp.zeros((min(n, steps), delta.shape[1]), delta.dtype).at[rows].add(delta)
    return jnp.sum(sums * sums)


def _joined(pairs: list[tuple[Array, Array]]) -> tuple[Array, Array] | None:
    if len(pairs) < 2:
        return pairs[0] if pairs else None
    firsts, seconds = zip(*pairs, strict=True)
    return jnp.concatenate(firsts, 1), jnp.concatenate(seconds, 1)


def _add(total: Array | None, term: Array) -> Array:
    return term if total is None else total + term


def flops(layout: Layout, cluster: Cluster, method: Method) -> int:
    """Additions and multiplications for the squared norm of one example, about."""
    groups, steps, n, m = sizes(layout, cluster)
    looked = sum(layout.sites[i].sizes[1] for i in cluster.lookups)
    if steps == 1 and not looked:
        return 2 * groups * (n + m)
    if not steps:
        return 3 * groups * looked * m
    if is_direct(layout, cluster, method):
        return groups * (2 * (steps + 1) * n * m + looked * m)
    crossed = 2 * steps * looked * (m + 1)
    return groups * (2 * steps * steps * (n + m + 1) + crossed + 3 * looked * m)
