"""One forward and one backward pass over a batch, planned while it is traced."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxloss import _batches, _devices
from jaxloss.gradients import capture, plan as planning
from jaxloss.gradients.capture import Captured, Meters
from jaxloss.gradients.factors import PerExampleGradients
from jaxloss.gradients.layout import Layout, accumulator
from jaxloss.gradients.plan import Plan, Program

# With `strict=True`, a parameter with more elements than this must be factored.
STRICT_SIZE = 2**16


class Options(NamedTuple):
    """What the functions that take a loss have in common."""

    in_axes: Any = 0
    has_aux: bool = False
    strict: bool | int = False


class Prepared(NamedTuple):
    """A loss, traced for one example and planned, with the batch it is for."""

    program: Program
    plan: Plan
    params: list[Array]
    batch: list[Array]
    axes: tuple[int | None, ...]
    size: int
    out_tree: Any


def prepare(
    loss_fn: Callable[..., Any],
    options: Options,
    params: Any,
    batch: tuple[Any, ...],
    factored: bool = True,
) -> Prepared:
    """Traces the loss of one example, once, and plans its gradients."""
    # Within `shard_map` every example is of one device, and so is its gradient: that of
    # parameters which all devices share would be the sum over them.
    params, batch = _devices.varying_as((params, batch), batch)
    lengths, example, axes = _batches.split(loss_fn, options.in_axes, batch, shared=1)
    program, plan, out_tree = planned(loss_fn, options, params, example, axes, factored)
    return Prepared(
        program,
        plan,
        [jnp.asarray(leaf) for leaf in jax.tree.leaves(params)],
        jax.tree.leaves(batch),
        tuple(axes),
        lengths[0],
        out_tree,
    )


def planned(
    loss_fn: Callable[..., Any],
    options: Options,
    params: Any,
    example: tuple[Any, ...],
    axes: Any,
    factored: bool = True,
) -> tuple[Program, Plan, Any]:
    """The program of one example, how its gradients are kept, and its output tree."""
    paths, treedef = jax.tree_util.tree_flatten_with_path(params)
    names = [jax.tree_util.keystr(path) for path, _ in paths]
    _check_params(names, [leaf for _, leaf in paths])
    mapped = tuple(axis is not None for axis in axes)
    function = _with_checked_loss(loss_fn, options.has_aux)
    program, out = planning.trace(function, params, example, mapped)
    out_tree = jax.tree.structure(out)
    if not factored:
        return program, planning.nothing(program, treedef, names, "unused"), out_tree
    try:
        plan = planning.make(program, treedef, names)
        # What cannot be evaluated must be known before the batch is.
        jax.eval_shape(
            lambda p, e: capture.capture(program, plan, p, e, {}),
            jax.tree.leaves(params),
            jax.tree.leaves(example),
        )
    except Exception as error:  # a plan must never cost the user the gradient
        reason = f"planning failed with {type(error).__name__}: {error}"
        warnings.warn(
            f"The gradients of {_batches.name_of(loss_fn)} are materialised for every "
            f"parameter: {reason}",
            stacklevel=2,
        )
        plan = planning.nothing(program, treedef, names, reason)
    _check_strict(plan.layout, options.strict)
    return program, plan, out_tree


def over_batch(prepared: Prepared, measure: dict[int, Any]) -> Captured:
    """The pass itself, of all examples at once."""
    program, plan, params = prepared.program, prepared.plan, prepared.params

    def one(*example: Array) -> Captured:
        return capture.capture(program, plan, params, example, measure)

    return _mapped(prepared, one, prepared.batch)


def evaluate(prepared: Prepared, params: list[Array], batch: list[Any]) -> list[Any]:
    """The outputs of the loss for these parameters and this batch."""
    program = prepared.program
    plain = planning.nothing(program, prepared.plan.layout.treedef, [], "")
    meters = Meters(jnp.zeros(()), {})

    def one(*example: Any) -> list[Any]:
        inputs = [*params, *example]
        return capture.run(
            plain, program.jaxpr, program.consts, inputs, (), {}, meters
        )[0]

    return _mapped(prepared, one, batch)


def weighted_gradient(prepared: Prepared, weights: Array) -> Any:
    """The gradient of the weighted sum of the losses; weights are constants."""
    layout = prepared.plan.layout
    counted = weights != 0
    batch = [
        x if axis is None or not weights.size else _stand_in(x, axis, counted)
        for x, axis in zip(prepared.batch, prepared.axes, strict=True)
    ]
    params = dict(enumerate(prepared.params))
    floats = {k: p for k, p in params.items() if layout.leaves[k].floating}

    def loss(floats: dict[int, Array]) -> Array:
        losses = evaluate(prepared, list((params | floats).values()), batch)[0]
        return jnp.sum(weights.astype(losses.dtype) * losses)

    gradients = jax.grad(loss)(floats)
    zeros = {k: jnp.zeros_like(p) for k, p in params.items()}
    some = jnp.any(counted)
    kept = {k: jnp.where(some, g, 0) for k, g in gradients.items()}
    return jax.tree.unflatten(layout.treedef, list((zeros | kept).values()))


def _stand_in(batch: Any, axis: int, counted: Array) -> Array:
    """Puts a counted example in the place of those that are not.

    What they hold, were it nan, would pass even through a cotangent of 0.
    """
    batch = jnp.asarray(batch)
    one = jax.lax.dynamic_index_in_dim(batch, jnp.argmax(counted), axis)
    axes = tuple(a for a in range(batch.ndim) if a != axis % batch.ndim)
    mask = jnp.broadcast_to(jnp.expand_dims(counted, axes), batch.shape)
    return jax.lax.select(mask, batch, jnp.broadcast_to(one, batch.shape))


def _mapped(prepared: Prepared, one: Callable[..., Any], batch: list[Any]) -> Any:
    mapped = jax.vmap(one, in_axes=prepared.axes)
    if prepared.size:
        return mapped(*batch)
    # There is nothing to map, only shapes to find: those of a batch of one.
    single = [
        jax.ShapeDtypeStruct(
            x.shape if axis is None else _with_length(x.shape, axis, 1), x.dtype
        )
        for x, axis in zip(batch, prepared.axes, strict=True)
    ]
    shapes = jax.eval_shape(mapped, *single)
    return jax.tree.map(lambda s: jnp.zeros((0, *s.shape[1:]), s.dtype), shapes)


def gradients_of(prepared: Prepared, captured: Captured) -> PerExampleGradients:
    """The factors of a pass, with what they mean."""
    layout = prepared.plan.layout
    return PerExampleGradients(
        captured.factors, captured.materialised, captured.measured, layout
    )


def losses_of(prepared: Prepared, outputs: list[Any], has_aux: bool) -> Any:
    """What the loss returned, with a batch axis: the losses, or (losses, aux)."""
    result = jax.tree.unflatten(prepared.out_tree, outputs)
    return result if has_aux else result[0]


def _with_checked_loss(loss_fn: Callable[..., Any], has_aux: bool) -> Any:
    def function(params: Any, *example: Any) -> tuple[Array, Any]:
        result = loss_fn(params, *example)
        if has_aux and not (isinstance(result, tuple) and len(result) == 2):
            raise TypeError(
                "With `has_aux=True` the loss must return (loss, aux), got "
                f"{type(result).__name__}."
            )
        loss, aux = result if has_aux else (result, ())
        loss = jnp.asarray(loss)
        if loss.shape:
            raise ValueError(
                f"{_batches.name_of(loss_fn)} must return one number for an example, "
                f"got shape {loss.shape}. It is given one example, without a batch "
                "axis: take the mean or the sum over what it holds."
            )
        if not jnp.issubdtype(loss.dtype, jnp.floating):
            raise TypeError(
                f"{_batches.name_of(loss_fn)} must return a floating number, got "
                f"{loss.dtype}."
            )
        return loss.astype(accumulator(loss.dtype)), aux

    return function


def _check_params(names: list[str], leaves: list[Any]) -> None:
    dtypes = [
        leaf.dtype if hasattr(leaf, "dtype") else jnp.asarray(leaf).dtype
        for leaf in leaves
    ]
    for name, dtype in zip(names, dtypes, strict=True):
        numeric = jnp.issubdtype(dtype, jnp.number) or dtype == jnp.bool_
        if not numeric or jnp.issubdtype(dtype, jnp.complexfloating):
            raise TypeError(
                f"`params`{name} must be real, got {dtype}. What is not a parameter "
                "belongs into the batch, with None in `in_axes` if it is shared."
            )
    if not any(jnp.issubdtype(dtype, jnp.floating) for dtype in dtypes):
        raise ValueError("`params` must hold at least one floating array, got none.")


def _check_strict(layout: Layout, strict: bool | int) -> None:
    if strict is False:
        return
    limit = STRICT_SIZE if strict is True else strict
    for number in layout.materialised:
        leaf = layout.leaves[number]
        if leaf.size > limit:
            raise ValueError(
                f"`params`{leaf.name}, shape {leaf.shape}, must be factored because "
                f"`strict` allows {limit} elements, but is not: {leaf.reason}. "
                "See `jaxloss.gradients.explain`."
            )


def _with_length(shape: tuple[int, ...], axis: int, length: int) -> tuple[int, ...]:
    shape_list = list(shape)
    shape_list[axis] = length
    return tuple(shape_list)
