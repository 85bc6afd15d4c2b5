"""Sums and means over the elements of an example, of which there may be many."""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

#: Elements up to which XLA on the CPU adds faster one by one: that it does for several
#: examples at once, a sum it takes example by example.
ONE_BY_ONE = 16

#: The same for the classes of an example, over which there is more than one sum.
FEW_CLASSES = 48

#: Elements from which on a plain sum takes XLA on the CPU several times as long.
MANY = 2**14

#: Of more terms XLA on the CPU takes no conversion into a loop: it writes the example
#: in float32 before, which of bfloat16 takes up to six times as long as the loop.
MOST_TERMS = 15

#: So many that it reads what is written.
MANY_TERMS = range(MOST_TERMS + 1, 33)


def mean(values: Array, where: ArrayLike | None = None) -> Array:
    """Averages over the elements kept by `where`; 0 when there are none."""
    if where is None:
        return jnp.sum(values) / max(values.size, 1)
    where = jnp.asarray(where)
    count = jnp.maximum(jnp.sum(where, dtype=jnp.int32), 1)
    return jnp.sum(jnp.where(where, values, 0)) / count.astype(values.dtype)


def mean_of(
    each: Callable[..., Array],
    *arrays: Array,
    where: ArrayLike | None = None,
    cheap: bool = False,
) -> Array:
    """`mean` of ``each(*arrays)``, added up as `sum_of` does.

    What `where` leaves out may be anything, also nan.
    """
    if where is None:
        total = sum_of(each, *arrays, cheap=cheap)
        return total / max(*(array.size for array in arrays), 1)
    where = jnp.asarray(where)
    wide = [array.ndim > 0 for array in arrays]

    def kept(where: Array, *arrays: Array) -> Array:
        pairs = zip(arrays, wide, strict=True)
        known = (jnp.where(where, x, 1) if one_each else x for x, one_each in pairs)
        return jnp.where(where, each(*known), 0)

    total = sum_of(kept, where, *arrays)
    return total / jnp.maximum(_count(where), 1).astype(total.dtype)


def _count(where: Array) -> Array:
    if where.size > 1 / jnp.finfo(jnp.float32).eps:  # not exact in these
        return jnp.sum(where, dtype=jnp.int32)
    return sum_of(lambda kept: kept.astype(jnp.float32), where)


def sum_of(
    each: Callable[..., Any],
    *arrays: Array,
    cheap: bool = False,
    written: bool = False,
    one_by_one_up_to: int = ONE_BY_ONE,
) -> Any:
    """The sum of ``each(*arrays)``, an elementwise function of arrays of one shape.

    Where `each` gives a tuple there are several sums, made in one pass. Arrays without
    axes are shared by the elements. `each` must not close over arrays. On the CPU few
    elements are added one by one, and of more it is the sum of `column_sums`, unless
    `each` is cheap, of few operations that a plain sum makes fast, and there are not
    very many. What is `written` to memory in any case, for a branch that takes it, is
    read there: a loop in which a layer or a conversion is made again may be half as
    fast. Derivatives are those of the plain sum, which is what other devices get.
    """
    shapes = {array.shape for array in arrays if array.ndim}
    length = _length(arrays)

    def plain(*arrays: Array) -> Any:
        return jax.tree.map(jnp.sum, each(*arrays))

    def kept_apart(*arrays: Array) -> Any:
        return jax.tree.map(_known, plain(*arrays))

    def one_by_one(*arrays: Array) -> Any:
        return _added(_one_by_one(each, arrays))

    def by_columns(*arrays: Array) -> Any:
        totals = jnp.sum(column_sums(each, *arrays, written=written), -1)
        return tuple(totals) if totals.ndim else totals

    if len(shapes) != 1 or length < 2:
        return plain(*arrays)
    if length <= one_by_one_up_to:
        return _on_cpu(one_by_one, plain, *arrays)
    if cheap and length < MANY:
        return _on_cpu(kept_apart, plain, *arrays)
    return _on_cpu(by_columns, plain, *arrays)


sum_of_classes = partial(sum_of, one_by_one_up_to=FEW_CLASSES)
"""`sum_of` the classes of an example."""


def column_sums(
    each: Callable[..., Any], *arrays: Array, written: bool = False
) -> Array:
    """Sums of ``each(*arrays)`` over columns, some of them of blocks.

    If each is a tuple, the sums of its parts are the rows. XLA on the CPU makes one
    loop of it, where of a sum over neighbours it makes one for every operation in turn,
    and none for selections, which it writes to memory before. Without a selection here,
    the sum of these sums would take them in.
    """
    length, several = _length(arrays), isinstance(jax.eval_shape(each, *arrays), tuple)
    if several or written:
        terms = MANY_TERMS if written else range(2, MANY_TERMS.stop)
        blocks, columns = 1, columns_of(length, terms, 32)
    else:
        blocks, columns = blocks_of(length, (128,) if 512 < length <= 2048 else ())
    *values, last = _terms_of_columns(each, arrays, blocks, columns)
    twice = (len(values) + 1) * columns - length // blocks
    if twice:  # by a constant array, which the loop reads faster than it counts
        first = np.arange(columns) < twice
        last = jax.tree.map(lambda x: jnp.where(first, 0, x), last)
    sums = _added([*values, last])
    sums = _as_rows(sums) if several else sums
    sums = _known(sums)
    return sums if several else sums.ravel()  # before it, a loop of single numbers


