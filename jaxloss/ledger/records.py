"""The records of each example, and how those of two times become one."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import AxisType, NamedSharding, PartitionSpec, Sharding

from jaxloss import _inputs


class Moments(NamedTuple):
    """One number of each example over time: 16 bytes, all shape ``(N,)``.

    Only finite values count. The spread is kept as deviations from the mean, since the
    difference of two large sums would lose it.

    Attributes:
        times: how many values there were, int32.
        mean: their mean, 0 before the first, float32.
        squares: sum of the squares of their deviations from that mean, float32.
        last: the latest of them, nan before the first, float32.
    """

    times: Array
    mean: Array
    squares: Array
    last: Array


class Ledger(NamedTuple):
    """Running records of ``num_examples`` examples, 69 bytes each.

    With class probabilities it is ``4 (classes + 1)`` bytes more. All arrays have shape
    ``(N,)`` where nothing else is said.

    ``seen``, ``last_loss``, ``margin_count``, and the sums ``loss_sum``,
    ``loss_squares``, ``margin_sum`` and ``margin_squares`` (of values and of their
    squares) are read from the moments.

    Attributes:
        loss: the `Moments` of its loss.
        margin: the `Moments` of its margin.
        label_probability: the `Moments` of the probability of its label.
        non_finite: times its loss was nan or inf, int32.
        judged: times it was said whether its prediction was correct, int32.
        correct: times it was, int32.
        learnt: whether it was when last judged, bool.
        first_learnt: how many times it had been judged before it was correct for the
            first time, int32: the epoch, counted from 0, when every epoch judges it
            once. -1 if it never was.
        forgotten: times it went from correct to incorrect, int32.
        class_count: times its class probabilities were given, int32; None in a
            ledger without classes.
        class_mean: their mean, shape ``(N, C)``, float32; None in a ledger without
            classes.
        out_of_range: rows given to `update` whose index is no example, shape ``()``,
            int32. They were written nowhere.
    """

    loss: Moments
    margin: Moments
    label_probability: Moments
    non_finite: Array
    judged: Array
    correct: Array
    learnt: Array
    first_learnt: Array
    forgotten: Array
    class_count: Array | None
    class_mean: Array | None
    out_of_range: Array

    @property
    def seen(self) -> Array:
        return self.loss.times

    @property
    def last_loss(self) -> Array:
        return self.loss.last

    @property
    def loss_sum(self) -> Array:
        return _sum(self.loss)

    @property
    def loss_squares(self) -> Array:
        return _sum_of_squares(self.loss)

    @property
    def margin_count(self) -> Array:
        return self.margin.times

    @property
    def margin_sum(self) -> Array:
        return _sum(self.margin)

    @property
    def margin_squares(self) -> Array:
        return _sum_of_squares(self.margin)


class Judgements(NamedTuple):
    """The part of a ledger that says when predictions were correct."""

    judged: Array
    correct: Array
    learnt: Array
    first_learnt: Array
    forgotten: Array


def init(
    num_examples: int,
    num_classes: int | None = None,
    *,
    sharding: Sharding | None = None,
) -> Ledger:
    """Returns the ledger of a dataset that has not been seen.

    Args:
        num_examples: number of examples in the dataset.
        num_classes: number of classes, to keep the mean of the class probabilities as
            well; None to do without.
        sharding: how to lay the examples over devices, of this and of other processes,
            such as ``NamedSharding(mesh, PartitionSpec("examples"))``; None for one
            device.

    Raises:
        ValueError: a number is not whole, or below 0; or `sharding` cannot divide it.

    Examples:
        >>> init(3).seen
        Array([0, 0, 0], dtype=int32)
    """
    _inputs.whole("num_examples", num_examples)
    if num_classes is not None:
        _inputs.whole("num_classes", num_classes)
    if sharding is None:
        return _new(num_examples, num_classes)
    new = functools.partial(_new, num_examples, num_classes)
    layout = jax.tree.map(
        lambda array: sharding if array.ndim else of_all(sharding), jax.eval_shape(new)
    )
    return jax.jit(new, out_shardings=layout)()


def of_all(sharding: Sharding) -> Sharding:
    """How to lay out what the devices of a sharding share."""
    if isinstance(sharding, NamedSharding):
        return NamedSharding(sharding.mesh, PartitionSpec())
    return sharding


def _new(num_examples: int, num_classes: int | None) -> Ledger:
    # One buffer for each record, so that all of them can be donated.
    def full(value: float, dtype: type) -> Array:
        return jnp.full(num_examples, value, dtype)

    def moments() -> Moments:
        return Moments(
            times=full(0, jnp.int32),
            mean=full(0, jnp.float32),
            squares=full(0, jnp.float32),
            last=full(jnp.nan, jnp.float32),
        )

    class_count = class_mean = None
    if num_classes is not None:
        class_count = full(0, jnp.int32)
        class_mean = jnp.zeros((num_examples, num_classes), jnp.float32)
    return Ledger(
        loss=moments(),
        margin=moments(),
        label_probability=moments(),
        non_finite=full(0, jnp.int32),
        judged=full(0, jnp.int32),
        correct=full(0, jnp.int32),
        learnt=full(False, jnp.bool_),
        first_learnt=full(-1, jnp.int32),
        forgotten=full(0, jnp.int32),
        class_count=class_count,
        class_mean=class_mean,
        out_of_range=jnp.zeros((), jnp.int32),
    )


def grow(ledger: Ledger, num_examples: int) -> Ledger:
    """Makes room for further examples at the end of the dataset, not yet seen.

    Args:
        ledger: the records so far, of N examples.
        num_examples: how many examples there are from now on, at least N.

    Returns:
        The records of all of them. Compiled functions compile anew for them.

    Raises:
        ValueError: `num_examples` is not a whole number, or below N.

    Guarantees:
        - The first N examples keep their records, to the last bit.
        - The others are as in a new ledger.

    Examples:
        >>> grow(init(2), 4).first_learnt
        Array([-1, -1, -1, -1], dtype=int32)
    """
    _inputs.whole("num_examples", num_examples)
    old = ledger.seen.size
    if num_examples < old:
        raise ValueError(
            f"`num_examples` must be at least {old}, the size of the ledger, got "
            f"{num_examples}. Records of single examples are left out by indexing."
        )
    classes = None if ledger.class_mean is None else ledger.class_mean.shape[1]
    rest = init(num_examples - old, classes)

    def longer(records: Array, more: Array) -> Array:
        return jnp.concatenate([records, more]) if records.ndim else records

    return jax.tree.map(longer, ledger, rest)


def merge(earlier: Ledger, later: Ledger) -> Ledger:
    r"""Joins the records of two times of one dataset, such as of two trainings.

    Counts and sums add up; means and spreads are joined by

    .. math:: m = m_1 + (m_2 - m_1) \frac{n_2}{n}, \qquad
        S = S_1 + S_2 + (m_2 - m_1)^2 \frac{n_1 n_2}{n}.

    Args:
        earlier: the records of the first time.
        later: those of the second time, of the same examples.

    Returns:
        The records of both.

    Raises:
        ValueError: the numbers of examples or of classes differ.

    Guarantees:
        - What `update` gives for all batches of the first time followed by all of the
          second: also what is last, whether it is learnt, when it first was, and that
          it was forgotten from the one to the other. Up to rounding in means and
          spreads.
        - For times that overlap, such as of two hosts that shared the batches of one
          training, counts, means and spreads are right still; what depends on the
          order is as if `later` came after `earlier`.

    Examples:
        >>> from jaxloss.ledger import loss_mean, update
        >>> index, yes = jnp.array([0]), jnp.array([True])
        >>> one = update(init(1), index, losses=jnp.array([3.0]), correct=~yes)
        >>> two = update(init(1), index, losses=jnp.array([1.0]), correct=yes)
        >>> both = merge(one, two)
        >>> loss_mean(both), both.last_loss, both.first_learnt
        (Array([2.], dtype=float32), Array([1.], dtype=float32),
         Array([1], dtype=int32))

    References:
        Chan et al., *Updating Formulae and a Pairwise Algorithm for Computing Sample
        Variances*, 1979.
    """
    shapes = [
        (part.seen.shape, None if part.class_mean is None else part.class_mean.shape)
        for part in (earlier, later)
    ]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "`later` must have the examples and classes of `earlier`, "
            f"{_in_words(earlier)}, got {_in_words(later)}. "
            "For a dataset that has grown use `ledger.grow` first."
        )
    classes = None, None
    one, two = (_classes(part) for part in (earlier, later))
    if one is not None and two is not None:
        classes = joined_means(one, two)
    judgements = joined_judgements(judgements_of(earlier), judgements_of(later))
    return Ledger(
        loss=joined_moments(earlier.loss, later.loss),
        margin=joined_moments(earlier.margin, later.margin),
        label_probability=joined_moments(
            earlier.label_probability, later.label_probability
        ),
        non_finite=earlier.non_finite + later.non_finite,
        class_count=classes[0],
        class_mean=classes[1],
        out_of_range=earlier.out_of_range + later.out_of_range,
        **judgements._asdict(),
    )


def joined_moments(earlier: Moments, later: Moments) -> Moments:
    """The moments of both times together."""
    times, mean = joined_means(earlier[:2], later[:2])
    off = later.mean - earlier.mean
    n = jnp.maximum(times, 1).astype(off.dtype)
    both = earlier.times.astype(off.dtype) * (later.times.astype(off.dtype) / n)
    return Moments(
        times=times,
        mean=mean,
        # In this order a factor of 0 comes in before the square can overflow.
        squares=earlier.squares + later.squares + off * (off * both),
        last=jnp.where(later.times > 0, later.last, earlier.last),
    )


def joined_means(
    earlier: tuple[Array, Array], later: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Count and mean of both times; a mean may have further axes."""
    (count, mean), (more, other) = earlier, later
    total = count + more
    share = more.astype(mean.dtype) / jnp.maximum(total, 1).astype(mean.dtype)
    share = share.reshape(share.shape + (1,) * (mean.ndim - 1))
    return total, mean + (other - mean) * share


