"""Functions that take a loss of one example and give its gradients over a batch."""

import functools
from collections.abc import Callable, Hashable
from typing import Any, Literal

import jax
from jax import Array

from jaxloss import _batches, _devices
from jaxloss.gradients import passes, streaming
from jaxloss.gradients.algebra import Method
from jaxloss.gradients.factors import check_direction
from jaxloss.gradients.passes import Options
from jaxloss.gradients.queries import clip_weights
from jaxloss.gradients.sums import root, squares_and_blocks, total


def per_example(
    loss_fn: Callable[..., Any],
    *,
    in_axes: Any = 0,
    has_aux: bool = False,
    strict: bool | int = False,
) -> Callable[..., Any]:
    """Losses of a batch and the gradient of each, in one forward and backward pass.

    As ``jax.vmap(jax.value_and_grad(loss_fn), ...)``, but the gradients come in
    factors: for every place where a parameter meets an example (``dot_general``,
    convolution, lookup) the input of that place and the cotangent of its output. No
    array of the size of the batch times the parameters is formed. It works for any
    function, since it reads the equations that JAX traces; a parameter that does
    something else on its way to the example is materialised, it alone, and
    `explain` says why.

    Args:
        loss_fn: ``loss_fn(params, *example) -> scalar``, or ``(scalar, aux)``. It is
            given one example, without a batch axis, and must not look at others.
            Random keys belong into the example, one for each.
        in_axes: as in `jax.vmap`, for the arguments after ``params``.
        has_aux: whether `loss_fn` returns ``(scalar, aux)``.
        strict: raise when a parameter of more than 65536 elements is not factored; a
            number sets another limit.

    Returns:
        ``fn(params, *batch) -> (losses, gradients)``, or ``((losses, aux),
        gradients)``: the losses of shape ``(batch,)``, float32 or wider, and a
        `PerExampleGradients`. It is compiled once for the same `loss_fn`, options and
        shapes, also when `per_example` is called at every step.

    Raises:
        ValueError: by ``fn``, when batch axes differ, when the loss is not one number,
            or when `strict` is violated.
        TypeError: by ``fn``, when a parameter or the loss is not real.

    Guarantees:
        - Exact: equal to the gradients of `jax.grad` up to rounding.
        - If planning fails, every parameter is materialised, with one warning.
        - Composes with `jax.jit`, `jax.grad`, `jax.lax.map` and sharded batches; an
          empty batch gives empty results; an example that is not finite stays alone.
        - Parameters of an integer dtype are constants.

    Examples:
        >>> import jax.numpy as jnp
        >>> def loss(params, x, y):
        ...     return (jnp.tanh(x @ params["w"]) @ params["v"] - y) ** 2
        >>> params = {"w": jnp.eye(2), "v": jnp.array([1.0, -1.0])}
        >>> x, y = jnp.array([[1.0, 0], [0, 1], [9, 9]]), jnp.array([0.0, 1, 0])
        >>> losses, grads = per_example(loss)(params, x, y)
        >>> losses
        Array([0.58003, 3.10321 , 0.       ], dtype=float32)
        >>> from jaxloss.gradients import norms
        >>> norms(grads)
        Array([2.01867, 4.66926 , 0.       ], dtype=float32)

    References:
        Goodfellow, *Efficient per-example gradient computations*, 2015;
        Rochette et al., *Efficient per-example gradient computations in convolutional
        neural networks*, 2019; Li et al., *Large language models can be strong
        differentially private learners*, 2022.
    """
    options = Options(in_axes, has_aux, strict)
    return _compiled(_per_example, loss_fn, options)


def norms_streaming(
    loss_fn: Callable[..., Any],
    *,
    in_axes: Any = 0,
    has_aux: bool = False,
    strict: bool | int = False,
    method: Method = "auto",
) -> Callable[..., Any]:
    """Losses and gradient norms in one pass that stores no factors.

    Each place measures the norm on the way back and forgets the factors, so that
    rematerialisation and scans over layers keep the memory they save. For norms alone
    it is the cheapest way. A parameter that several places share is kept in factors
    for as long as the pass takes.

    Args:
        loss_fn: as in `per_example`, and so are `in_axes`, `has_aux` and `strict`.
        in_axes: the axes that count the examples.
        has_aux: whether `loss_fn` returns ``(scalar, aux)``.
        strict: raise when a large parameter is not factored.
        method: as in `norms`.

    Returns:
        ``fn(params, *batch) -> (losses, norms)``, or ``((losses, aux), norms)``, the
        norms of shape ``(batch,)``. Reverse-mode derivatives only.

    Examples:
        >>> import jax.numpy as jnp
        >>> def loss(w, x):
        ...     return jnp.tanh(x @ w)
        >>> norms_streaming(loss)(jnp.zeros(2), jnp.array([[3.0, 4.0], [0.0, 1.0]]))
        (Array([0., 0.], dtype=float32), Array([5., 1.], dtype=float32))
    """
    options = Options(in_axes, has_aux, strict)
    return _compiled(_norms_streaming, loss_fn, options, method)


