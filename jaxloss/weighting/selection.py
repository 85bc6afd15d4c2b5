"""Choosing the examples of smallest or largest loss."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _devices, _inputs


def keep_small(
    losses: ArrayLike, share: float | Array, *, where: ArrayLike | None = None
) -> Array:
    r"""Weight 1 for the share of smallest losses, else 0: the small-loss trick.

    .. math:: w_i = [\,\mathrm{rank}_i < \lfloor s n + \tfrac12 \rfloor\,],
        \qquad \mathrm{rank}_i \text{ among the } n \text{ losses that count}

    What is wrongly labelled is learnt late, so early in training its loss is large. In
    co-teaching each of two networks is trained with the weights of the other's losses,
    and the share falls from 1 to 1 less the rate of wrong labels (`curriculum`). Hurts
    where the hard examples are the rare ones.

    Args:
        losses: shape ``(batch,)``, floating.
        share: share to keep of the losses that count, in [0, 1]. May be traced.
        where: False for padding, shape ``(batch,)``, boolean.

    Returns:
        Weights, shape ``(batch,)``, in the dtype of `losses`, float32 or wider; no
        gradient flows through them.

    Raises:
        ValueError: a shape is wrong, or `share` is a number outside [0, 1].
        TypeError: `losses` is not floating, or `where` not boolean.

    Guarantees:
        - The weights sum to the share of the losses that count, to the nearest whole
          number; half an example is kept.
        - Padding, and a loss of nan or inf, does not count: its weight is 0.
        - Of equal losses the first by index is kept.

    Examples:
        >>> keep_small(jnp.array([0.3, 2.0, 0.1, jnp.nan, 0.3]), 0.5)
        Array([1., 0., 1., 0., 0.], dtype=float32)

    References:
        Han et al., *Co-teaching: Robust Training of Deep Neural Networks with Extremely
        Noisy Labels*, 2018.
    """
    _inputs.share("share", share)
    losses, counts = _inputs.batch("losses", losses, where)
    return _first(losses, counts, share)


def keep_large(
    losses: ArrayLike, share: float | Array, *, where: ArrayLike | None = None
) -> Array:
    r"""Weight 1 for the share of largest losses, else 0: hard examples only.

    .. math:: w_i = [\,\mathrm{rank}_i < \lfloor s n + \tfrac12 \rfloor\,],
        \qquad \mathrm{rank}_i \text{ from the largest of the } n \text{ that count}

    With the losses themselves this is online hard example mining. With
    ``losses - reference``, where the reference is the loss of a model trained on
    holdout data, it is the selection by reducible holdout loss (RHO), which leaves out
    what is hard because its label is wrong. **Hard example mining under label noise
    trains on the wrong labels first**: look at the labels before (`jaxloss.audit`).

    Args:
        losses: shape ``(batch,)``, floating, of any sign.
        share: share to keep of the losses that count, in [0, 1]. May be traced.
        where: False for padding, shape ``(batch,)``, boolean.

    Returns:
        Weights, shape ``(batch,)``, in the dtype of `losses`, float32 or wider; no
        gradient flows through them.

    Raises:
        ValueError: a shape is wrong, or `share` is a number outside [0, 1].
        TypeError: `losses` is not floating, or `where` not boolean.

    Guarantees:
        - The weights sum to the share of the losses that count, to the nearest whole
          number; half an example is kept.
        - Padding, and a loss of nan or inf, does not count: its weight is 0.
        - Of equal losses the first by index is kept.

    Examples:
        >>> keep_large(jnp.array([0.3, 2.0, 0.1, jnp.nan, 0.3]), 0.5)
        Array([1., 1., 0., 0., 0.], dtype=float32)

    References:
        Shrivastava et al., *Training Region-based Object Detectors with Online Hard
        Example Mining*, 2016.
        Mindermann et al., *Prioritized Training on Points that are Learnable, Worth
        Learning, and Not Yet Learnt*, 2022 (RHO).
    """
    _inputs.share("share", share)
    losses, counts = _inputs.batch("losses", losses, where)
    return _first(-losses, counts, share)


def smallest_indices(
    losses: ArrayLike, k: int, *, where: ArrayLike | None = None
) -> tuple[Array, Array]:
    r"""Where the k smallest losses are: the index form of `keep_small`.

    For a second pass over fewer examples: ``x[indices]``, and the weights for its
    reduction.

    Args:
        losses: shape ``(batch,)``, floating.
        k: how many; the shape depends on it, so it cannot be traced.
        where: False for padding, shape ``(batch,)``, boolean.

    Returns:
        Indices, shape ``(k,)``, int32, by increasing loss, and their weights, shape
        ``(k,)``: 1, or 0 for places left over when fewer than k losses count.

    Raises:
        ValueError: a shape is wrong, or `k` is not a whole number in [0, batch].
        TypeError: `losses` is not floating, or `where` not boolean.

    Guarantees:
        - Places left over repeat the first index: padding, and a loss of nan or inf,
          is never chosen, as long as any loss counts.
        - Of equal losses the first by index comes first.

    Examples:
        >>> smallest_indices(jnp.array([0.3, jnp.nan, 0.1]), 3)
        (Array([2, 0, 2], dtype=int32), Array([1., 1., 0.], dtype=float32))

    References:
        Han et al., *Co-teaching: Robust Training of Deep Neural Networks with Extremely
        Noisy Labels*, 2018.
    """
    losses, counts = _inputs.batch("losses", losses, where)
    return _first_indices(losses, counts, k)


def largest_indices(
    losses: ArrayLike, k: int, *, where: ArrayLike | None = None
) -> tuple[Array, Array]:
    r"""Where the k largest losses are: the index form of `keep_large`.

    For a second pass over fewer examples: ``x[indices]``, and the weights for its
    reduction. The first pass needs no gradient, so the more expensive backward pass is
    over k examples only. What is said of wrong labels in `keep_large` holds here.

    Args:
        losses: shape ``(batch,)``, floating, of any sign.
        k: how many; the shape depends on it, so it cannot be traced.
        where: False for padding, shape ``(batch,)``, boolean.

    Returns:
        Indices, shape ``(k,)``, int32, by decreasing loss, and their weights, shape
        ``(k,)``: 1, or 0 for places left over when fewer than k losses count.

    Raises:
        ValueError: a shape is wrong, or `k` is not a whole number in [0, batch].
        TypeError: `losses` is not floating, or `where` not boolean.

    Guarantees:
        - Places left over repeat the first index: padding, and a loss of nan or inf,
          is never chosen, as long as any loss counts.
        - Of equal losses the first by index comes first.

    Examples:
        >>> largest_indices(jnp.array([0.3, 2.0, 0.1, 0.3]), 2)
        (Array([1, 0], dtype=int32), Array([1., 1.], dtype=float32))

    References:
        Shrivastava et al., *Training Region-based Object Detectors with Online Hard
        Example Mining*, 2016.
    """
    losses, counts = _inputs.batch("losses", losses, where)
    return _first_indices(-losses, counts, k)


def _order(values: Array, counts: Array) -> Array:
    """Indices by increasing value, ties by index; what does not count is last."""
    return jnp.argsort(jnp.where(counts, values, jnp.inf), stable=True)


def _first(values: Array, counts: Array, share: float | Array) -> Array:
    """Weight 1 for the share of smallest values among those that count."""

    def first(values: Array, counts: Array, share: Array) -> Array:
        kept = jnp.floor(share * jnp.sum(counts).astype(values.dtype) + 0.5)
        place = jnp.arange(values.size).astype(values.dtype)
        chosen = jnp.zeros_like(counts).at[_order(values, counts)].set(place < kept)
        return (chosen & counts).astype(values.dtype)

    share = jnp.clip(jnp.asarray(share, values.dtype), 0, 1)
    return _devices.automatic(first, True, values)(values, counts, share)


def _first_indices(values: Array, counts: Array, k: int) -> tuple[Array, Array]:
    """The k smallest of the values that count; the first again where there are less."""
    _inputs.whole("k", k, values.size)

    def first(values: Array, counts: Array) -> tuple[Array, Array]:
        real = jnp.arange(k) < jnp.sum(counts)
        indices = _order(values, counts)[:k].astype(jnp.int32)
        return jnp.where(real, indices, indices[:1]), real.astype(values.dtype)

    return _devices.automatic(first, False, values)(values, counts)
