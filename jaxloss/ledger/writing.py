"""Writing a batch into the ledger."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _devices, _inputs
from jaxloss.ledger.records import (
    Judgements,
    Ledger,
    Moments,
    automatic,
    joined_judgements,
    joined_means,
    joined_moments,
    judgements_of,
)


def update(
    ledger: Ledger,
    index: ArrayLike,
    *,
    losses: ArrayLike,
    margins: ArrayLike | None = None,
    label_probabilities: ArrayLike | None = None,
    correct: ArrayLike | None = None,
    probabilities: ArrayLike | None = None,
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
        label_probabilities: what the model gave the label, shape ``(batch,)``; for a
            cross-entropy without smoothing that is ``jnp.exp(-losses)``.
        correct: whether each row was predicted correctly, shape ``(batch,)``, boolean.
        probabilities: those of all classes, shape ``(batch, classes)``, for a ledger
            that keeps them.
        where: False for rows that are only padding, shape ``(batch,)``, boolean.

    Returns:
        The new records.

    Raises:
        ValueError: a shape differs from that of `index`, which must have one axis,
            `probabilities` are given to a ledger that keeps none, or, within
            `jax.shard_map`, the rows are of one device and the records of all.
        TypeError: `index` is not integer, or `correct` or `where` not boolean.

    Guarantees:
        - Rows of padding change nothing.
        - A row whose index is not in ``[0, N)``, negative ones included, is counted in
          ``out_of_range`` and written nowhere.
        - A loss, margin or probability that is not finite changes no mean, variance or
          last; a loss is counted in ``non_finite``. A row of `probabilities` with such
          an entry is left out.
        - A batch counts as its rows one after another, also when an example comes
          twice. So any split of the rows into batches gives the same, up to rounding
          in means and spreads.
        - Variances do not cancel: after 1000 losses of mean 1000 and standard deviation
          0.01 they are right to 2 %, where the difference of two sums would be noise.
        - Sharded over the examples, the records stay so, and the same is written.
        - Within `jax.shard_map`, with records sharded over the examples, an index
          counts from the first example of the device, and only ``out_of_range`` is
          summed over the devices: no row is moved.

    Examples:
        >>> from jaxloss.ledger import init
        >>> ledger = update(init(3), jnp.array([2, 0]), losses=jnp.array([0.5, 1.0]))
        >>> ledger.seen, ledger.loss.mean
        (Array([1, 0, 1], dtype=int32), Array([1. , 0. , 0.5], dtype=float32))

    References:
        Welford, *Note on a Method for Calculating Corrected Sums of Squares and
        Products*, 1962.
        Toneva et al., *An Empirical Study of Example Forgetting*, 2019.
    """
    index = jnp.asarray(index)
    if index.ndim != 1:
        raise ValueError(
            "`index` must be integers of shape (batch,), got "
            f"{index.dtype} of shape {index.shape}."
        )
    num_examples = ledger.seen.size
    row = _inputs.segments("index", index, index.shape, num_examples)
    counts = jnp.ones_like(row, jnp.bool_)
    if where is not None:
        counts = _column("where", where, index, jnp.bool_)
    columns: dict[str, Array] = {}
    for name, values, dtype in (
        ("losses", losses, jnp.float32),
        ("margins", margins, jnp.float32),
        ("label_probabilities", label_probabilities, jnp.float32),
        ("correct", correct, jnp.bool_),
    ):
        if values is not None:
            columns[name] = _column(name, values, index, dtype)
    if probabilities is not None:
        columns["probabilities"] = _probabilities(probabilities, index, ledger)
    _check_owned(ledger, (index, counts, columns))
    if index.size == 0:
        return ledger
    return automatic(_write, ledger, ledger)(ledger, row, counts, columns)


@jax.jit
def _write(
    ledger: Ledger, row: Array, counts: Array, columns: dict[str, Array]
) -> Ledger:
    num_examples = ledger.seen.size
    strays = jnp.sum(counts & (row == num_examples), dtype=jnp.int32)
    # The only number that devices which own their records share.
    axes = _devices.varying(strays) - _devices.varying(ledger.out_of_range)
    strays = jax.lax.psum(strays, tuple(sorted(axes))) if axes else strays
    order, rows = _sorted(jnp.where(counts, row, num_examples), num_examples)
    columns = {name: values[order] for name, values in columns.items()}

    def written(old: Any, joined: Callable[[Any, Any], Any], batch: Any) -> Any:
        """The records of the batch joined to those of its examples."""

        def read(records: Array) -> Array:
            return records.at[rows.row].get(mode="fill", fill_value=0)

        def write(records: Array, values: Array) -> Array:
            return records.at[rows.target].set(values, mode="drop")

        # What is written depends on what was read, or the compiler would copy all N
        # rows to be able to read after it has written.
        return jax.tree.map(write, old, joined(jax.tree.map(read, old), batch))

    bad = rows.total(~jnp.isfinite(columns["losses"]))
    new = ledger._replace(
        non_finite=written(ledger.non_finite, jnp.add, bad),
        out_of_range=ledger.out_of_range + strays,
    )
    for name, field in (
        ("losses", "loss"),
        ("margins", "margin"),
        ("label_probabilities", "label_probability"),
    ):
        if name in columns:
            moments = _moments(columns[name], rows)
            old = getattr(ledger, field)
            new = new._replace(**{field: written(old, joined_moments, moments)})
    if "correct" in columns:
        judgements = _judgements(columns["correct"], rows)
        after = written(judgements_of(ledger), joined_judgements, judgements)
        new = new._replace(**after._asdict())
    if "probabilities" in columns:
        means = _means(columns["probabilities"], rows)
        old = ledger.class_count, ledger.class_mean
        count, mean = written(old, joined_means, means)
        new = new._replace(class_count=count, class_mean=mean)
    return new


