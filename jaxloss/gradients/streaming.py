"""Norms that are measured on the way back, without keeping the factors."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jax import Array

from jaxloss.gradients import algebra, passes, sums
from jaxloss.gradients.algebra import Method
from jaxloss.gradients.factors import PerExampleGradients
from jaxloss.gradients.layout import Cluster, Layout, Leaf, renumbered
from jaxloss.gradients.passes import Prepared


def squares(prepared: Prepared, method: Method) -> tuple[list[Any], Array]:
    """The outputs of the loss and the squared norms, ``(batch,)`` each."""
    layout = prepared.plan.layout
    measure: dict[int, Callable[[Any, Array], Array]] = {}
    leaves = []
    for leaf in layout.leaves:
        kept = []
        for cluster in leaf.clusters:
            number = _measurable(layout, cluster)
            if number is None:
                kept.append(cluster)
            else:
                measure[number] = _measure(layout, leaf, cluster, number, method)
        leaves.append(dataclasses.replace(leaf, clusters=tuple(kept)))
    captured = passes.over_batch(prepared, measure)
    kept_leaves, sites, _ = renumbered(leaves, list(layout.sites))
    rest = PerExampleGradients(
        captured.factors,
        captured.materialised,
        captured.measured,
        Layout(layout.treedef, kept_leaves, sites),
    )
    return captured.outputs, sums.squares(rest, method)


def _measurable(layout: Layout, cluster: Cluster) -> int | None:
    """The only site of a cluster, if no scan adds up its gradient over its steps."""
    number, *others = cluster.sites
    added_up = any(not sliced for _, sliced in layout.sites[number].scans)
    return None if others or added_up else number


def _measure(
    layout: Layout, leaf: Leaf, cluster: Cluster, number: int, method: Method
) -> Callable[[Any, Array], Array]:
    """The squared norm at one site, in one step of the scans around it."""
    site = dataclasses.replace(layout.sites[number], scans=())
    alone = Layout(layout.treedef, (leaf,), (site,))
    dense = tuple((0, swapped) for _, swapped in cluster.dense)
    cluster = Cluster(dense, (0,) if cluster.lookups else (), 0)

    def square(x: Any, delta: Array) -> Array:
        return algebra.square(alone, cluster, [(x, delta)], method)

    return square
