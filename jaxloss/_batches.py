"""What a batch is asked before a function of one example is mapped over it."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxloss import _devices


def split(
    loss: Callable[..., Any],
    in_axes: Any,
    data: tuple[Any, ...],
    batch_ndim: int = 1,
    shared: int = 0,
) -> tuple[tuple[int, ...], tuple[Any, ...], list[int | None]]:
    """Takes a batch apart, and refuses one whose parts do not fit together.

    Returns the lengths of the batch axes, which all data share; the shapes of one
    example; and the batch axis of each leaf. The first `shared` arguments of `loss` are
    not among the data.
    """
    prefix = tuple(in_axes) if isinstance(in_axes, (tuple, list)) else in_axes
    axes = jax.tree.leaves(
        jax.tree.broadcast(prefix, data, is_leaf=lambda axis: axis is None),
        is_leaf=lambda axis: axis is None,
    )
    leaves, treedef = jax.tree_util.tree_flatten_with_path(data)
    names = _names(loss, shared, data)
    first: tuple[str, tuple[int, ...], tuple[int, ...]] | None = None
    example = []
    for axis, (path, leaf) in zip(axes, leaves, strict=True):
        shape = jnp.shape(leaf)
        rest = list(shape)
        if axis is not None:
            name = f"`{names[path[0].idx]}{jax.tree_util.keystr(path[1:])}`"
            if len(shape) < batch_ndim or not -len(shape) <= axis < len(shape):
                raise ValueError(
                    f"{name} must have {batch_ndim} batch axes, got shape "
                    f"{shape}. For what all examples share, say None in `in_axes`."
                )
            lengths = tuple(rest.pop(axis) for _ in range(batch_ndim))
            if first is None:
                first = name, lengths, shape
            elif lengths != first[1]:
                raise ValueError(
                    f"{name} must have as many examples as {first[0]}: got shape "
                    f"{shape} against {first[2]}."
                )
        example.append(_devices.shaped_as(jnp.asarray(leaf), tuple(rest)))
    if first is None:
        raise ValueError(f"{name_of(loss)} was given no batch: no mapped argument.")
    return first[1], jax.tree.unflatten(treedef, example), axes


def along_first(in_axes: Any, data: tuple[Any, ...]) -> list[Any]:
    """The data whose first axis counts the examples."""
    if isinstance(in_axes, (tuple, list)):
        return [x for x, axis in zip(data, in_axes, strict=False) if axis == 0]
    return list(data) if in_axes == 0 else []


def _names(loss: Callable[..., Any], shared: int, data: tuple[Any, ...]) -> list[str]:
    """What the loss calls its positional arguments after the shared ones."""
    try:
        parameters = inspect.signature(loss).parameters.values()
    except (TypeError, ValueError):
        parameters = ()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters if p.kind in kinds][shared:][: len(data)]
    return names + [f"argument {i}" for i in range(len(names), len(data))]


def name_of(loss: Callable[..., Any]) -> str:
    """What a loss is called in messages."""
    while isinstance(loss, functools.partial):
        loss = loss.func
    return getattr(loss, "__name__", type(loss).__name__)