def _known(sums: Array) -> Array:
    """The same, of which the compiler takes nothing that comes after into the sums.

    A plain sum that also divides is made by one thread for 65536 examples and more.
    """
    return jnp.where(sums == sums, sums, jnp.nan)


def sum_of_column(
    each: Callable[..., Any], x: Array, *shared: Array, place: Array, columns: int
) -> Any:
    """One of so many `column_sums` again: of ``each(element, *shared)``.

    The sums must be several, for these are not of blocks. Of elements that another
    column has, -inf is in their place.
    """
    *starts, last = _starts(x.size, columns)
    elements = [_element(x, start + place) for start in starts]
    twice = (len(starts) + 1) * columns - x.size
    elements.append(jnp.where(place < twice, -jnp.inf, _element(x, last + place)))
    term = jax.jit(each, inline=True)  # traced once
    return _added(term(element, *shared) for element in elements)


def _element(x: Array, place: Array) -> Array:
    return jax.lax.dynamic_index_in_dim(x, place, keepdims=False)


def _as_rows(arrays: Sequence[Array]) -> Array:
    """The arrays beside one another, each made for itself, example by example.

    Of what stacks them, the compiler would make all of the first, then of the second.
    """
    zero, after = jnp.zeros((), arrays[0].dtype), len(arrays) - 1
    rows = [
        jax.lax.pad(row[None], zero, ((place, after - place, 0), (0, 0, 0)))
        for place, row in enumerate(arrays)
    ]
    return _added(rows)


def _added(values: Iterable[Any]) -> Any:
    return functools.reduce(partial(jax.tree.map, jax.lax.add), values)


def highest_of(each: Callable[..., Array], *arrays: Array) -> Array:
    """The highest of ``each(*arrays)``, nan if one is; by columns, for the CPU."""
    length = _length(arrays)
    if length <= ONE_BY_ONE:
        return once(functools.reduce(_higher, _one_by_one(each, arrays)))
    blocks = blocks_of(length, range(16 * MOST_TERMS, 159, -1))
    terms = _terms_of_columns(each, arrays, *blocks)
    columns = once(functools.reduce(_higher, terms))
    while columns.ndim > 1:  # the columns of blocks, some of them together
        height = math.ceil(len(columns) / ONE_BY_ONE)
        starts = _starts(len(columns), height)
        rows = [columns[i : i + height] if height > 1 else columns[i] for i in starts]
        columns = once(functools.reduce(_higher, rows))
    return highest_of(lambda x: x, columns)


def once(x: Array) -> Array:
    """The same, but not made again for each use.

    Of cheap operations the compiler does that; of a division, here by 1, it does not.
    """
    return x / (1 + jnp.minimum(jnp.square(x), 0))


def _higher(x: Array, y: Array) -> Array:
    return jnp.where((x >= y) | (x != x), x, y)  # a maximum may lose a nan


def _one_by_one(each: Callable[..., Any], arrays: tuple[Array, ...]) -> list[Any]:
    flat = [x.ravel() if x.ndim else x for x in arrays]
    return _terms(each, range(_length(arrays)), flat)


def _terms_of_columns(
    each: Callable[..., Any], arrays: tuple[Array, ...], blocks: int, columns: int
) -> list[Any]:
    """The rows of the columns of each block."""
    size = _length(arrays) // blocks
    rows = [(..., slice(start, start + columns)) for start in _starts(size, columns)]
    shape = (blocks, size) if blocks > 1 else (size,)
    return _terms(each, rows, [x.reshape(shape) if x.ndim else x for x in arrays])


def _length(arrays: tuple[Array, ...]) -> int:
    return max(array.size for array in arrays)


def _starts(length: int, part: int) -> list[int]:
    """Of the parts of this length; the last may start within the one before it."""
    return [*range(0, length - part, part), length - part]


def blocks_of(length: int, sizes: Iterable[int]) -> tuple[int, int]:
    """Blocks of the first of these sizes that divides, and columns of each.

    A loop then reads the elements in the order they have in memory, which is faster
    where that is not in a cache near by. Of several sums XLA writes one conversion for
    the blocks and one for all else, so these have none. One block where no such size
    divides.
    """
    for size in sizes:
        if length % size == 0:
            return length // size, 16
    return 1, columns_of(length)


def columns_of(
    length: int, terms: range = range(2, MOST_TERMS + 1), least: int = 128
) -> int:
    """Columns, a multiple of 16, of which a loop is made.

    Those that take few elements twice and have about 8 terms, of long examples 15; or
    32, where several sums write down their columns. Their terms do not lie a KiB apart
    or several: all of them would be in a few places of the nearest cache.
    """
    wanted = min(max(length / least, 8), terms.stop - 1)

    def columns(terms: int) -> int:
        width = 16 * math.ceil(length / terms / 16)
        return width + 16 * (width % 256 == 0)

    def cost(terms: int) -> float:
        taken = terms * columns(terms) / length
        return taken + 0.1 * abs(math.log2(terms / wanted))

    return columns(min((n for n in terms if columns(n) <= length), key=cost))


def _terms(
    each: Callable[..., Any], places: Iterable[Any], arrays: Iterable[Array]
) -> list[Any]:
    """``each(*arrays)`` in each of these places."""
    term = jax.jit(each, inline=True)  # traced once
    return [term(*(x[place] if x.ndim else x for x in arrays)) for place in places]


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
