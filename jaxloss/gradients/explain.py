"""Says, parameter by parameter, how its gradients are kept, and why."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxloss.gradients import algebra, passes
from jaxloss.gradients.algebra import Method
from jaxloss.gradients.layout import Cluster, Layout, Leaf
from jaxloss.gradients.passes import Options


class Row(NamedTuple):
    """One parameter, or one of the parts that are used apart from each other.

    Attributes:
        name: the path of the parameter in the tree.
        shape: its shape.
        kept: where it meets the example, as in ``dot_general``; or why it is
            materialised: ``whole: add`` names the equation.
        sizes: G, T, n, m: groups, steps, and the sides of the matrix; None if whole.
        norm: how the norm is found: "outer" from two norms when T is 1, "gram",
            "direct", "rows" for a lookup; None if whole.
        bytes: kept for one example.
        whole_bytes: what ``vmap(grad)`` keeps for it.
        flops: of the norm of one example.
        whole_flops: of the gradient and the norm by ``vmap(grad)``.
    """

    name: str
    shape: tuple[int, ...]
    kept: str
    sizes: tuple[int, int, int, int] | None
    norm: str | None
    bytes: int
    whole_bytes: int
    flops: int
    whole_flops: int


class Explanation(NamedTuple):
    """What `explain` found; it prints as a table.

    Attributes:
        rows: one for each parameter or part of one.
        parameters: number of elements of all floating parameters.
        factored: number of those whose gradient is not materialised.
    """

    rows: tuple[Row, ...]
    parameters: int
    factored: int

    @property
    def share(self) -> float:
        """Share of the parameters that is factored, 0 to 1."""
        return self.factored / self.parameters

    def __str__(self) -> str:
        header = ("parameter", "shape", "kept", "G", "T", "n", "m", "norm", "bytes")
        header = (*header, "vmap(grad)", "flops", "vmap(grad)")
        cells = [header, *map(_cells, self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
        ours = sum(row.bytes for row in self.rows)
        theirs = sum(row.whole_bytes for row in self.rows)
        work = sum(row.flops for row in self.rows)
        their_work = sum(row.whole_flops for row in self.rows)
        return "\n".join(
            [
                *lines,
                f"{100 * self.share:.1f} % of {self.parameters} parameters are "
                "factored.",
                f"For one example: {ours} bytes, by vmap(grad) {theirs}; {work} flops "
                f"for the norm, by vmap(grad) {their_work}.",
            ]
        )

    __repr__ = __str__


def explain(
    loss_fn: Callable[..., Any],
    params: Any,
    *example: Any,
    has_aux: bool = False,
    method: Method = "auto",
) -> Explanation:
    """Which parameters `per_example` keeps in factors, which not, and why.

    Nothing is computed: shapes suffice.

    Args:
        loss_fn: ``loss_fn(params, *example)``, as for `per_example`.
        params: its parameters: arrays, or `jax.ShapeDtypeStruct`.
        *example: one example, without a batch axis; arrays or shapes.
        has_aux: whether `loss_fn` returns ``(scalar, aux)``.
        method: as in `norms`.

    Returns:
        An `Explanation`, which prints as a table. Bytes and flops are counted for one
        example; flops are about what the formulas need.

    Examples:
        >>> import jax.numpy as jnp
        >>> def loss(params, x):
        ...     return jnp.sum(jnp.tanh(x @ params["w"] + params["b"]) @ params["v"])
        >>> params = {"b": jnp.zeros(8), "v": jnp.zeros(8), "w": jnp.zeros((9, 8))}
        >>> explain(loss, params, jnp.zeros(9))
        parameter  shape   kept         G  T  n  m  norm   bytes  vmap(grad)  flops  ...
        ['b']      (8,)    whole: add                      32     32          16  ...
        ['v']      (8,)    dot_general  1  1  8  1  outer  36     32          18  ...
        ['w']      (9, 8)  dot_general  1  1  9  8  outer  68     288         34  ...
        90.9 % of 88 parameters are factored.
        For one example: 136 bytes, by vmap(grad) 352; 68 flops for the norm, by ...
    """
    options = Options(has_aux=has_aux)
    axes = [0] * len(jax.tree.leaves(example))
    _, plan, _ = passes.planned(loss_fn, options, params, example, axes)
    layout = plan.layout
    rows = []
    for leaf in layout.leaves:
        if leaf.clusters:
            rows += [_row(layout, leaf, cluster, method) for cluster in leaf.clusters]
        else:
            rows.append(_whole(leaf))
    floats = [leaf for leaf in layout.leaves if leaf.floating]
    return Explanation(
        tuple(rows),
        sum(leaf.size for leaf in floats),
        sum(leaf.size for leaf in floats if not leaf.materialised),
    )


def _row(layout: Layout, leaf: Leaf, cluster: Cluster, method: Method) -> Row:
    groups, dense, n, m = algebra.sizes(layout, cluster)
    looked = sum(layout.sites[i].sizes[1] for i in cluster.lookups)
    wide = jax.numpy.dtype(leaf.dtype).itemsize
    kept = 0
    for i in cluster.sites:
        own_groups, steps, own_n, own_m = layout.sites[i].sizes
        x = 4 if i in cluster.lookups else own_n * wide
        kept += own_groups * steps * (x + own_m * wide)
    if not cluster.dense:
        norm = "rows"
    elif dense == 1 and not cluster.lookups:
        norm = "outer"
    else:
        norm = "direct" if algebra.is_direct(layout, cluster, method) else "gram"
    size = groups * n * m
    return Row(
        leaf.name,
        leaf.shape,
        _primitives(layout, cluster.sites),
        (groups, dense + looked, n, m),
        norm,
        kept,
        size * wide,
        algebra.flops(layout, cluster, method),
        2 * size * (dense + 1) + 2 * groups * looked * m,
    )


def _whole(leaf: Leaf) -> Row:
    size = leaf.size * jax.numpy.dtype(leaf.dtype).itemsize if leaf.floating else 0
    kept = (
        f"whole: {leaf.reason}" if leaf.reason else "nothing: does not reach the loss"
    )
    if not leaf.floating:
        kept = "nothing: a constant, not floating"
    own = size if leaf.materialised else 0
    flops = 2 * leaf.size if leaf.materialised else 0
    return Row(leaf.name, leaf.shape, kept, None, None, own, size, flops, flops)


def _primitives(layout: Layout, numbers: tuple[int, ...]) -> str:
    names = [layout.sites[i].rule.primitive for i in numbers]
    counts = {name: names.count(name) for name in names}
    return " + ".join(f"{c} {n}" if c > 1 else n for n, c in counts.items())


def _cells(row: Row) -> tuple[str, ...]:
    sizes = map(str, row.sizes) if row.sizes else ("",) * 4
    counts = (row.bytes, row.whole_bytes, row.flops, row.whole_flops)
    return (
        row.name or "params",
        str(row.shape),
        row.kept,
        *sizes,
        row.norm or "",
        *map(str, counts),
    )
