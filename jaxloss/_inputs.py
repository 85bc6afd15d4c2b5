"""What a loss asks of its inputs before it computes: the only place that knows chex."""

import contextvars
import math
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import checkify
from jax.typing import ArrayLike

_BATCH_CURE = "A loss takes one example; for a batch use `jaxloss.per_sample`."
_SOFT_CURE = " For a distribution over the classes use the loss that takes a `target`."


def event(shape: tuple[str, ...], /, **inputs: ArrayLike) -> tuple[Array, ...]:
    """Returns the arrays of one example as float32 or wider, all of this shape.

    The first is the prediction and must be floating; the others may be integers.
    Axes are named; the same name means the same length.
    """
    arrays = _floating(inputs)
    for name, array in arrays.items():
        _require_rank(name, array, len(shape), _in_words(shape))
    _require_equal_shapes(arrays)
    for name, array in arrays.items():
        _require_not_nan(name, array)
    return tuple(arrays.values())


def matching(
    shapes: Sequence[tuple[str, ...]], /, **inputs: ArrayLike
) -> tuple[Array, ...]:
    """Returns arrays as float32 or wider, each of its own shape.

    The first is the prediction and must be floating; the others may be integers.
    Axes are named; the same name means the same length, also across arrays.
    """
    arrays = related(shapes, **inputs)
    for name, array in zip(inputs, arrays, strict=True):
        _require_not_nan(name, array)
    return arrays


def elementwise(where: ArrayLike | None, /, **inputs: ArrayLike) -> tuple[Array, ...]:
    """Returns arrays of equal, arbitrary shape as float32 or wider.

    The first is the prediction and must be floating; the others may be integers.
    Elements that `where` leaves out hold what they held: `_numerics.mean_of` passes
    over them, and what looks at all elements together takes them `filled`.
    """
    arrays = _floating(inputs)
    _require_equal_shapes(arrays)
    if where is not None:
        where = _boolean("where", where)
        prediction = next(iter(arrays))
        _require_equal_shapes({prediction: arrays[prediction], "where": where})
    for name, array in arrays.items():
        _require_not_nan(name, array, where)
    return tuple(arrays.values())


def filled(where: ArrayLike | None, array: Array, /) -> Array:
    """The array with 1 in place of the elements that `where` leaves out.

    Nothing of what they held, not even nan, can reach a loss then.
    """
    return array if where is None else jnp.where(where, array, 1)


def related(
    shapes: Sequence[tuple[str, ...]], /, **inputs: ArrayLike
) -> tuple[Array, ...]:
    """As `matching`, for losses that know which elements a mask leaves out.

    Whether a nan is refused is left to them.
    """
    arrays = _floating(inputs)
    lengths: dict[str, int] = {}
    for (name, array), shape in zip(arrays.items(), shapes, strict=True):
        wanted = _in_words(shape)
        _require_rank(name, array, len(shape), wanted)
        for axis, size in zip(shape, array.shape, strict=True):
            if lengths.setdefault(axis, size) != size:
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
    return labels("label", value, (), classes)


def labels(
    name: str, value: ArrayLike, shape: tuple[int, ...], classes: int, /
) -> Array:
    """Returns class indices as int32, -1 for each that is not in [0, classes)."""
    array = integers(name, value, shape)
    valid = (array >= 0) & (array < classes)
    require(valid, name, f"in [0, {classes})", array)
    return jnp.where(valid, array, -1).astype(jnp.int32)


def integers(name: str, value: ArrayLike, shape: tuple[int | str, ...], /) -> Array:
    """Returns integers, 32 bits wide or as wide as they came; a named axis is free."""
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(
            f"`{name}` must be an integer, got {array.dtype}."
            + (_SOFT_CURE if name == "label" else "")
        )
    wanted = zip(shape, array.shape, strict=False)
    if array.ndim != len(shape) or any(
        isinstance(n, int) and n != length for n, length in wanted
    ):
        raise ValueError(
            f"`{name}` must have shape {_in_words(shape)}, got {array.shape}. "
            f"{_BATCH_CURE}"
        )
    return array.astype(jnp.int32) if jnp.iinfo(array.dtype).bits < 32 else array


def length(name: str, value: ArrayLike, longest: int, /) -> Array:
    """Returns a count as int32, or -1 when it is not in [0, longest]."""
    array = integers(name, value, ())
    valid = (array >= 0) & (array <= longest)
    require(valid, name, f"in [0, {longest}]", array)
    return jnp.where(valid, array, -1).astype(jnp.int32)


def frames(logits: ArrayLike, logit_length: ArrayLike, /) -> tuple[Array, Array, Array]:
    """`unpadded` scores, float32 or wider."""
    (array,) = _floating({"logits": logits}).values()
    _require_rank("logits", array, 2, _in_words(("frames", "classes")))
    return unpadded("logits", array, "logit_length", logit_length)


def unpadded(
    name: str, array: Array, length_name: str, count: ArrayLike, /
) -> tuple[Array, Array, Array]:
    """Returns a padded sequence, which of its rows are real, and their count.

    Padding is set to 0, so that nothing of what it holds can reach the loss. The count
    is -1, with no row real, when it is not possible.
    """
    count = length(length_name, count, len(array))
    real = jnp.arange(len(array), dtype=jnp.int32) < count
    array = jnp.where(real[:, None], array, 0)
    _require_not_nan(name, array)
    return array, real, count


