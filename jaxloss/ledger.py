"""What happened to each example over a training: a pytree, updated inside ``jit``."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


class Ledger(NamedTuple):
    """Running records of ``num_examples`` examples, 41 bytes each, all shape ``(N,)``.

    Examples are known by their index in the dataset, 0 to ``N - 1``.

    Attributes:
        seen: times the example was seen with a finite loss, int32.
        loss_sum: sum of those losses, float32.
        loss_squares: sum of their squares, float32.
        last_loss: the latest loss, nan before the first, float32.
        non_finite: times its loss was nan or inf, int32.
        margin_count: times it was seen with a finite margin, int32.
        margin_sum: sum of those margins, float32.
        margin_squares: sum of their squares, float32.
        correct: times its prediction was correct, int32.
        learnt: whether it was correct when last seen, bool.
        forgotten: times it went from correct to incorrect, int32.
        out_of_range: rows given to `update` whose index is no example, shape ``()``,
            int32. They were written nowhere.
    """

    seen: Array
    loss_sum: Array
    loss_squares: Array
    last_loss: Array
    non_finite: Array
    margin_count: Array
    margin_sum: Array
    margin_squares: Array
    correct: Array
    learnt: Array
    forgotten: Array
    out_of_range: Array


def init(num_examples: int) -> Ledger:
    """Returns the ledger of a dataset that has not been seen.

    Args:
        num_examples: number of examples in the dataset.

    Raises:
        ValueError: `num_examples` is negative.

    Examples:
        >>> init(3).seen
        Array([0, 0, 0], dtype=int32)
    """
    if num_examples < 0:
        raise ValueError(f"`num_examples` must not be negative, got {num_examples}.")

    def zeros(dtype: type) -> Array:
        return jnp.zeros(
            num_examples, dtype
        )  # one buffer each, so that all can be donated

    return Ledger(
        seen=zeros(jnp.int32),
        loss_sum=zeros(jnp.float32),
        loss_squares=zeros(jnp.float32),
        last_loss=jnp.full(num_examples, jnp.nan, jnp.float32),
        non_finite=zeros(jnp.int32),
        margin_count=zeros(jnp.int32),
        margin_sum=zeros(jnp.float32),
        margin_squares=zeros(jnp.float32),
        correct=zeros(jnp.int32),
        learnt=zeros(jnp.bool_),
        forgotten=zeros(jnp.int32),
        out_of_range=jnp.zeros((), jnp.int32),
    )


def update(
    ledger: Ledger,
    index: ArrayLike,
    *,
    losses: ArrayLike,
    margins: ArrayLike | None = None,
    correct: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Ledger:
    """Writes one batch into the ledger.

    A pure function, meant to run inside the training step. Donate the ledger
    (``jax.jit(step, donate_argnums=...)``) and only the rows of the batch are touched,
    however large the dataset.

    Args:
        ledger: the records so far.
        index: which example each row is, shape ``(batch,)``, integer.
        losses: loss of each row, shape ``(batch,)``.
        margins: margin of each row (`jaxloss.losses.margin`), shape ``(batch,)``.
        correct: whether each row was predicted correctly, shape ``(batch,)``, boolean.
        where: False for rows that are only padding, shape ``(batch,)``, boolean.

    Returns:
        The new records.

    Raises:
        ValueError: a shape differs from that of `index`, which must have one axis.
        TypeError: `index` is not integer, or `correct` or `where` not boolean.

    Guarantees:
        - Rows of padding change nothing.
        - A row whose index is not in ``[0, N)``, negative ones included, is counted in
          ``out_of_range`` and written nowhere.
        - A loss or margin that is not finite spoils no sum; a loss is counted in
          ``non_finite``.
        - An example that comes twice in a batch counts twice; what is kept of the last
          time only (``last_loss``, ``learnt``) is from its last row.

    Examples:
        >>> ledger = update(init(3), jnp.array([2, 0]), losses=jnp.array([0.5, 1.0]))
        >>> ledger.seen, ledger.loss_sum
        (Array([1, 0, 1], dtype=int32), Array([1. , 0. , 0.5], dtype=float32))
    """
    index = jnp.asarray(index)
    if index.ndim != 1 or not jnp.issubdtype(index.dtype, jnp.integer):
        raise (ValueError if index.ndim != 1 else TypeError)(
            "`index` must be integers of shape (batch,), got "
            f"{index.dtype} of shape {index.shape}."
        )
    num_examples = ledger.seen.size
    counts = jnp.ones_like(index, jnp.bool_)
    if where is not None:
        counts = _column("where", where, index, jnp.bool_)
    known = (index >= 0) & (index < num_examples)
    row = jnp.where(counts & known, index, num_examples).astype(jnp.int32)
    last_row = _last_of_each(row, num_examples)

    losses = _column("losses", losses, index, jnp.float32)
    finite = jnp.isfinite(losses)
    safe = jnp.where(finite, losses, 0)
    new = ledger._replace(
        seen=_add(ledger.seen, row, finite),
        loss_sum=_add(ledger.loss_sum, row, safe),
        loss_squares=_add(ledger.loss_squares, row, safe**2),
        last_loss=ledger.last_loss.at[last_row].set(losses, mode="drop"),
        non_finite=_add(ledger.non_finite, row, ~finite),
        out_of_range=ledger.out_of_range + jnp.sum(counts & ~known, dtype=jnp.int32),
    )
    if margins is not None:
        margins = _column("margins", margins, index, jnp.float32)
        finite = jnp.isfinite(margins)
        safe = jnp.where(finite, margins, 0)
        new = new._replace(
            margin_count=_add(ledger.margin_count, row, finite),
            margin_sum=_add(ledger.margin_sum, row, safe),
            margin_squares=_add(ledger.margin_squares, row, safe**2),
        )
    if correct is not None:
        correct = _column("correct", correct, index, jnp.bool_)
        before = ledger.learnt.at[row].get(mode="fill", fill_value=False)
        # What is written depends on what was read, or the compiler copies all N rows
        # to be able to read after it has written.
        after = before != (before != correct)
        new = new._replace(
            correct=_add(ledger.correct, row, correct),
            learnt=ledger.learnt.at[last_row].set(after, mode="drop"),
            forgotten=_add(ledger.forgotten, last_row, before & ~correct),
        )
    return new


def loss_mean(ledger: Ledger) -> Array:
    """Mean loss of each example, shape ``(N,)``; nan for one never seen."""
    return _mean(ledger.loss_sum, ledger.seen)


def loss_variance(ledger: Ledger) -> Array:
    """Variance over time of each example's loss, shape ``(N,)``; nan if never seen."""
    return _variance(ledger.loss_sum, ledger.loss_squares, ledger.seen)


