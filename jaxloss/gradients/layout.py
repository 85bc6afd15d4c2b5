"""The layout of factored gradients: which sites together make up which parameter."""

import dataclasses
import itertools
import math
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxloss.gradients.chains import provenance
from jaxloss.gradients.sites import Lookup, Site


def accumulator(*dtypes: Any) -> Any:
    """The dtype for sums of numbers of these dtypes: float32 or float64."""
    return jnp.float64 if jnp.float64 in dtypes else jnp.float32


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Sites at which the same elements of a parameter meet an example.

    Their rows are joined along T. In a swapped site the parameter lies the other way
    round, so that X and D change places. `chain` leads from the parameter to (G, n, m).
    """

    dense: tuple[tuple[int, bool], ...]  # number of the site, whether it is swapped
    lookups: tuple[int, ...]
    reference: int  # the site whose chain and sizes are those of the cluster

    @property
    def sites(self) -> tuple[int, ...]:
        """The numbers of all of them."""
        return tuple(i for i, _ in self.dense) + self.lookups


@dataclasses.dataclass(frozen=True)
class Leaf:
    """How the gradient of one parameter is kept: in clusters, or as it is."""

    name: str
    shape: tuple[int, ...]
    dtype: Any
    floating: bool
    clusters: tuple[Cluster, ...]
    reason: str | None  # why it is materialised; None when it is not

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def materialised(self) -> bool:
        """Whether a gradient of the size of the parameter is kept for each example."""
        return self.floating and self.reason is not None


@dataclasses.dataclass(frozen=True)
class Layout:
    """All that is known before the numbers are: comparable, hashable, and static."""

    treedef: Any
    leaves: tuple[Leaf, ...]
    sites: tuple[Site, ...]

    @property
    def dtype(self) -> Any:
        """In which norms and products are summed: float32 or wider."""
        return accumulator(*(leaf.dtype for leaf in self.leaves if leaf.floating))

    @property
    def materialised(self) -> tuple[int, ...]:
        """Numbers of the parameters that are not factored."""
        return tuple(k for k, leaf in enumerate(self.leaves) if leaf.materialised)


def cluster(
    sites: dict[int, Site], shape: tuple[int, ...]
) -> tuple[Cluster, ...] | None:
    """Joins the sites of one parameter; None if some overlap in part."""
    clusters: list[_Draft] = []
    # Lookups come first: the rows of a cluster are those of its first site.
    for number in sorted(sites, key=lambda i: not _is_lookup(sites[i])):
        site = sites[number]
        fits = [(draft, draft.relation(site, shape)) for draft in clusters]
        joined = [(draft, how) for draft, how in fits if how != "disjoint"]
        if not joined:
            clusters.append(_Draft(site, number))
            continue
        draft, how = joined[0]
        if len(joined) > 1 or how == "overlap":
            return None
        if _is_lookup(site):
            if how == "swapped":  # rows against columns: cannot be joined along T
                return None
            draft.lookups.append(number)
        else:
            draft.dense.append((number, how == "swapped"))
    return tuple(draft.finished() for draft in clusters)


class _Draft:
    def __init__(self, site: Site, number: int):
        self.site, self.number = site, number
        self.dense: list[tuple[int, bool]] = []
        self.lookups: list[int] = []
        if _is_lookup(site):
            self.lookups.append(number)
        else:
            self.dense.append((number, False))

    def relation(self, site: Site, shape: tuple[int, ...]) -> str:
        """aligned, swapped, disjoint or overlap."""
        if site.whole_chain() == self.site.whole_chain():
            return "aligned"
        here, there = _places(self.site, shape), _places(site, shape)
        if np.array_equal(here, there):
            return "aligned"
        if np.array_equal(here, there.swapaxes(1, 2)):
            return "swapped"
        taken = np.zeros(math.prod(shape), bool)
        taken[here] = True
        return "overlap" if taken[there].any() else "disjoint"

    def finished(self) -> Cluster:
        return Cluster(tuple(self.dense), tuple(self.lookups), self.number)


def _places(site: Site, shape: tuple[int, ...]) -> np.ndarray:
    groups, _, n, m = site.sizes
    return provenance(site.whole_chain(), shape).reshape(groups, n, m)


def _is_lookup(site: Site) -> bool:
    return isinstance(site.rule, Lookup)


def renumbered(
    leaves: Iterable[Leaf], sites: list[Site]
) -> tuple[tuple[Leaf, ...], tuple[Site, ...], dict[int, int]]:
    """Drops the sites that no cluster uses; returns also the old number of each."""
    leaves = tuple(leaves)
    used = sorted(
        itertools.chain.from_iterable(c.sites for k in leaves for c in k.clusters)
    )
    new = {old: i for i, old in enumerate(used)}

    def renumber(c: Cluster) -> Cluster:
        return Cluster(
            tuple((new[i], swapped) for i, swapped in c.dense),
            tuple(new[i] for i in c.lookups),
            new[c.reference],
        )

    return (
        tuple(
            dataclasses.replace(leaf, clusters=tuple(map(renumber, leaf.clusters)))
            for leaf in leaves
        ),
        tuple(sites[i] for i in used),
        new,
    )
