"""Sums and means over the elements of an example, of which there may be many."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

#: Bytes of a row that XLA on the CPU sums in one go. It keeps the terms of a whole row
#: in memory before it adds them up, and takes up to ten times as long for longer ones.
ROW = 2**17


def mean(values: Array, where: ArrayLike | None = None) -> Array:
    """Averages over the elements kept by `where`; 0 when there are none."""
    if where is None:
        return jnp.sum(values) / max(values.size, 1)
    where = jnp.asarray(where)
    count = jnp.maximum(jnp.sum(where, dtype=jnp.int32), 1)
    return jnp.sum(jnp.where(where, values, 0)) / count.astype(values.dtype)


def mean_of(
    each: Callable[..., Array], *arrays: Array, where: ArrayLike | None = None
) -> Array:
    """`mean` of ``each(*arrays)``, as `sum_of` adds it up when nothing is left out."""
    if where is not None:
        return mean(each(*arrays), where)
    return sum_of(each, *arrays) / max(*(array.size for array in arrays), 1)


def sum_of(each: Callable[..., Array], *arrays: Array) -> Array:
    """The sum of ``each(*arrays)``, an elementwise function of arrays of one shape.

    Arrays without axes are shared by the elements. `each` must not close over arrays.
    On the CPU what is longer than a row is summed by rows; derivatives are those of the
    plain sum, which is what other devices get.
    """
    shapes = {array.shape for array in arrays if array.ndim}
    length = max(array.size for array in arrays)
    widest = max(array.dtype.itemsize for array in arrays)
    row = _row(length, ROW // widest)
    if len(shapes) != 1 or row == length:
        return jnp.sum(each(*arrays))

    def plain(*arrays: Array) -> Array:
        return jnp.sum(each(*arrays))

    def by_rows(*arrays: Array) -> Array:
        # Barriers keep the compiler from making one long row of them again.
        keep = jax.lax.optimization_barrier
        rows = (keep(x.reshape(-1, row)) if x.ndim else x for x in arrays)
        return jnp.sum(keep(jnp.sum(each(*rows), axis=1)))

    @jax.custom_jvp
    def summed(*arrays: Array) -> Array:
        return jax.lax.platform_dependent(*arrays, cpu=by_rows, default=plain)

    def rule(primals, tangents):
        moves = [not isinstance(tangent, SymbolicZero) for tangent in tangents]

        def moved(*moving: Array) -> Array:
            moving_on = iter(moving)
            pairs = zip(primals, moves, strict=True)
            return plain(*(next(moving_on) if move else x for x, move in pairs))

        def those(which):
            return [x for x, move in zip(which, moves, strict=True) if move]

        return summed(*primals), jax.jvp(moved, those(primals), those(tangents))[1]

    summed.defjvp(rule, symbolic_zeros=True)
    return summed(*arrays)


def _row(length: int, longest: int) -> int:
    """Elements of a row, one of several equal ones; all if there are none of a use."""
    if length <= longest:
        return length
    shortest = longest // 32  # shorter ones are slower than what they are to mend
    fitting = (row for row in range(longest, shortest, -1) if length % row == 0)
    return next(fitting, length)
