"""Per-example gradients in factors: the pytree that holds them."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss.gradients.layout import Layout


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["factors", "materialised", "zeros"],
    meta_fields=["layout"],
)
@dataclasses.dataclass(frozen=True)
class PerExampleGradients:
    """The gradient of every example of a batch, mostly not written out.

    A pytree: it passes through `jax.jit`, `jax.lax.scan` and shardings as arrays do.
    Read it with the functions of `jaxloss.gradients`.

    Attributes:
        factors: for each place where a parameter meets an example, what it meets and
            the cotangent of the output there; with a leading batch axis.
        materialised: the gradients of the parameters that have no factors, each
            ``(batch, *shape)``.
        zeros: one 0 for each example, ``(batch,)``, in the dtype of the sums.
        layout: which factors make up which parameter. It is static.
    """

    factors: tuple[tuple[Array, Array], ...]
    materialised: tuple[Array, ...]
    zeros: Array
    layout: Layout


def check_direction(layout: Layout, direction: Any) -> list[Array]:
    """The leaves of a tree that must be like the parameters."""
    leaves, treedef = jax.tree.flatten(direction)
    if treedef != layout.treedef:
        raise ValueError(
            f"`direction` must be a tree like the parameters, {layout.treedef}, "
            f"got {treedef}."
        )
    for leaf, v in zip(layout.leaves, leaves, strict=True):
        if jnp.shape(v) != leaf.shape:
            raise ValueError(
                f"`direction`{leaf.name} must have the shape of the parameter, "
                f"{leaf.shape}, got {jnp.shape(v)}."
            )
    return [jnp.asarray(v) for v in leaves]