def clipped_sum(
    loss_fn: Callable[..., Any],
    max_norm: float | Array,
    *,
    memory: Literal["fast", "small"] = "fast",
    in_axes: Any = 0,
    has_aux: bool = False,
    strict: bool | int = False,
    method: Method = "auto",
) -> Callable[..., Any]:
    r"""The sum of the gradients, each scaled down to a norm of at most `max_norm`.

    .. math:: \sum_i \min(1, C / \lVert g_i \rVert) \, g_i

    Args:
        loss_fn: as in `per_example`, and so are `in_axes`, `has_aux` and `strict`.
        max_norm: the norm :math:`C` above which a gradient is scaled down.
        memory: "fast" runs backward once and keeps all factors until the norms are
            known; "small" runs `norms_streaming` and then once more backward, and
            keeps none. The second calls `loss_fn` for the same examples twice, with
            the same keys.
        in_axes: the axes that count the examples.
        has_aux: whether `loss_fn` returns ``(scalar, aux)``.
        strict: raise when a large parameter is not factored.
        method: as in `norms`. For a privacy claim say "direct".

    Returns:
        ``fn(params, *batch) -> (losses, norms, total)``, or ``((losses, aux), norms,
        total)``: norms before clipping, ``(batch,)``, and a tree like ``params``.

    Raises:
        ValueError: for another `memory` than these.

    Guarantees:
        - Leaving out one example changes the total by at most `max_norm`, up to
          rounding, however small an input and however large the cotangent it meets.
        - An example whose gradient is not finite counts as 0, and so does one whose
          squared norm is not: in float32 that is a norm beyond 1.8e19.

    Examples:
        >>> import jax.numpy as jnp
        >>> def loss(w, x):
        ...     return jnp.tanh(x @ w)
        >>> x = jnp.array([[3.0, 4.0], [0.0, 1.0], [jnp.inf, 0.0]])
        >>> clipped_sum(loss, 1.0)(jnp.zeros(2), x)[2]
        Array([0.6, 1.8], dtype=float32)
    """
    if memory not in ("fast", "small"):
        raise ValueError(f'`memory` must be "fast" or "small", got {memory!r}.')
    options = Options(in_axes, has_aux, strict)
    build = _clipped_fast if memory == "fast" else _clipped_small
    clipped = _compiled(build, loss_fn, options, method)
    return functools.partial(clipped, max_norm)


def directional(
    loss_fn: Callable[..., Any], *, in_axes: Any = 0, has_aux: bool = False
) -> Callable[..., Any]:
    r"""How fast each loss changes when the parameters move in one direction.

    .. math:: \langle \nabla \ell_i, v \rangle

    One forward-mode pass, without factors: use it when the factors are not there yet,
    `dot` when they are. With the gradient of a test example as direction it tells on
    which training examples that test example leans.

    Args:
        loss_fn: as in `per_example`, and so are `in_axes` and `has_aux`.
        in_axes: the axes that count the examples.
        has_aux: whether `loss_fn` returns ``(scalar, aux)``.

    Returns:
        ``fn(params, direction, *batch) -> (losses, slopes)``, or ``((losses, aux),
        slopes)``; ``direction`` is a tree like ``params``, slopes ``(batch,)``.

    Raises:
        ValueError: by ``fn``, when ``direction`` is not like ``params``.

    Examples:
        >>> import jax.numpy as jnp
        >>> def loss(w, x):
        ...     return jnp.tanh(x @ w)
        >>> x = jnp.array([[3.0, 4.0], [0.0, 1.0]])
        >>> directional(loss)(jnp.zeros(2), jnp.array([1.0, -1.0]), x)[1]
        Array([-1., -1.], dtype=float32)
    """
    return _compiled(_directional, loss_fn, Options(in_axes, has_aux))


def _per_example(loss_fn: Callable[..., Any], options: Options) -> Callable[..., Any]:
    def gradients(params: Any, *batch: Any) -> Any:
        prepared = passes.prepare(loss_fn, options, params, batch)
        captured = passes.over_batch(prepared, {})
        losses = passes.losses_of(prepared, captured.outputs, options.has_aux)
        return losses, passes.gradients_of(prepared, captured)

    return gradients


