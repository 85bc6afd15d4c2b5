"""What a loss asks of its inputs before it computes: the only place that knows chex."""

import math

import chex
import jax.numpy as jnp
from jax import Array
from jax.experimental import checkify
from jax.typing import ArrayLike

_BATCH_CURE = "A loss takes one example; for a batch use `jaxloss.per_sample`."


def event(shape: tuple[str, ...], /, **inputs: ArrayLike) -> tuple[Array, ...]:
    """Returns the arrays of one example as float32 or wider, all of this shape.

    The first is the prediction and must be floating; the others may be integers.
    Axes are named; the same name means the same length.
    """
    arrays = _floating(inputs)
    wanted = f"({', '.join(shape)}{',' if len(shape) == 1 else ''})"
    for name, array in arrays.items():
        _require_rank(name, array, len(shape), wanted)
    _require_equal_shapes(arrays)
    for name, array in arrays.items():
        _require_not_nan(name, array)
    return tuple(arrays.values())


def elementwise(where: ArrayLike | None, /, **inputs: ArrayLike) -> tuple[Array, ...]:
    """Returns arrays of equal, arbitrary shape as float32 or wider.

    The first is the prediction and must be floating; the others may be integers.
    Elements that `where` leaves out are set to 1, so that nothing of what they
    hold, not even nan, can reach the loss.
    """
    arrays = _floating(inputs)
    _require_equal_shapes(arrays)
    if where is not None:
        where = _boolean("where", where)
        prediction = next(iter(arrays))
        _require_equal_shapes({prediction: arrays[prediction], "where": where})
        arrays = {name: jnp.where(where, a, 1) for name, a in arrays.items()}
    for name, array in arrays.items():
        _require_not_nan(name, array)
    return tuple(arrays.values())


def related(
    axes: tuple[tuple[str, ...], ...], /, **inputs: ArrayLike
) -> tuple[Array, ...]:
    """Returns arrays of one example as float32 or wider, with named axes for each.

    The first must be floating; the same name means the same length. Whether a nan is
    refused is left to the loss, which knows what a mask leaves out.
    """
    arrays = _floating(inputs)
    lengths: dict[str, int] = {}
    for (name, array), names in zip(arrays.items(), axes, strict=True):
        wanted = f"({', '.join(names)}{',' if len(names) == 1 else ''})"
        _require_rank(name, array, len(names), wanted)
        for axis, length in zip(names, array.shape, strict=True):
            if lengths.setdefault(axis, length) != length:
                raise ValueError(
                    f"`{name}` must have shape {wanted} with {lengths[axis]} {axis}, "
                    f"got {array.shape}."
                )
    return tuple(arrays.values())


def mask(name: str, value: ArrayLike, shape: tuple[int, ...], /) -> Array:
    """Returns a boolean array of exactly this shape."""
    array = _boolean(name, value)
    if array.shape != shape:
        raise ValueError(f"`{name}` must have shape {shape}, got {array.shape}.")
    return array


def label(value: ArrayLike, classes: int, /) -> Array:
    """Returns a class index as int32, or -1 when it is not in [0, classes)."""
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(
            f"`label` must be an integer, got {array.dtype}. For a distribution over "
            "the classes use the loss that takes a `target`."
        )
    _require_rank("label", array, 0, "()")
    if jnp.iinfo(array.dtype).bits < 32:
        array = array.astype(jnp.int32)
    valid = (array >= 0) & (array < classes)
    require(valid, "label", f"in [0, {classes})", array)
    return jnp.where(valid, array, -1).astype(jnp.int32)


def option(name: str, value: ArrayLike, shape: tuple[int, ...], like: Array) -> Array:
    """Returns an array option in the dtype of `like`, of exactly this shape."""
    array = jnp.asarray(value)
    if array.shape != shape:
        raise ValueError(f"`{name}` must have shape {shape}, got {array.shape}.")
    return array.astype(like.dtype)


def positive(name: str, value: ArrayLike) -> None:
    """Refuses a Python number that is not above 0; what is traced passes."""
    if isinstance(value, (int, float)) and not value > 0:
        raise ValueError(f"`{name}` must be above 0, got {value}.")


def share(name: str, value: ArrayLike) -> None:
    """Refuses a Python number outside [0, 1]; what is traced passes."""
    if isinstance(value, (int, float)) and not 0 <= value <= 1:
        raise ValueError(f"`{name}` must be in [0, 1], got {value}.")


def require(ok: Array, name: str, wanted: str, value: Array) -> None:
    """States a condition on values, which `jaxloss.checked` turns into an error."""
    if math.prod(value.shape) == 0:
        return
    offending = jnp.max(value, where=~ok, initial=_least(value))
    checkify.debug_check(
        jnp.all(ok), f"`{name}` must be {wanted}, got {{value}}.", value=offending
    )


def _boolean(name: str, value: ArrayLike) -> Array:
    array = jnp.asarray(value)
    if array.dtype != jnp.bool_:
        raise TypeError(
            f"`{name}` must be boolean (True = counts), got {array.dtype}. "
            "Turn a 0/1 mask into one with `mask != 0`."
        )
    return array


def _floating(inputs: dict[str, ArrayLike]) -> dict[str, Array]:
    arrays = {name: jnp.asarray(value) for name, value in inputs.items()}
    name, prediction = next(iter(arrays.items()))
    if not jnp.issubdtype(prediction.dtype, jnp.floating):
        raise TypeError(
            f"`{name}` must be floating, got {prediction.dtype}. "
            f"Convert it, as in `{name}.astype(jnp.float32)`."
        )
    for name, array in arrays.items():
        if jnp.issubdtype(array.dtype, jnp.complexfloating):
            raise TypeError(f"`{name}` must be real, got {array.dtype}.")
    wide = any(array.dtype == jnp.float64 for array in arrays.values())
    dtype = jnp.float64 if wide else jnp.float32
    return {name: array.astype(dtype) for name, array in arrays.items()}


def _require_rank(name: str, array: Array, rank: int, wanted: str) -> None:
    chex.assert_rank(
        array,
        rank,
        exception_type=ValueError,
        include_default_message=False,
        custom_message=(
            f"`{name}` must have shape {wanted}, got {array.shape}. {_BATCH_CURE}"
        ),
    )


def _require_equal_shapes(arrays: dict[str, Array]) -> None:
    (first, prediction), *others = arrays.items()
    for name, array in others:
        chex.assert_equal_shape(
            (prediction, array),
            exception_type=ValueError,
            include_default_message=False,
            custom_message=(
                f"`{name}` must have the shape of `{first}`, {prediction.shape}, got "
                f"{array.shape}. Nothing is broadcast; reshape one of them, as in "
                f"`{first}.squeeze(-1)` or `{name}[..., None]`."
            ),
        )


def _require_not_nan(name: str, array: Array) -> None:
    require(~jnp.isnan(array), name, "a number", array)


def _least(array: Array) -> float | int:
    if jnp.issubdtype(array.dtype, jnp.floating):
        return -math.inf
    return int(jnp.iinfo(array.dtype).min)
