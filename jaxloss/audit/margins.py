"""How much each label was contradicted: which examples to look at first."""

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxloss.audit import _arrays
from jaxloss.ledger import Ledger, margin_mean


def scores(probabilities: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    r"""How much a model's probabilities contradict each label, from -1 to 1.

    The mean over the epochs of the probability margin, with its sign turned:

    .. math:: s_i = \frac{\sum_t w_t \bigl(\max_{c \ne y_i} p_{itc} - p_{it y_i}\bigr)}
        {\sum_t w_t}, \qquad w_t = \operatorname*{mean}_i\,(1 - p_{it y_i})

    An epoch weighs by what the model did not yet know by heart: when every label is
    learnt, the wrong ones with the others, nothing is contradicted any more.

    One set of probabilities, of shape ``(N, C)``, is a history of one epoch. It should
    be out of sample then (cross-validation): a model that was trained on a label long
    enough agrees with it. A history needs no cross-validation; nor does `suspicion`,
    from a ledger, where all epochs weigh the same.

    Args:
        probabilities: shape ``(N, C)``, or ``(N, T, C)`` for T epochs; floating.
        labels: given labels, shape ``(N,)``, integer.

    Returns:
        Shape ``(N,)``, higher is more suspicious; nan for an example without
        probabilities.

    Raises:
        ValueError: a shape is wrong, a label is not in ``[0, C)``, or probabilities are
            negative or do not sum to 1; the rows are named.
        TypeError: `probabilities` is not floating, or `labels` not integer.

    Guarantees:
        - Positive where, on average, another class is more probable than the label.
        - An epoch with nan is left out; an example whose epochs all have nan has the
          score nan, is named in a warning, and changes no other.
        - The probabilities are read a few thousand rows at a time and never copied as
          a whole.

    Examples:
        >>> scores(np.array([[0.75, 0.25], [0.9, 0.1]]), [0, 1])
        array([-0.5,  0.8])

    References:
        Pleiss et al., *Identifying Mislabeled Data using the Area Under the Margin
        Ranking*, 2020.
    """
    return of(_arrays.read("probabilities", probabilities, labels))


def probabilities(
    logits: ArrayLike, *, temperature: float = 1.0, out: NDArray | None = None
) -> NDArray:
    """What a softmax makes of logits, on the host, a few thousand rows at a time.

    Args:
        logits: shape ``(..., C)``, floating.
        temperature: what the logits are divided by, above 0.
        out: where to write, of the shape of `logits`; may be `logits` itself, or an
            array mapped from a file. None makes a new array, float32 or wider.

    Returns:
        Probabilities, of the shape of `logits`; a row with nan stays nan.

    Raises:
        ValueError: `logits` has no classes, `temperature` is not above 0, or `out` has
            another shape.
        TypeError: `logits` is not floating.

    Examples:
        >>> probabilities(np.log([[3.0, 1.0], [1.0, 1.0]]))
        array([[0.75, 0.25],
               [0.5 , 0.5 ]])
    """
    logits = np.asarray(logits)
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(f"`logits` must have shape (..., C), got {logits.shape}.")
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise TypeError(f"`logits` must be floating, got {logits.dtype}.")
    if not temperature > 0:
        raise ValueError(f"`temperature` must be above 0, got {temperature}.")
    if out is None:
        wide = logits.dtype if logits.dtype.itemsize >= 4 else np.dtype(np.float32)
        out = np.empty(logits.shape, wide)
    if out.shape != logits.shape:
        raise ValueError(
            f"`out` must have the shape of `logits`, {logits.shape}, got {out.shape}."
        )
    for rows in _arrays.spans(logits):
        chunk = logits[rows].astype(np.float64) / temperature
        with np.errstate(invalid="ignore"):  # inf - inf: such a row is nan
            chunk = np.exp(chunk - chunk.max(axis=-1, keepdims=True))
            out[rows] = chunk / chunk.sum(axis=-1, keepdims=True)
    return out


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
    mean = np.asarray(margin_mean(ledger), np.float64)
    if np.isnan(mean).all():
        raise ValueError(
            "`ledger` must have margins, got none. Give `margins=` to `ledger.update`."
        )
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
    return np.argsort(-_arrays.vector("scores", scores), kind="stable")


def of(reading: _arrays.Reading) -> NDArray[np.float64]:
    """The scores of what was read."""
    result = np.full(len(reading.labels), np.nan)
    for rows, chunk in reading.chunks():
        given = reading.labels[rows]
        own = _arrays.at_labels(chunk, given)
        np.put_along_axis(chunk, given[:, None, None], -np.inf, axis=-1)
        result[rows] = _arrays.over_time(chunk.max(axis=-1) - own, reading.weights)
    return result
