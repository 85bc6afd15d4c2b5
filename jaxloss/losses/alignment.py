"""Losses that judge a series against another one whose timing may differ."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _devices, _inputs, _numerics


def soft_dtw(
    predictions: ArrayLike,
    targets: ArrayLike,
    prediction_length: ArrayLike,
    target_length: ArrayLike,
    /,
    *,
    gamma: float | Array = 1.0,
    bandwidth: int | None = None,
) -> Array:
    r"""Squared error of two series after warping the time of each, softly minimised.

    An alignment :math:`A` is a path of pairs from the first of both series to the last
    of both, which advances one or both of them by one at each step:

    .. math:: \ell(x, y) = -\gamma \log \sum_A \exp\Bigl(-\frac1\gamma
        \sum_{(i, j) \in A} \lVert x_i - y_j \rVert^2\Bigr)

    For ``gamma`` to 0 this is dynamic time warping, the cost of the best alignment; it
    is below it by at most ``gamma`` times the logarithm of the number of alignments.

    Args:
        predictions: shape ``(steps, features)``, floating.
        targets: shape ``(target steps, features)``.
        prediction_length: how many steps of `predictions` count, shape ``()``, integer.
            The others are padding and may hold anything.
        target_length: how many steps of `targets` count, shape ``()``, integer. The
            others are padding and may hold anything.
        gamma: how soft the minimum is, above 0, in the unit of the loss.
        bandwidth: pair only steps whose indices differ by at most this (Sakoe & Chiba);
            None pairs all.

    Returns:
        The loss, shape ``()``, float32 or wider, in the squared unit of `predictions`.

    Raises:
        ValueError: a shape is wrong, `gamma` is a number not above 0, or `bandwidth` is
            not a whole number.
        TypeError: `predictions` are not floating, or lengths are not integers.

    Guarantees:
        - It may be negative, and is not least where the series are equal: many
          alignments of equal cost cost less than one.
        - The gradient is the true one: by a pair's cost, how probable the pair is in an
          alignment drawn with probability proportional to its exponential above. For
          small `gamma` equally good alignments share.
        - ``inf``, with gradient 0, when there is no alignment: one series is empty and
          the other is not, or the lengths differ by more than `bandwidth`. Two empty
          series cost 0.
        - ``nan``, with gradient 0, for a length that is negative or beyond its array,
          for a step that holds nan, and for a traced `gamma` not above 0.
        - Nothing in the padding reaches value or gradient, not even nan.

    Examples:
        >>> from jaxloss import per_sample
        >>> x, y = jnp.array([[0.0], [0.0], [1.0]]), jnp.array([[0.0], [1.0], [1.0]])
        >>> soft_dtw(x, y, 3, 3, gamma=0.01).round(4)  # time can be warped at no cost
        Array(0., dtype=float32)
        >>> lengths = jnp.array([3, 2])
        >>> kernel = per_sample(soft_dtw, gamma=0.01)
        >>> kernel(jnp.stack([x, x]), jnp.stack([y, y]), lengths, lengths).round(4)
        Array([0.    , 0.9931], dtype=float32)

    References:
        Cuturi & Blondel, *Soft-DTW: a Differentiable Loss Function for Time-Series*,
        2017; Sakoe & Chiba, *Dynamic Programming Algorithm Optimization for Spoken Word
        Recognition*, 1978.
    """
    _inputs.positive("gamma", gamma)
    if bandwidth is not None:
        _inputs.whole("bandwidth", bandwidth)
    predictions, targets = _inputs.related(
        (("steps", "features"), ("target steps", "features")),
        predictions=predictions,
        targets=targets,
    )
    gamma = _inputs.option("gamma", gamma, (), predictions)
    predictions, row_is_real, rows = _inputs.unpadded(
        "predictions", predictions, "prediction_length", prediction_length
    )
    targets, column_is_real, columns = _inputs.unpadded(
        "targets", targets, "target_length", target_length
    )
    allowed = row_is_real[:, None] & column_is_real[None]
    if bandwidth is not None:
        row, column = jnp.indices(allowed.shape, sparse=True)
        allowed &= jnp.abs(row - column) <= bandwidth
    cost = jax.vmap(jax.vmap(_squared_distance, (None, 0)), (0, None))(
        predictions, targets
    )
    valid = (rows >= 0) & (columns >= 0) & (gamma > 0)
    valid &= ~jnp.any(jnp.isnan(cost) & allowed)
    # In units of gamma, so that the recursion needs no gamma, nor a derivative by it.
    cost = jnp.where(allowed & valid, _numerics.ratio(cost, gamma), jnp.inf)
    loss = _numerics.times(gamma, _surprise(cost, rows, columns))
    return jnp.where(valid, loss, jnp.nan)


@_numerics.slopes(lambda x, y: 2 * (x - y), lambda x, y: 2 * (y - x))
def _squared_distance(x: Array, y: Array) -> Array:
    return jnp.sum((x - y) ** 2)


class _Front(NamedTuple):
    """Log-weights of the alignments up to a pair, by the pair's row.

    Pairs of one diagonal, whose row and column have the same sum, do not need each
    other. Row 0 stands before the first step of the predictions.
    """

    older: Array  # [T + 1], of the diagonal before the last
    newer: Array  # [T + 1], of the last
    scale: Array  # [], to be added to both: it keeps them small, and so exact


@jax.custom_jvp
def _surprise_of(cost: Array, rows: Array, columns: Array) -> Array:
    """-log(sum(exp(-cost of an alignment))) over the alignments of rows and columns."""
    return _forward(cost, rows, columns)[1]


@_surprise_of.defjvp
def _surprise_of_jvp(primals, tangents):
    cost, rows, columns = primals
    fronts, surprise = _forward(cost, rows, columns)
    expected = _expected_alignment(cost, rows, columns, fronts, surprise)
    return surprise, jnp.sum(expected * tangents[0])


# Called outside of jit, a scan would be compiled anew each time.
_surprise = jax.jit(_surprise_of)


def _forward(cost: Array, rows: Array, columns: Array) -> tuple[_Front, Array]:
    """The fronts before each diagonal, and the surprise."""
    start = jnp.where(jnp.arange(len(cost) + 1) == 0, 0, -jnp.inf).astype(cost.dtype)
    nothing = jnp.full_like(start, -jnp.inf)

    def step(front: _Front, cost: Array) -> tuple[_Front, tuple[_Front, Array]]:
        top = jnp.max(jnp.maximum(front.older, front.newer))
        top = jnp.where(top > -jnp.inf, jax.lax.stop_gradient(top), 0)
        front = _Front(front.older - top, front.newer - top, front.scale + top)
        column_on, row_on, both_on = _from_before(front)
        one_on = _numerics.log_sum(column_on, row_on)
        new = _numerics.log_sum(one_on, both_on) - cost
        end = new.at[rows].get(mode="clip") + front.scale
        return _Front(front.newer, new, front.scale), (front, end)

    front = _Front(nothing, start, jnp.zeros_like(start[0]))
    front = _devices.varying_as(front, (cost, rows, columns))
    _, (fronts, ends) = jax.lax.scan(step, front, _by_diagonal(cost))
    ends = jnp.concatenate([start[:1], ends])
    return fronts, 0 - ends.at[rows + columns].get(mode="clip")


def _from_before(front: _Front) -> tuple[Array, Array, Array]:
    """What a pair can follow; the wrap-around to row 0 meets an infinite cost."""
    return front.newer, jnp.roll(front.newer, 1), jnp.roll(front.older, 1)


def _expected_alignment(
    cost: Array, rows: Array, columns: Array, fronts: _Front, surprise: Array
) -> Array:
    """How probable each pair is, told backwards, from the last pair on.

    Each probability is split among where it may come from, so nothing can underflow but
    what does not matter.
    """
    diagonals = jnp.arange(sum(cost.shape), dtype=jnp.int32)
    row = jnp.arange(len(cost) + 1, dtype=jnp.int32)

    def step(coming: tuple[Array, Array], here: tuple[_Front, Array]):
        near, far = coming  # for this diagonal, and for the one before
        front, diagonal = here
        is_last = (row == rows) & (diagonal + 1 == rows + columns)
        pairs = near + (is_last & (surprise < jnp.inf)).astype(near.dtype)
        column_on, row_on, both_on = _from_before(front)
        by_both = _numerics.share_of_sum(both_on, _numerics.log_sum(column_on, row_on))
        by_column = _numerics.share_of_sum(column_on, row_on)
        by_one = pairs * (1 - by_both)
        near = far + by_one * by_column + jnp.roll(by_one * (1 - by_column), -1)
        return (near, jnp.roll(pairs * by_both, -1)), pairs

    none = jnp.zeros(row.shape, cost.dtype)
    none = _devices.varying_as(none, (cost, rows, columns))
    _, pairs = jax.lax.scan(step, (none, none), (fronts, diagonals), reverse=True)
    return _by_row(pairs, cost.shape)


def _by_diagonal(cost: Array) -> Array:
    """[T, S] to [T + S, T + 1]: its diagonals, infinite outside, after a row 0.

    Read with one column less than it has, each row of a matrix starts one later.
    """
    height = len(cost) + 1
    wide = jnp.pad(cost, ((1, 0), (0, height)), constant_values=jnp.inf)
    return wide.ravel()[:-height].reshape(height, wide.shape[1] - 1).T


def _by_row(diagonals: Array, shape: tuple[int, ...]) -> Array:
    height = diagonals.shape[1]
    flat = jnp.pad(diagonals.T.ravel(), (0, height))
    return flat.reshape(height, len(diagonals) + 1)[1:, : shape[1]]
