"""From scores to a decision, without a look at the classes."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxloss import weighting
from jaxloss.audit import _arrays


def cut(
    scores: ArrayLike, *, how: Literal["otsu", "mixture"] = "otsu"
) -> NDArray[np.bool_]:
    r"""Decides which examples are suspects, by splitting the scores in two groups.

    ``"otsu"``: the threshold is the one that leaves the least variance within the
    groups, over all splits of the sorted scores. ``"mixture"``: two normal
    distributions are fitted, and an example goes to the more probable one
    (`jaxloss.weighting.mixture`).

    Neither has a parameter nor knows the rate of wrong labels. Both suppose that there
    are two groups: **where no label is wrong, they still split off the harder
    examples.** With probabilities at hand use `find_issues`, which can find nothing.

    Args:
        scores: shape ``(N,)``, higher is more suspicious.
        how: ``"otsu"`` or ``"mixture"``.

    Returns:
        Shape ``(N,)``, True for the group of higher scores, False for nan.

    Raises:
        ValueError: fewer than two different scores: there is nothing to split; or `how`
            is none of the two.

    Examples:
        >>> cut([-0.9, -0.8, 0.6, -0.85, float("nan")])
        array([False, False,  True, False, False])

    References:
        Otsu, *A Threshold Selection Method from Gray-Level Histograms*, 1979.
    """
    if how not in ("otsu", "mixture"):
        raise ValueError(f'`how` must be "otsu" or "mixture", got {how!r}.')
    scores = _arrays.vector("scores", scores)
    ordered = np.sort(scores[~np.isnan(scores)])
    if ordered.size == 0 or ordered[0] == ordered[-1]:
        raise ValueError(
            "`scores` must have at least two different values, got "
            f"{np.unique(ordered).tolist()}."
        )
    if how == "mixture":
        low = weighting.mixture(jnp.asarray(scores, jnp.float32))
        return (np.asarray(low) < 0.5) & ~np.isnan(scores)
    size = np.arange(1, ordered.size)
    lower = np.cumsum(ordered)[:-1]
    lower_mean = lower / size
    upper_mean = (ordered.sum() - lower) / (ordered.size - size)
    between = size * (ordered.size - size) * (upper_mean - lower_mean) ** 2
    between[ordered[1:] == ordered[:-1]] = -1  # equal scores stay together
    return scores > ordered[np.argmax(between)]
