"""Chains: what happens to a parameter on its way to the example, shape only.

A chain is a tuple of operations that only select and rearrange elements: a parameter
`W` arrives as ``q = S W``, where the rows of `S` are distinct unit vectors. The
gradient that is pulled back along it keeps its norm. Casts are left out, so that sums
stay wide until the last cast to the dtype of the parameter.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from jaxloss import _devices

Op = tuple[Any, ...]
Chain = tuple[Op, ...]

# Operations of JAX that leave every element in its place.
_SAME = {"copy", "copy_p", "name", "sharding_constraint"}
_RESHAPES = {"reshape", "squeeze", "expand_dims"}


def extend(eqn: Any) -> list[Op | None] | None:
    """For each output of an equation of one operand, the operation that leads to it.

    None in the list is no operation at all; None for the list, that this equation does
    more than select and rearrange.
    """
    name, params = eqn.primitive.name, eqn.params
    before, after = eqn.invars[0].aval, eqn.outvars[0].aval
    if name in _SAME:
        return [None]
    if name == "convert_element_type":
        floats = jnp.issubdtype(before.dtype, jnp.floating)
        return [None] if floats and jnp.issubdtype(after.dtype, jnp.floating) else None
    if name in _RESHAPES or (name == "broadcast_in_dim" and before.size == after.size):
        # An axis that is repeated would change the number of elements.
        return [("reshape", tuple(after.shape))]
    if name == "transpose":
        return [("transpose", tuple(params["permutation"]))]
    if name == "rev":
        return [("flip", tuple(params["dimensions"]))]
    if name == "slice":
        start, limit = tuple(params["start_indices"]), tuple(params["limit_indices"])
        strides = params["strides"] or (1,) * len(start)
        return [("slice", start, limit, tuple(strides))]
    if name == "split":
        return _split(before.shape, params["sizes"], params["axis"])
    return None


def follow(chain: Chain, leaf: Any) -> Any:
    """What becomes of a parameter, a NumPy or a JAX array, along its chain.

    The result has one more leading axis for each scan that takes a slice of it.
    """
    lead = 0
    for op in chain:
        kind, shape = op[0], leaf.shape
        if kind == "scan":
            lead += 1
        elif kind == "reshape":
            leaf = leaf.reshape(shape[:lead] + op[1])
        elif kind == "transpose":
            leaf = leaf.transpose((*range(lead), *(lead + a for a in op[1])))
        elif kind == "flip":
            axes = tuple(lead + a for a in op[1])
            numpy = isinstance(leaf, np.ndarray)
            leaf = np.flip(leaf, axes) if numpy else lax.rev(leaf, axes)
        else:
            start = (0,) * lead + op[1]
            limit = shape[:lead] + op[2]
            strides = (1,) * lead + op[3]
            if isinstance(leaf, np.ndarray):
                leaf = leaf[tuple(map(slice, start, limit, strides))]
            else:
                leaf = lax.slice(leaf, start, limit, strides)
    return leaf


def provenance(chain: Chain, shape: tuple[int, ...]) -> np.ndarray:
    """For each element at the end of a chain, its place in the parameter."""
    size = math.prod(shape)
    dtype = np.int32 if size < 2**31 else np.int64
    return follow(chain, np.arange(size, dtype=dtype).reshape(shape))


def pull_back(chain: Chain, shape: tuple[int, ...], cotangent: Array) -> Array:
    """The gradient of a parameter of this shape, from the one at the end of a chain."""
    leaf = _devices.shaped_as(cotangent, shape)
    (gradient,) = jax.linear_transpose(lambda w: follow(chain, w), leaf)(cotangent)
    return gradient


def _split(shape: tuple[int, ...], sizes: Any, axis: int) -> list[Op | None]:
    ops: list[Op | None] = []
    begin = 0
    for size in sizes:
        start, limit = [0] * len(shape), list(shape)
        start[axis], limit[axis] = begin, begin + size
        ops.append(("slice", tuple(start), tuple(limit), (1,) * len(shape)))
        begin += size
    return ops
