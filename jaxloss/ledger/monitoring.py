"""A few numbers of the whole ledger, for a dashboard."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs
from jaxloss.ledger.records import Ledger, automatic

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def summary(
    ledger: Ledger, *, weights: ArrayLike | None = None, k: int = 10, bins: int = 30
) -> dict[str, Any]:
    r"""What a dashboard shows of a training: scalars, a histogram, the worst examples.

    The loss is the latest of each example. The keys are::

        scalars
            examples/seen             share of examples seen with a finite loss
            examples/learnt           share of those judged that were correct last time
            examples/never_learnt     share of those judged that never were
            examples/forgotten        times forgotten, mean over those judged
            examples/out_of_range     rows whose index was no example
            loss/mean
            loss/min, loss/max
            loss/quantile_0.05        and 0.25, 0.5, 0.75, 0.95
            loss/non_finite           share of all looks at which it was nan or inf
            weights/gini              with `weights` only
        histograms
            loss                      (counts, edges)
        largest
            index, loss               of the k largest losses, the largest first

    Everything is a plain dict of arrays, so that it may be computed inside ``jit``.
    ``scalars`` is what ``wandb.log`` and ``write_scalars`` of CLU take, and its items
    what ``add_scalar`` of TensorBoard takes; ``(counts, edges)`` is what
    ``wandb.Histogram(np_histogram=...)`` takes, and ``add_histogram_raw`` its parts.
    ``examples/monitoring.py`` does it.

    It sorts the losses: for once an epoch, not for every step of a large dataset.

    The index of Gini says how unequal the weights are,

    .. math:: G = \frac{\sum_{i,j} |w_i - w_j|}{2 n \sum_i w_i},

    0 when all are the same, and near 1 when a few examples have all the weight.

    Args:
        ledger: the records of N examples.
        weights: weights of the examples, shape ``(N,)``, not negative.
        k: how many of the largest losses are named.
        bins: bars of the histogram, equally wide, from the smallest to the largest
            loss.

    Returns:
        The dict above. Scalars are float32, but for ``examples/out_of_range``; counts
        and indices int32.

    Raises:
        ValueError: `weights` has another shape, `k` is not a whole number up to N, or
            `bins` not one from 1 on.

    Guarantees:
        - Of examples that were not seen, and of losses that are not finite, nothing
          enters but the shares that count them. Where nothing is left a scalar is nan,
          and there are no counts.
        - Quantiles are interpolated, as those of NumPy.
        - The counts add up to the number of examples seen.
        - Of equal losses the first by index is named first; places left over have index
          -1 and loss nan.
        - The index of Gini is 0 when all weights are 0.

    Examples:
        >>> from jaxloss import ledger
        >>> records = ledger.update(
        ...     ledger.init(3), jnp.array([2, 0]), losses=jnp.array([0.5, 1.5]))
        >>> found = ledger.summary(records, k=2)
        >>> found["scalars"]["loss/mean"], found["largest"]["index"]
        (Array(1., dtype=float32), Array([0, 2], dtype=int32))
    """
    num_examples = ledger.seen.size
    _inputs.whole("k", k, num_examples)
    _inputs.whole("bins", bins)
    _inputs.positive("bins", bins)
    if weights is not None:
        weights = jnp.asarray(weights)
        if weights.shape != ledger.seen.shape:
            raise ValueError(
                "`weights` must have one weight for each example, shape "
                f"{ledger.seen.shape}, got {weights.shape}."
            )
        weights = weights.astype(jnp.float32)
    everywhere = ledger.out_of_range
    compiled = functools.partial(_summary, k=k, bins=bins)
    return automatic(compiled, ledger, everywhere)(ledger, weights)


@functools.partial(jax.jit, static_argnames=("k", "bins"))
def _summary(
    ledger: Ledger, weights: Array | None, k: int, bins: int
) -> dict[str, Any]:
    seen, judged = ledger.seen > 0, ledger.judged > 0
    non_finite = jnp.sum(ledger.non_finite.astype(jnp.float32))
    looks = jnp.sum(ledger.seen.astype(jnp.float32)) + non_finite
    # Seen losses in order, then the unseen; a sorted array gives all that follows.
    ordered = jnp.sort(jnp.where(seen, ledger.last_loss, jnp.inf))
    size = jnp.sum(seen, dtype=jnp.int32)
    scalars = {
        "examples/seen": _mean(seen, jnp.ones_like(seen)),
        "examples/learnt": _mean(ledger.learnt, judged),
        "examples/never_learnt": _mean(ledger.first_learnt < 0, judged),
        "examples/forgotten": _mean(ledger.forgotten, judged),
        "examples/out_of_range": ledger.out_of_range,
        "loss/mean": _mean(ledger.last_loss, seen),
        "loss/min": _quantile(ordered, size, 0),
        "loss/max": _quantile(ordered, size, 1),
        "loss/non_finite": non_finite / looks,
    }
    for q in QUANTILES:
        scalars[f"loss/quantile_{q}"] = _quantile(ordered, size, q)
    if weights is not None:
        scalars["weights/gini"] = _gini(weights)
    largest, index = jax.lax.top_k(jnp.where(seen, ledger.last_loss, -jnp.inf), k)
    real = jnp.arange(k) < size
    return {
        "scalars": scalars,
        "histograms": {"loss": _histogram(ordered, size, bins)},
        "largest": {
            "index": jnp.where(real, index, -1).astype(jnp.int32),
            "loss": jnp.where(real, largest, jnp.nan),
        },
    }


def _mean(values: Array, where: Array) -> Array:
    """The mean where it counts; nan over nothing."""
    total = jnp.sum(values.astype(jnp.float32), where=where)
    return total / jnp.sum(where, dtype=jnp.int32).astype(jnp.float32)


def _quantile(ordered: Array, size: Array, q: float) -> Array:
    if ordered.size == 0:
        return jnp.asarray(jnp.nan, jnp.float32)
    # Whole numbers, as a float32 does not name every place beyond 2^24: the place is
    # q (size - 1), its whole part exact for a q of a few digits.
    whole, twentieths = divmod((size - 1), 20)
    steps = round(q * 20)
    place = whole * steps + (twentieths * steps) // 20
    part = ((twentieths * steps) % 20).astype(jnp.float32) / 20
    low, high = ordered[place], ordered[jnp.minimum(place + 1, size - 1)]
    return jnp.where(size > 0, low + part * (high - low), jnp.nan)


def _histogram(ordered: Array, size: Array, bins: int) -> tuple[Array, Array]:
    if ordered.size == 0:
        return jnp.zeros(bins, jnp.int32), jnp.linspace(0, 1, bins + 1)
    low = jnp.where(size > 0, ordered[0], 0)
    high = jnp.where(size > 0, ordered[size - 1], 1)
    edges = jnp.linspace(low, jnp.where(high > low, high, low + 1), bins + 1)
    # Every bar holds its left edge; the last one also its right.
    below = jnp.searchsorted(ordered, edges[1:-1], side="left").astype(jnp.int32)
    below = jnp.concatenate([jnp.zeros(1, jnp.int32), below, size[None]])
    return jnp.diff(below), edges


def _gini(weights: Array) -> Array:
    n = weights.size
    if n == 0:
        return jnp.zeros(())
    ordered = jnp.sort(weights)
    place = (2 * jnp.arange(n, dtype=jnp.float32) + 1) / n - 1
    total = jnp.sum(ordered)
    return jnp.sum(place * ordered) / jnp.where(total == 0, 1, total)