def judgements_of(ledger: Ledger) -> Judgements:
    return Judgements(*(getattr(ledger, name) for name in Judgements._fields))


def joined_judgements(earlier: Judgements, later: Judgements) -> Judgements:
    """The judgements of both times, one after the other."""
    began_incorrect = (later.judged > 0) & (later.first_learnt != 0)
    forgotten = (earlier.learnt & began_incorrect).astype(jnp.int32)
    learnt_later = later.first_learnt + jnp.where(
        later.first_learnt >= 0, earlier.judged, 0
    )
    return Judgements(
        judged=earlier.judged + later.judged,
        correct=earlier.correct + later.correct,
        learnt=jnp.where(later.judged > 0, later.learnt, earlier.learnt),
        first_learnt=jnp.where(
            earlier.first_learnt >= 0, earlier.first_learnt, learnt_later
        ),
        forgotten=earlier.forgotten + later.forgotten + forgotten,
    )


def automatic(function: Callable[..., Any], ledger: Ledger, out: Any) -> Any:
    """The function, with the compiler to lay out what is within, also where the mesh
    of the ledger has explicit axes. What it returns is laid out as `out`.
    """
    mesh = jax.typeof(ledger.seen).sharding.mesh
    if AxisType.Explicit not in mesh.axis_types:
        return function
    layout = jax.tree.map(lambda array: jax.typeof(array).sharding, out)
    return jax.sharding.auto_axes(function, out_sharding=layout)


def _sum(moments: Moments) -> Array:
    return moments.mean * moments.times.astype(moments.mean.dtype)


def _sum_of_squares(moments: Moments) -> Array:
    return moments.squares + _sum(moments) * moments.mean


def _classes(ledger: Ledger) -> tuple[Array, Array] | None:
    if ledger.class_count is None or ledger.class_mean is None:
        return None
    return ledger.class_count, ledger.class_mean


def _in_words(ledger: Ledger) -> str:
    classes = "no" if ledger.class_mean is None else ledger.class_mean.shape[1]
    return f"{ledger.seen.size} examples and {classes} classes"
