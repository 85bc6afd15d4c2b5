"""Means within the groups of a batch, and within the sequences of its tokens."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _devices, _inputs
from jaxloss.reduction.means import Total


def group_totals(
    losses: ArrayLike,
    groups: ArrayLike,
    num_groups: int,
    *,
    weights: ArrayLike | None = None,
) -> Total:
    r"""Weighted sum and weight of each group, which add up over batches and devices.

    Args:
        losses: shape ``(batch,)`` or any other, floating.
        groups: which group each is of, the shape of `losses`, integer.
        num_groups: how many groups there are.
        weights: the shape of `losses`; None for all 1.

    Returns:
        A `Total` of two arrays of shape ``(num_groups,)``.

    Raises:
        ValueError: shapes differ, or `num_groups` is not a whole number.
        TypeError: `groups` is not integer.

    Guarantees:
        - A group outside ``[0, num_groups)``, negative ones included, is no group: it
          is counted nowhere.
        - A loss of weight 0 reaches neither value nor gradient, even if it is nan or
          inf; one that has a weight spoils its own group only.

    Examples:
        >>> total = group_totals(jnp.array([1.0, 3.0, 5.0]), jnp.array([1, 1, -1]), 2)
        >>> total.sum, total.weight
        (Array([0., 4.], dtype=float32), Array([0., 2.], dtype=float32))
    """
    _inputs.whole("num_groups", num_groups)
    losses, weights = _inputs.weighted(losses, weights)
    row = _inputs.segments("groups", groups, losses.shape, num_groups)

    def totals(losses: Array, weights: Array, row: Array) -> Total:
        empty = jnp.zeros(num_groups, losses.dtype)
        known = row < num_groups
        losses, weights = jnp.where(known, losses, 0), jnp.where(known, weights, 0)
        return Total(
            empty.at[row].add(weights * losses, mode="drop"),
            empty.at[row].add(weights, mode="drop"),
        )

    return _devices.automatic(totals, False, losses)(losses, weights, row)


def group_means(
    losses: ArrayLike,
    groups: ArrayLike,
    num_groups: int,
    *,
    weights: ArrayLike | None = None,
) -> Array:
    r"""Mean loss of each group, divided by the weight of the group.

    .. math:: \frac{\sum_{i : g_i = g} w_i \ell_i}{\sum_{i : g_i = g} w_i}

    The largest of them is the worst-group loss. A mean of 0 may also mean that a group
    is not in the batch; `group_totals` tells the two apart.

    Args:
        losses: shape ``(batch,)`` or any other, floating.
        groups: which group each is of, the shape of `losses`, integer.
        num_groups: how many groups there are.
        weights: the shape of `losses`; None for all 1.

    Returns:
        Shape ``(num_groups,)``, in the dtype of `losses`, float32 or wider.

    Raises:
        ValueError: shapes differ, or `num_groups` is not a whole number.
        TypeError: `groups` is not integer.

    Guarantees:
        - As for `group_totals`.
        - The mean of a group without weight is 0, with gradient 0.

    Examples:
        >>> losses, groups = jnp.array([1.0, 3.0, 5.0]), jnp.array([1, 1, 0])
        >>> group_means(losses, groups, 3)
        Array([5., 2., 0.], dtype=float32)
    """
    return group_totals(losses, groups, num_groups, weights=weights).mean()


def per_sequence(
    token_losses: ArrayLike,
    where: ArrayLike | None = None,
    *,
    by: str | float | Array = "mean",
    segment_ids: ArrayLike | None = None,
    num_segments: int | None = None,
) -> tuple[Array, Array]:
    r"""From the losses of tokens to one loss, and one weight, for each sequence.

    .. math:: L_b = \frac{1}{d_b} \sum_{t : m_{bt}} \ell_{bt}, \qquad
        d_b = \sum_t m_{bt} \;(\text{"mean"}), \quad 1 \;(\text{"sum"}),
        \quad \text{or a constant}

    The reduction over the batch is a step of its own: ``weighted_mean(*per_sequence(
    ...))`` is a mean over sequences, each of which counts alike, however long. The mean
    over all tokens, in which long sequences count more, is ``weighted_mean(
    token_losses, where)``. The two train differently.

    Args:
        token_losses: shape ``(batch, tokens)``, floating.
        where: False for padding, shape ``(batch, tokens)``, boolean; None for no
            padding.
        by: what the sum of a sequence is divided by: ``"mean"`` for the number of its
            tokens, ``"sum"`` for 1, or a number above 0, such as the longest length,
            the same for all.
        segment_ids: for rows in which several sequences are packed, which of them each
            token is of, shape ``(batch, tokens)``, integer. Tokens of an id outside
            ``[0, num_segments)`` are padding. Where ids count from 1 and 0 is padding,
            give ``segment_ids - 1``.
        num_segments: the most sequences in a row; given with `segment_ids`.

    Returns:
        Losses and weights, both of shape ``(batch,)``, or ``(batch, num_segments)`` for
        packed rows; float32 or wider. The weight is 1 for a sequence that has tokens,
        else 0.

    Raises:
        ValueError: a shape is wrong, `by` is another word or a number not above 0, or
            only one of `segment_ids` and `num_segments` is given.
        TypeError: `where` is not boolean, or `segment_ids` not integer.

    Guarantees:
        - Packed or not, and with whatever padding, a sequence has the same loss.
        - A token left out reaches neither value nor gradient, even if it is nan; one
          of nan that counts spoils its own sequence only.
        - A sequence without tokens has loss 0, with gradient 0, and weight 0.

    Examples:
        >>> token_losses = jnp.array([[1.0, 3.0, 9.0], [2.0, 4.0, 6.0]])
        >>> where = jnp.array([[True, True, False], [True, True, True]])
        >>> per_sequence(token_losses, where)
        (Array([2., 4.], dtype=float32), Array([1., 1.], dtype=float32))
        >>> packed = per_sequence(
        ...     token_losses, where, by="sum", num_segments=2,
        ...     segment_ids=jnp.array([[0, 1, 1], [0, 0, 0]]))
        >>> packed[0]
        Array([[ 1.,  3.],
               [12.,  0.]], dtype=float32)

    References:
        Liu et al., *Understanding R1-Zero-Like Training*, 2025 (what the mean over a
        sequence does to its length).
    """
    shape = jnp.shape(token_losses)
    if len(shape) != 2:
        raise ValueError(
            f"`token_losses` must have shape (batch, tokens), got {shape}."
        )
    if (segment_ids is None) != (num_segments is None):
        raise ValueError("`segment_ids` and `num_segments` must be given together.")
    if isinstance(by, str) and by not in ("mean", "sum"):
        raise ValueError(f'`by` must be "mean", "sum" or a number, got "{by}".')
    if where is not None:
        where = _inputs.mask("where", where, shape)
    losses, weights = _inputs.weighted(token_losses, where)
    if segment_ids is None:
        total = Total(jnp.sum(weights * losses, axis=1), jnp.sum(weights, axis=1))
    else:
        total = _segment_totals(losses, weights, segment_ids, num_segments or 0)
    if isinstance(by, str):
        sums = total.mean() if by == "mean" else total.sum
    else:
        _inputs.positive("by", by)
        sums = total.sum / jnp.asarray(by, losses.dtype)
    return sums, (total.weight > 0).astype(losses.dtype)


def _segment_totals(
    losses: Array, weights: Array, segment_ids: ArrayLike, count: int
) -> Total:
    """Totals of shape (rows, count): a group for each segment of each row."""
    _inputs.whole("num_segments", count)
    rows = len(losses)
    ids = _inputs.segments("segment_ids", segment_ids, losses.shape, count)
    first = jnp.arange(rows, dtype=jnp.int32)[:, None] * count
    groups = jnp.where(ids < count, first + ids, -1)
    total = group_totals(losses, groups, rows * count, weights=weights)
    return Total(*(part.reshape(rows, count) for part in total))
