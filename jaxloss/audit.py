"""What the ledger says about the labels: which examples to look at first."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxloss.ledger import Ledger


def suspicion(ledger: Ledger) -> NDArray[np.float64]:
    r"""How much each label was contradicted during training, from -1 to 1.

    The mean over all epochs of the probability margin, with its sign turned:

    .. math:: s_i = -\frac1T \sum_t \bigl(p_{it,y_i} - \max_{c \ne y_i} p_{it,c}\bigr)

    A clean example is learnt early and stays; a mislabelled one is contradicted by its
    likes for most of the training, even if the model knows it by heart at the end. So
    the mean over time tells more than any single epoch.

    Args:
        ledger: records with margins from ``losses.margin(..., temperature=1.0)``.

    Returns:
        Shape ``(N,)``, higher is more suspicious; nan for an example without margins.

    Raises:
        ValueError: no example has a margin, or the margins are not bounded by 1.

    Examples:
        >>> from jaxloss import ledger
        >>> import jax.numpy as jnp
        >>> records = ledger.update(
        ...     ledger.init(3), jnp.array([0, 1]), losses=jnp.array([0.1, 2.0]),
        ...     margins=jnp.array([0.75, -0.5]))
        >>> suspicion(records)
        array([-0.75,  0.5 ,   nan])

    References:
        Pleiss et al., *Identifying Mislabeled Data using the Area Under the Margin
        Ranking*, 2020 (there with logits; probabilities bound each epoch's say).
    """
    count = np.asarray(ledger.margin_count, np.float64)
    total = np.asarray(ledger.margin_sum, np.float64)
    if not count.any():
        raise ValueError(
            "`ledger` must have margins, got none. Give `margins=` to `ledger.update`."
        )
    mean = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    if np.nanmax(np.abs(mean)) > 1 + 1e-3:
        raise ValueError(
            "`ledger` must have margins of probabilities, in [-1, 1], got a mean of "
            f"{mean[np.nanargmax(np.abs(mean))]:.4g}. Give `temperature=` to "
            "`losses.margin`."
        )
    return -mean


def ranking(scores: ArrayLike) -> NDArray[np.intp]:
    """Indices of the examples, the most suspicious first.

    Args:
        scores: shape ``(N,)``, higher is more suspicious.

    Returns:
        Shape ``(N,)``; ties by index, nan scores last.

    Examples:
        >>> ranking([0.1, float("nan"), 0.9, 0.1])
        array([2, 0, 3, 1])
    """
    return np.argsort(-_scores(scores), kind="stable")


def cut(scores: ArrayLike) -> NDArray[np.bool_]:
    r"""Decides which examples are suspects, by splitting the scores in two groups.

    The threshold is the one that leaves the least variance within the groups (Otsu),
    over all splits of the sorted scores. It has no parameter and knows nothing of the
    rate of wrong labels; it supposes that there are two groups.

    Args:
        scores: shape ``(N,)``, higher is more suspicious.

    Returns:
        Shape ``(N,)``, True for the group of higher scores, False for nan.

    Raises:
        ValueError: fewer than two different scores: there is nothing to split.

    Examples:
        >>> cut([-0.9, -0.8, 0.6, -0.85, float("nan")])
        array([False, False,  True, False, False])

    References:
        Otsu, *A Threshold Selection Method from Gray-Level Histograms*, 1979.
    """
    scores = _scores(scores)
    ordered = np.sort(scores[~np.isnan(scores)])
    if ordered.size == 0 or ordered[0] == ordered[-1]:
        raise ValueError(
            "`scores` must have at least two different values, got "
            f"{np.unique(ordered).tolist()}."
        )
    size = np.arange(1, ordered.size)
    lower = np.cumsum(ordered)[:-1]
    lower_mean = lower / size
    upper_mean = (ordered.sum() - lower) / (ordered.size - size)
    between = size * (ordered.size - size) * (upper_mean - lower_mean) ** 2
    between[ordered[1:] == ordered[:-1]] = -1  # equal scores stay together
    return scores > ordered[np.argmax(between)]


def _scores(scores: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(scores, np.float64)
    if array.ndim != 1:
        raise ValueError(f"`scores` must have shape (N,), got {array.shape}.")
    return array