def _norms_streaming(
    loss_fn: Callable[..., Any], options: Options, method: Method
) -> Callable[..., Any]:
    def measured(params: Any, *batch: Any) -> Any:
        prepared = passes.prepare(loss_fn, options, params, batch)
        outputs, square = streaming.squares(prepared, method)
        losses = passes.losses_of(prepared, outputs, options.has_aux)
        return losses, root(square)

    return measured


def _clipped_fast(
    loss_fn: Callable[..., Any], options: Options, method: Method
) -> Callable[..., Any]:
    def clipped(max_norm: Array, params: Any, *batch: Any) -> Any:
        prepared = passes.prepare(loss_fn, options, params, batch)
        captured = passes.over_batch(prepared, {})
        grads = passes.gradients_of(prepared, captured)
        square, blocks = squares_and_blocks(grads, method)
        norms = root(square)
        weights = clip_weights(norms, max_norm)
        losses = passes.losses_of(prepared, captured.outputs, options.has_aux)
        return losses, norms, total(grads, weights, blocks)

    return clipped


def _clipped_small(
    loss_fn: Callable[..., Any], options: Options, method: Method
) -> Callable[..., Any]:
    def clipped(max_norm: Array, params: Any, *batch: Any) -> Any:
        prepared = passes.prepare(loss_fn, options, params, batch)
        outputs, square = streaming.squares(prepared, method)
        norms = root(square)
        weights = clip_weights(norms, max_norm)
        losses = passes.losses_of(prepared, outputs, options.has_aux)
        return losses, norms, passes.weighted_gradient(prepared, weights)

    return clipped


def _directional(loss_fn: Callable[..., Any], options: Options) -> Callable[..., Any]:
    def slopes(params: Any, direction: Any, *batch: Any) -> Any:
        prepared = passes.prepare(loss_fn, options, params, batch, factored=False)
        layout = prepared.plan.layout
        tangents = check_direction(layout, direction)
        moving = [k for k, leaf in enumerate(layout.leaves) if leaf.floating]

        def outputs(leaves: list[Array]) -> Any:
            params = dict(enumerate(prepared.params)) | dict(
                zip(moving, leaves, strict=True)
            )
            out = passes.evaluate(prepared, list(params.values()), prepared.batch)
            return out[0], out

        given = [prepared.params[k] for k in moving]
        along = [tangents[k].astype(layout.leaves[k].dtype) for k in moving]
        along = _devices.varying_as(along, given)
        _, slope, out = jax.jvp(outputs, (given,), (along,), has_aux=True)
        losses = passes.losses_of(prepared, out, options.has_aux)
        return losses, slope.astype(layout.dtype)

    return slopes


# How many arguments come before the batch, and which results have the axis of examples.
_FORMS: dict[Callable[..., Any], tuple[int, Any]] = {
    _per_example: (1, True),
    _norms_streaming: (1, True),
    _clipped_fast: (2, (True, True, False)),
    _clipped_small: (2, (True, True, False)),
    _directional: (2, True),
}


def _compiled(
    build: Callable[..., Any], loss_fn: Any, options: Options, *more: Hashable
) -> Callable[..., Any]:
    """The compiled function for these arguments, found again if it was there before."""
    leaves, treedef = jax.tree.flatten(options.in_axes, is_leaf=lambda a: a is None)
    key = (build, loss_fn, tuple(leaves), treedef, options.has_aux)
    if not isinstance(loss_fn, Hashable):
        return _on_devices(build, loss_fn, options, *more)
    return _found(*key, (type(options.strict), options.strict), more)


@functools.lru_cache(maxsize=256)
def _found(
    build: Callable[..., Any],
    loss_fn: Callable[..., Any],
    leaves: tuple[int | None, ...],
    treedef: Any,
    has_aux: bool,
    strict: tuple[type, bool | int],
    more: tuple[Hashable, ...],
) -> Callable[..., Any]:
    options = Options(jax.tree.unflatten(treedef, leaves), has_aux, strict[1])
    return _on_devices(build, loss_fn, options, *more)


def _on_devices(
    build: Callable[..., Any], loss_fn: Any, options: Options, *more: Hashable
) -> Callable[..., Any]:
    function, (before, out) = build(loss_fn, options, *more), _FORMS[build]

    def called(*data: Any) -> Any:
        examples = _batches.along_first(options.in_axes, data[before:])
        return _devices.automatic(function, out, examples)(*data)

    return jax.jit(called)
