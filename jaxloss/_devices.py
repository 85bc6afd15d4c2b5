"""What arrays that are spread over devices ask for, within `shard_map` and outside."""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.typing import ArrayLike


def varying_as(x: Any, like: Any) -> Any:
    """A tree, as it is, said to differ from device to device where `like` does.

    Only within `jax.shard_map` is there a difference: a loop must begin with what it
    goes on with, and the gradient of what devices share is their sum.
    """
    axes = frozenset().union(*map(varying, jax.tree.leaves(like)))

    def cast(array: Any) -> Any:
        missing = tuple(sorted(axes - varying(array)))
        return jax.lax.pcast(array, missing, to="varying") if missing else array

    return jax.tree.map(cast, x)


def shaped_as(like: Array, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    """What an array of this shape is that has the dtype of another, and that differs
    from device to device where that does.
    """
    kind = jax.typeof(like)
    if not kind.manual_axis_type.varying:
        return jax.ShapeDtypeStruct(shape, kind.dtype)
    return jax.ShapeDtypeStruct(
        shape,
        kind.dtype,
        sharding=NamedSharding(kind.sharding.mesh, PartitionSpec()),
        manual_axis_type=kind.manual_axis_type,
    )


def varying(array: ArrayLike) -> frozenset[str]:
    """The mesh axes over which the devices of a `shard_map` hold different values."""
    return jax.typeof(array).manual_axis_type.varying


def automatic(
    function: Callable[..., Any], out: Any, examples: Any, batch_ndim: int = 1
) -> Any:
    """The function, with the compiler to lay out what is within, also on a mesh whose
    axes are explicit, where JAX would refuse what needs to send something.

    `out` is True for those of its results that have the axes of the examples: they lie
    as the first axes of `examples` do. The others are on all devices.
    """
    layouts = (jax.typeof(array).sharding for array in jax.tree.leaves(examples))
    found = (s for s in layouts if AxisType.Explicit in s.mesh.axis_types)
    layout = next(found, None)
    if layout is None:
        return function
    each = NamedSharding(layout.mesh, PartitionSpec(*layout.spec[:batch_ndim]))
    whole = NamedSharding(layout.mesh, PartitionSpec())
    return jax.sharding.auto_axes(
        function, out_sharding=jax.tree.map(lambda own: each if own else whole, out)
    )
