"""Lifts a loss of one example over a batch, and turns its value checks on."""

import functools
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxloss import _batches, _devices, _inputs

Kernel = Callable[..., Any]


def per_sample(
    loss: Callable[..., Any],
    /,
    *,
    in_axes: Any = 0,
    batch_ndim: int = 1,
    **options: Any,
) -> Kernel:
    """Lifts a loss of one example to a compiled kernel that gives one loss for each.

    ``per_sample(loss)(predictions, targets)[i] == loss(predictions[i], targets[i])``.
    The kernel is ``jit(vmap(loss))``. It is built once for each combination of the
    arguments below and then found again, so that `per_sample` may be called inside a
    training step, at every step, without compiling anything twice.

    Args:
        loss: function of one example, from `jaxloss.losses` or your own. Its positional
            arguments are data, arrays or pytrees of arrays. It returns one number, or a
            dict of named numbers.
        in_axes: as in `jax.vmap`, for the positional arguments: the axis that counts
            the examples, or None for what all examples share.
        batch_ndim: how many batch axes there are; `in_axes` is used for each of them.
        **options: keyword arguments of `loss`, the same for every example. Arrays may
            change from call to call without a new compilation; all else is compiled in.

    Returns:
        A kernel. ``kernel(*data)`` gives an array of shape ``(batch,)``, or one axis
        for each of `batch_ndim`, float32 or wider; a dict of such arrays when the loss
        returns a dict. It composes with `jax.jit`, `jax.grad`, `jax.vmap`,
        `jax.shard_map` and `jax.lax.scan`; an empty batch gives an empty array.

    Raises:
        ValueError: by the kernel, when batch axes differ in length or are missing, or
            when the loss returns more than one number.
        TypeError: when an option is neither an array nor hashable.

    Examples:
        >>> from jaxloss import losses
        >>> kernel = per_sample(losses.huber_loss, delta=2.0)
        >>> kernel(jnp.array([5.0, 1.0]), jnp.array([0.0, 0.0]))
        Array([8. , 0.5], dtype=float32)
    """
    arrays = {k: v for k, v in options.items() if isinstance(v, (Array, np.ndarray))}
    leaves, treedef = jax.tree.flatten(in_axes, is_leaf=lambda axis: axis is None)
    # 1, 1.0 and True are equal, but not the same option: the type is part of the key.
    static = tuple((k, type(v), v) for k, v in options.items() if k not in arrays)
    for name, _, value in static:
        if not isinstance(value, Hashable):
            raise TypeError(
                f"option `{name}` must be an array or hashable, got "
                f"{type(value).__name__}. Use a tuple or an array."
            )
    kernel = _compiled(_Spec(loss, tuple(leaves), treedef, batch_ndim, static))
    return functools.partial(kernel, **arrays) if arrays else kernel


def checked(kernel: Kernel, /) -> Kernel:
    """Makes a kernel raise where it would silently return nan.

    What can only be known at run time (a label out of range, a probability outside
    [0, 1], an input of nan) gives a documented value in a plain kernel, at no cost. The
    checked kernel computes the same, waits for the result, and raises. Use it to find
    the example, not in the training step: it cannot be traced by `jax.jit`.

    Args:
        kernel: what `per_sample` returned.

    Returns:
        A kernel with the same arguments and results.

    Raises:
        TypeError: when `kernel` is not from `per_sample`.
        ValueError: by the kernel; it names the loss, the first offending example, the
            argument, what was wanted and the value.

    Examples:
        >>> from jaxloss import losses
        >>> kernel = per_sample(losses.softmax_cross_entropy_with_integer_labels)
        >>> logits, labels = jnp.zeros((3, 4)), jnp.array([0, 4, 2])
        >>> kernel(logits, labels).round(4)
        Array([1.3863,    nan, 1.3863], dtype=float32)
        >>> checked(kernel)(logits, labels)
        Traceback (most recent call last):
        ...
        ValueError: softmax_cross_entropy_with_integer_labels, at mapped index 1: \
`label` must be in [0, 4), got 4.
    """
    arrays = kernel.keywords if isinstance(kernel, functools.partial) else {}
    plain = kernel.func if isinstance(kernel, functools.partial) else kernel
    spec = getattr(plain, "spec", None)
    if not isinstance(spec, _Spec):
        raise TypeError(f"`kernel` must come from `per_sample`, got {kernel!r}.")
    lifted = _compiled_with_checks(spec)

    @functools.wraps(spec.loss)
    def raising(*data: Any) -> Any:
        error, losses = lifted(*data, **arrays)
        message = error.get()
        if message is not None:
            message = message.removesuffix(" (`check` failed)")
            raise ValueError(f"{_batches.name_of(spec.loss)}, {message}")
        return losses

    return raising


