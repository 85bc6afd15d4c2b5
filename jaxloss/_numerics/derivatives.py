"""Functions that bring their derivatives with them, or are made better in places."""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero


def slopes(*slope_fns: Callable[..., Array]) -> Callable[[Callable], Callable]:
    """Gives a function its derivatives in closed form, one for each argument.

    A function with an array value is taken as elementwise, one with a scalar value
    as a function of whole arrays. A slope that is not finite counts as 0, and so do all
    of a scalar that is nan: a loss of nan is seen in its value, and a weight of 0
    really keeps it out of a gradient.

    Value and slopes share no intermediate (the barrier keeps the compiler from joining
    them again), so each of them fuses into one pass over the inputs.
    """

    def decorate(function: Callable[..., Array]) -> Callable[..., Array]:
        with_slopes = jax.custom_jvp(function)

        def rule(primals, tangents):
            value = with_slopes(*primals)
            change = jnp.zeros_like(value)
            known = jnp.where(jnp.isnan(value), jnp.inf, 1)
            primals = jax.lax.optimization_barrier(primals)
            for slope_fn, tangent in zip(slope_fns, tangents, strict=True):
                if isinstance(tangent, SymbolicZero):
                    continue
                slope = slope_fn(*primals)
                term = jnp.where(jnp.isfinite(slope), slope, 0) * tangent
                change = change + (jnp.sum(term) / known if value.ndim == 0 else term)
            return value, change

        with_slopes.defjvp(rule, symbolic_zeros=True)
        return functools.wraps(function)(with_slopes)

    return decorate


def no_slope(*primals: Any) -> Any:
    """In the place of a slope for an argument that takes no derivative, as a label."""
    raise TypeError("There is no derivative with respect to this argument.")


#: Of fewer elements a careful form takes no longer than what is done to avoid it.
FEW = 64


def refined(good: Array, value: Any, better: Callable[..., Any], *args: Array) -> Any:
    """The value where it is good, and `better(*args)` where it is not.

    A value may be a tuple of numbers.

    On the CPU a batch whose values are all good never computes the better ones; what an
    example gets does not depend on the others. Elsewhere both are computed, for a
    branch on the data is a wait there, or a message between devices. No derivative is
    defined: use it inside a function whose slopes are known.
    """

    better = jax.jit(better, inline=True)  # traced once

    def both(good, value, *args):
        return jax.tree.map(partial(jnp.where, good), value, better(*args))

    def only_if_needed(good, value, *args):
        def keep(good, value, *args):
            return value

        return jax.lax.cond(jnp.all(good), keep, both, good, value, *args)

    @jax.custom_batching.custom_vmap
    def chosen(*operands):
        return jax.lax.platform_dependent(*operands, cpu=only_if_needed, default=both)

    @chosen.def_vmap
    def _batched(size, in_batched, *operands):
        def batched(x, already):
            return x if already else jnp.broadcast_to(x, (size, *x.shape))

        good, value, *args = operands
        good, value = jax.tree.map(batched, (good, value), tuple(in_batched[:2]))
        axes = [0 if already else None for already in in_batched[2:]]
        lifted = jax.vmap(better, axes, axis_size=size)
        result = refined(good, value, lifted, *args)
        return result, jax.tree.map(lambda _: True, result)

    choose = jax.custom_jvp(chosen)
    choose.defjvp(no_slope)  # JAX would follow a derivative without an end
    return choose(good, value, *args)


def hidden_one(like: Array) -> Array:
    """A 1 of this dtype that the compiler does not see through.

    A constant in the value and again in a slope is one constant with two consumers, and
    is written to memory in the shape of the batch. Slopes build theirs from this one.
    """
    return jax.lax.optimization_barrier(jnp.ones((), like.dtype))