def transcript(
    labels: ArrayLike, label_length: ArrayLike, classes: int, blank_id: int, /
) -> tuple[Array, Array]:
    """Returns the labels of a padded sequence as int32, and their count.

    The padding is filled with the blank. The count is -1 when it is not possible, or
    when a label that counts is the blank or no class.
    """
    if not 0 <= blank_id < classes:
        raise ValueError(f"`blank_id` must be in [0, {classes}), got {blank_id}.")
    array = integers("labels", labels, ("labels",))
    count = length("label_length", label_length, array.size)
    real = jnp.arange(array.size, dtype=jnp.int32) < count
    known = (array >= 0) & (array < classes) & (array != blank_id)
    wanted = f"in [0, {classes}) and not the blank, {blank_id}"
    require(known | ~real, "labels", wanted, array)
    count = jnp.where(jnp.all(known | ~real), count, -1)
    return jnp.where(known & real, array, blank_id).astype(jnp.int32), count


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


def not_negative(name: str, value: ArrayLike) -> None:
    """Refuses a Python number below 0; what is traced passes."""
    if isinstance(value, (int, float)) and not value >= 0:
        raise ValueError(f"`{name}` must not be below 0, got {value}.")


def share(name: str, value: ArrayLike) -> None:
    """Refuses a Python number outside [0, 1]; what is traced passes."""
    if isinstance(value, (int, float)) and not 0 <= value <= 1:
        raise ValueError(f"`{name}` must be in [0, 1], got {value}.")


def weighted(losses: ArrayLike, weights: ArrayLike | None) -> tuple[Array, Array]:
    """Returns losses and their weights, None for 1, as float32 or wider, in one shape.

    A loss that is not finite is 0 where its weight is.
    """
    losses = jnp.asarray(losses)
    weights = jnp.ones(losses.shape) if weights is None else jnp.asarray(weights)
    if losses.shape != weights.shape:
        raise ValueError(
            f"`weights` must have the shape of `losses`, {losses.shape}, got "
            f"{weights.shape}. One weight belongs to one example."
        )
    if not jnp.issubdtype(losses.dtype, jnp.floating):
        raise TypeError(f"`losses` must be floating, got {losses.dtype}.")
    dtype = losses.dtype if losses.dtype == jnp.float64 else jnp.float32
    losses, weights = losses.astype(dtype), weights.astype(dtype)
    absent = (weights == 0) & ~jnp.isfinite(losses)
    return jnp.where(absent, 0, losses), weights


def batch(
    name: str, values: ArrayLike, where: ArrayLike | None, /
) -> tuple[Array, Array]:
    """Returns one number for each example, without a gradient, and which count.

    Those count that are finite and kept by `where`; the others are 0.
    """
    array = jnp.asarray(values)
    if array.ndim != 1:
        raise ValueError(
            f"`{name}` must have shape (batch,), got {array.shape}. One weight belongs "
            f"to one example; fold further axes into one with `{name}.ravel()`."
        )
    array = jax.lax.stop_gradient(*_floating({name: array}).values())
    counts = jnp.isfinite(array)
    if where is not None:
        counts &= mask("where", where, array.shape)
    return jnp.where(counts, array, 0), counts


def segments(name: str, ids: ArrayLike, shape: tuple[int, ...], count: int, /) -> Array:
    """Returns ids in [0, count) as int32, `count` for each that is not one of them."""
    array = jnp.asarray(ids)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"`{name}` must be integers, got {array.dtype}.")
    if array.shape != shape:
        raise ValueError(f"`{name}` must have shape {shape}, got {array.shape}.")
    if jnp.iinfo(array.dtype).bits < 32:
        array = array.astype(jnp.int32)
    known = (array >= 0) & (array < count)
    return jnp.where(known, array, count).astype(jnp.int32)


def whole(name: str, value: object, most: int | None = None, /) -> None:
    """Refuses what is not a static whole number from 0 on, and up to `most`."""
    limit = "" if most is None else f" and at most {most}"
    if (
        not isinstance(value, (int, np.integer))
        or value < 0
        or (most is not None and value > most)
    ):
        raise ValueError(
            f"`{name}` must be a whole number, not below 0{limit}, got {value}."
        )


def require(
    ok: Array, name: str, wanted: str, value: Array, where: ArrayLike | None = None
) -> None:
    """States a condition on values, which `with_checks` turns into an error.

    Of what `where` leaves out nothing is asked.

    Elsewhere nothing is traced: a check that nobody reads would still keep a compiled
    function from being called the fast way.
    """
    if not _checking.get() or math.prod(value.shape) == 0:
        return
    if where is not None:
        ok |= ~jnp.asarray(where)
    offending = jnp.max(value, where=~ok, initial=_least(value))
    checkify.debug_check(
        jnp.all(ok), f"`{name}` must be {wanted}, got {{value}}.", value=offending
    )


def with_checks(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with the conditions its losses state: (error, result)."""

    def checked(*args: Any) -> Any:
        token = _checking.set(True)
        try:
            return checkify.checkify(function)(*args)
        finally:
            _checking.reset(token)

    return checked


_checking = contextvars.ContextVar("jaxloss_checking", default=False)


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


def _in_words(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


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


def _require_not_nan(name: str, array: Array, where: ArrayLike | None = None) -> None:
    require(~jnp.isnan(array), name, "a number", array, where)


def _least(array: Array) -> float | int:
    if jnp.issubdtype(array.dtype, jnp.floating):
        return -math.inf
    return int(jnp.iinfo(array.dtype).min)