class _Spec(NamedTuple):
    loss: Callable[..., Any]
    in_axes_leaves: tuple[int | None, ...]
    in_axes_treedef: Any
    batch_ndim: int
    options: tuple[tuple[str, type, Hashable], ...]


@functools.lru_cache(maxsize=1024)
def _compiled(spec: _Spec) -> Kernel:
    kernel = jax.jit(_lifted(spec, lambda loss: loss, True))
    kernel.spec = spec  # pyright: ignore[reportAttributeAccessIssue] (for `checked`)
    return kernel


@functools.lru_cache(maxsize=1024)
def _compiled_with_checks(spec: _Spec) -> Kernel:
    return jax.jit(_lifted(spec, _inputs.with_checks, (False, True)))


def _lifted(spec: _Spec, transform: Callable[[Kernel], Kernel], out: Any) -> Kernel:
    in_axes = jax.tree.unflatten(spec.in_axes_treedef, spec.in_axes_leaves)
    options = {name: value for name, _, value in spec.options}

    def mapped(data: tuple[Any, ...], arrays: dict[str, Array]) -> Any:
        def one(*example: Any) -> Any:
            return _as_losses(spec.loss, spec.loss(*example, **options, **arrays))

        function = transform(one)
        lengths, example, _ = _batches.split(spec.loss, in_axes, data, spec.batch_ndim)
        if 0 in lengths:  # there is nothing to map, only a shape to find
            result = jax.eval_shape(function, *example)
            return jax.tree.map(lambda x: jnp.zeros(lengths + x.shape, x.dtype), result)
        for _ in range(spec.batch_ndim):
            function = jax.vmap(function, in_axes=in_axes)
        return function(*data)

    @functools.wraps(spec.loss)
    def kernel(*data: Any, **arrays: Array) -> Any:
        # A loss of the user may close over arrays, which have to stay where they are.
        loss = spec.loss.func if isinstance(spec.loss, functools.partial) else spec.loss
        ours = getattr(loss, "__module__", "").startswith("jaxloss.")
        examples = _batches.along_first(in_axes, data) if ours else ()
        laid_out = _devices.automatic(mapped, out, examples, spec.batch_ndim)
        return laid_out(data, arrays)

    return kernel


def _as_losses(loss: Callable[..., Any], result: Any) -> Any:
    if isinstance(result, dict):
        return {name: _as_loss(loss, f"[{name!r}]", x) for name, x in result.items()}
    return _as_loss(loss, "", result)


def _as_loss(loss: Callable[..., Any], part: str, result: Any) -> Array:
    value = jnp.asarray(result)
    if value.shape:
        raise ValueError(
            f"{_batches.name_of(loss)}{part} must return one number for an example, "
            f"got shape {value.shape}. Take its mean or sum, or map one more axis with "
            "`batch_ndim`."
        )
    narrow = jnp.issubdtype(value.dtype, jnp.floating) and value.dtype.itemsize < 4
    return value.astype(jnp.float32) if narrow else value
