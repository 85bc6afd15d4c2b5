"""Sums and means over the elements of an example, of which there may be many."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxloss._numerics.derivatives import FEW, refined

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
    """`mean` of ``each(*arrays)``, added up as the device does it fastest.

    `each` is as for `sum_of`.
    """
    if where is None:
        return sum_of(each, *arrays) / max(*(array.size for array in arrays), 1)
    where = jnp.asarray(where)
    total = _sum_of_kept(each, where, *arrays)
    return total / jnp.maximum(_count(where), 1).astype(total.dtype)


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

    def plain(*arrays: Array) -> Array:
        return jnp.sum(each(*arrays))

    def by_rows(*arrays: Array) -> Array:
        # Barriers keep the compiler from making one long row of them again.
        keep = jax.lax.optimization_barrier
        rows = (keep(x.reshape(-1, row)) if x.ndim else x for x in arrays)
        return jnp.sum(keep(jnp.sum(each(*rows), axis=1)))

    if len(shapes) != 1 or row == length:
        return plain(*arrays)
    return _on_cpu(by_rows, plain, *arrays)


def _sum_of_kept(each: Callable[..., Array], where: Array, *arrays: Array) -> Array:
    """`sum_of` what `where` keeps; what it leaves out may be nan or infinite.

    A selection within a sum is written to memory by XLA on the CPU, a product is not:
    only where that sum is not finite is the selection made there.
    """

    def plain(where: Array, *arrays: Array) -> Array:
        known = (jnp.where(where, x, 1) if x.ndim else x for x in arrays)
        return jnp.sum(jnp.where(where, each(*known), 0))

    def weighted(kept: Array, *arrays: Array) -> Array:
        values = each(*arrays)
        return values * kept.astype(values.dtype)

    def by_product(where: Array, *arrays: Array) -> Array:
        total = sum_of(weighted, _bytes(where, jnp.int8), *arrays)
        return refined(jnp.isfinite(total), total, plain, where, *arrays)

    if where.size < FEW:
        return plain(where, *arrays)
    return _on_cpu(by_product, plain, where, *arrays)


def _count(where: Array) -> Array:
    """How many are True."""

    def plain(where: Array) -> Array:
        return jnp.sum(where, dtype=jnp.int32)

    def by_bytes(where: Array) -> Array:
        # Bytes of a kind of their own: else the compiler makes the numbers of these
        # and of those in `_sum_of_kept` once, and writes them to memory.
        return jnp.sum(_bytes(where, jnp.uint8).astype(jnp.float32)).astype(jnp.int32)

    if FEW <= where.size <= 1 / jnp.finfo(jnp.float32).eps:  # exact in floats
        return _on_cpu(by_bytes, plain, where)
    return plain(where)


def _bytes(where: Array, dtype: Any) -> Array:
    """1 and 0, as numbers that XLA on the CPU reads within a sum. It reads no bool."""
    return jax.lax.optimization_barrier(where.astype(dtype))


def _on_cpu(fast: Callable[..., Array], plain: Callable[..., Array], *args: Any) -> Any:
    """``fast(*args)`` on the CPU, `plain` on other devices and for derivatives."""

    @jax.custom_jvp
    def value(*args: Array) -> Array:
        return jax.lax.platform_dependent(*args, cpu=fast, default=plain)

    def rule(primals, tangents):
        moves = [not isinstance(tangent, SymbolicZero) for tangent in tangents]

        def moved(*moving: Array) -> Array:
            moving_on = iter(moving)
            pairs = zip(primals, moves, strict=True)
            return plain(*(next(moving_on) if move else x for x, move in pairs))

        def those(which):
            return [x for x, move in zip(which, moves, strict=True) if move]

        return value(*primals), jax.jvp(moved, those(primals), those(tangents))[1]

    value.defjvp(rule, symbolic_zeros=True)
    return value(*args)


def _row(length: int, longest: int) -> int:
    """Elements of a row, one of several equal ones; all if there are none of a use."""
    if length <= longest:
        return length
    shortest = longest // 32  # shorter ones are slower than what they are to mend
    fitting = (row for row in range(longest, shortest, -1) if length % row == 0)
    return next(fitting, length)