def margin_mean(ledger: Ledger) -> Array:
    """Mean margin of each example, shape ``(N,)``; nan for one never seen."""
    return _mean(ledger.margin_sum, ledger.margin_count)


def margin_variance(ledger: Ledger) -> Array:
    """Variance over time of each example's margin, shape ``(N,)``; nan if unseen."""
    return _variance(ledger.margin_sum, ledger.margin_squares, ledger.margin_count)


def _mean(total: Array, count: Array) -> Array:
    return total / count.astype(total.dtype)


def _variance(total: Array, squares: Array, count: Array) -> Array:
    return jnp.maximum(_mean(squares, count) - _mean(total, count) ** 2, 0)


def _add(records: Array, row: Array, values: Array) -> Array:
    return records.at[row].add(values.astype(records.dtype), mode="drop")


def _last_of_each(row: Array, num_examples: int) -> Array:
    """The rows, those dropped that come again later in the batch."""
    if row.size == 0:
        return row
    order = jnp.argsort(row, stable=True)
    ordered = row[order]
    again = jnp.append(ordered[1:] == ordered[:-1], False)
    return row.at[order].set(jnp.where(again, num_examples, ordered))


def _column(name: str, values: ArrayLike, index: Array, dtype: type) -> Array:
    column = jnp.asarray(values)
    if column.shape != index.shape:
        raise ValueError(
            f"`{name}` must have the shape of `index`, {index.shape}, got "
            f"{column.shape}. One value belongs to one row."
        )
    if dtype == jnp.bool_ and column.dtype != jnp.bool_:
        raise TypeError(f"`{name}` must be boolean, got {column.dtype}.")
    return column.astype(dtype)