class _Rows(NamedTuple):
    """A batch sorted by example, so that the rows of each stand together, in order.

    Attributes:
        row: the example of each row; N for one to be written nowhere.
        first: where the first row of the same example is.
        place: how many rows of the same example come before.
        target: where to write what each row's example got: its first row, else N.
    """

    row: Array
    first: Array
    place: Array
    target: Array

    def total(self, values: Array) -> Array:
        """The sum over the rows of its example, at every row."""
        if values.dtype == jnp.bool_:
            values = values.astype(jnp.int32)
        return jax.ops.segment_sum(values, self.first, self.row.size, True)[self.first]

    def latest(self, counts: Array) -> Array:
        """Where the last row of its example that counts is; -1 for none."""
        here = jnp.where(counts, jnp.arange(self.row.size, dtype=jnp.int32), -1)
        return jax.ops.segment_max(here, self.first, self.row.size, True)[self.first]


def _sorted(row: Array, num_examples: int) -> tuple[Array, _Rows]:
    order = jnp.argsort(row, stable=True)
    row = row[order]
    first = jnp.searchsorted(row, row).astype(jnp.int32)
    here = jnp.arange(row.size, dtype=jnp.int32)
    return order, _Rows(
        row=row,
        first=first,
        place=here - first,
        target=jnp.where(here == first, row, num_examples),
    )


def _moments(values: Array, rows: _Rows) -> Moments:
    """The moments of each row's example over the batch."""
    finite = jnp.isfinite(values)
    count, mean = _means(values, rows)
    off = jnp.where(finite, values - mean, 0)
    latest = rows.latest(finite)
    return Moments(count, mean, rows.total(off**2), values[latest])


def _means(values: Array, rows: _Rows) -> tuple[Array, Array]:
    """Count and mean over the rows of each row's example that are finite."""
    finite = jnp.isfinite(values)
    if values.ndim > 1:
        finite = jnp.all(finite, axis=1)
    count = rows.total(finite)
    shape = (-1,) + (1,) * (values.ndim - 1)
    sums = rows.total(jnp.where(finite.reshape(shape), values, 0))
    return count, sums / jnp.maximum(count, 1).astype(sums.dtype).reshape(shape)


def _judgements(correct: Array, rows: _Rows) -> Judgements:
    """The judgements of each row's example over the batch, its rows in order."""
    before = jnp.append(False, correct[:-1])
    forgotten = (rows.place > 0) & before & ~correct
    one = jnp.ones_like(correct)
    never = jnp.iinfo(jnp.int32).max
    when = jnp.where(correct, rows.place, never)
    first = jax.ops.segment_min(when, rows.first, rows.row.size, True)[rows.first]
    return Judgements(
        judged=rows.total(one),
        correct=rows.total(correct),
        learnt=correct[rows.latest(one)],
        first_learnt=jnp.where(first == never, -1, first),
        forgotten=rows.total(forgotten),
    )


def _check_owned(ledger: Ledger, rows: Any) -> None:
    """Refuses rows of one device for records that all devices share."""
    axes = frozenset().union(*map(_devices.varying, jax.tree.leaves(rows)))
    shared = axes - _devices.varying(ledger.seen)
    if shared:
        raise ValueError(
            "Within `shard_map` the records of `ledger` must be divided among the "
            f"devices as the rows are, over {sorted(shared)}, got records that those "
            "devices share. Divide them, and give each device the rows of its own "
            "examples; or update outside of `shard_map`."
        )


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


def _probabilities(values: ArrayLike, index: Array, ledger: Ledger) -> Array:
    array = jnp.asarray(values)
    if ledger.class_mean is None:
        raise ValueError(
            "`probabilities` must go to a ledger that keeps them, got one without "
            "classes. Give `num_classes` to `ledger.init`."
        )
    wanted = (index.size, ledger.class_mean.shape[1])
    if array.shape != wanted:
        raise ValueError(
            f"`probabilities` must have shape {wanted}, got {array.shape}."
        )
    return array.astype(jnp.float32)
