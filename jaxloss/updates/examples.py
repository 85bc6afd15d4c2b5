"""The gradients of the examples as they are given to an update, in one form."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from jaxloss.gradients import PerExampleGradients
from jaxloss.gradients.layout import Layout, Leaf

try:  # Experimental in optax; it adds a name to the type it refines, nothing else.
    from optax.experimental import aggregating

    Aggregator = aggregating.Aggregator
except (ImportError, AttributeError):
    Aggregator = optax.GradientTransformationExtraArgs


class Batch(NamedTuple):
    """The gradients of a batch and a weight for each, 1 if none were given."""

    grads: PerExampleGradients  # whose sums stay in float32 or wider
    weights: Array
    layout: Layout  # as the gradients came

    def narrowed(self, tree: Any) -> Any:
        """The tree of a sum in the dtypes of the parameters."""
        leaves = zip(jax.tree.leaves(tree), self.layout.leaves, strict=True)
        return jax.tree.unflatten(
            self.layout.treedef, [value.astype(leaf.dtype) for value, leaf in leaves]
        )


def read(updates: Any, params: Any, weights: ArrayLike | None) -> Batch:
    """What an update was given, whichever form the gradients have."""
    grads = updates
    if not isinstance(grads, PerExampleGradients):
        size = None if weights is None else jnp.size(weights)
        grads = _of_tree(updates, params, size)
    layout, shape = grads.layout, grads.zeros.shape
    leaves = tuple(
        dataclasses.replace(leaf, dtype=layout.dtype) if leaf.floating else leaf
        for leaf in layout.leaves
    )
    wide = dataclasses.replace(layout, leaves=leaves)
    given = jnp.ones(shape) if weights is None else column("weights", weights, shape)
    grads = dataclasses.replace(grads, layout=wide)
    return Batch(grads, given.astype(layout.dtype), layout)


def column(name: str, values: ArrayLike, shape: tuple[int, ...]) -> Array:
    """One number for each example."""
    array = jnp.asarray(values)
    if array.shape != shape:
        raise ValueError(
            f"`{name}` must have shape {shape}, one for each example, got "
            f"{array.shape}."
        )
    return array


def require_number(
    name: str, value: Any, above: float | None = None, below: float | None = None
) -> None:
    """Refuses a number known now; arrays, as of a schedule, are taken as they are."""
    if not isinstance(value, int | float):
        return
    low = value >= 0 if above is None else value > above
    if not (low and value < (float("inf") if below is None else below)):
        start = "at least 0" if above is None else f"above {above}"
        end = "finite" if below is None else f"below {below}"
        raise ValueError(f"`{name}` must be {start} and {end}, got {value}.")


def _of_tree(tree: Any, params: Any, size: int | None) -> PerExampleGradients:
    """Materialised gradients in the form in which those in factors come."""
    found, treedef = jax.tree_util.tree_flatten_with_path(
        tree, is_leaf=lambda node: isinstance(node, PerExampleGradients)
    )
    wanted = jax.tree.leaves(params)
    leaves, arrays = [], []
    for k, (path, value) in enumerate(found):
        name = f"`updates`{jax.tree_util.keystr(path)}"
        if isinstance(value, PerExampleGradients):
            raise TypeError(
                f"{name} is a PerExampleGradients: give it as `updates` itself, "
                "without the losses that come with it."
            )
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise TypeError(f"{name} must be floating, got {value.dtype}.")
        shape = value.shape
        if len(wanted) == len(found) and shape[1:] != wanted[k].shape or not shape:
            raise ValueError(
                f"{name} must have an example axis and then the shape of its "
                f"parameter, got {shape}. Gradients of each example come from "
                "`gradients.per_example` or `jax.vmap(jax.grad(loss))`."
            )
        if arrays and shape[0] != arrays[0].shape[0]:
            raise ValueError(
                f"{name} must hold {arrays[0].shape[0]} examples as the leaves before "
                f"it, got {shape[0]}."
            )
        leaves.append(Leaf(name, shape[1:], value.dtype, True, (), "given so"))
        arrays.append(jnp.asarray(value))
    layout = Layout(treedef, tuple(leaves), ())
    size = arrays[0].shape[0] if arrays else size or 0
    return PerExampleGradients((), tuple(arrays), jnp.zeros(size, layout.dtype), layout)
