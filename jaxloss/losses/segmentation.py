"""Losses that judge the overlap of a segmentation with the true one, per image.

An example is one image or volume: sums run over its positions, never over a batch.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxloss import _inputs


def dice_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    where: ArrayLike | None = None,
    /,
    *,
    class_weights: ArrayLike | None = None,
    smooth: float | Array = 1.0,
    smooth_dr: float | Array | None = None,
    alpha: float | Array = 0.5,
    beta: float | Array = 0.5,
    squared: bool = False,
    ignore_background: bool = False,
    apply_softmax: bool = True,
) -> Array:
    r"""How little the predicted and the true regions overlap, averaged over classes.

    With the probabilities :math:`p` and over the positions :math:`i` of one image,

    .. math:: \ell = \operatorname{mean}_c\, w_c
        \Bigl(1 - \frac{I_c + s}{I_c + \alpha F_c + \beta M_c + s}\Bigr), \quad
        I_c = \sum_i p_{ic} t_{ic}, \quad
        F_c = \sum_i p_{ic} - I_c, \quad
        M_c = \sum_i t_{ic} - I_c:

    the overlap, what is falsely claimed and what is missed. With both factors one half
    this is the Dice coefficient, of which `smooth` is half the usual constant.

    Args:
        prediction: logits, shape ``(..., classes)``, floating; with one class its
            log-odds.
        target: share of each class, in [0, 1], the shape of `prediction`; from class
            indices ``jax.nn.one_hot(label, classes)``.
        where: boolean, shape ``(...,)``; only positions that are True count.
        class_weights: factor ``w`` for each class, shape ``(classes,)``.
        smooth: the ``s`` above, from 0 on.
        smooth_dr: takes the place of `smooth` in the denominator.
        alpha: factor on what is falsely claimed.
        beta: factor on what is missed.
        squared: sum the squares of :math:`p` and :math:`t` in the place of themselves
            in :math:`F` and :math:`M`, as in V-Net.
        ignore_background: leave class 0 out of the mean.
        apply_softmax: False when `prediction` holds probabilities.

    Returns:
        The mean over the classes, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong.
        TypeError: `prediction` is not floating, or `where` is not boolean.

    Guarantees:
        - With `class_weights` up to 1 and neither `squared` nor `smooth_dr` it lies in
          [0, 1].
        - A class of which nothing is predicted, true or kept costs 0, also with
          `smooth` 0.
        - Positions left out reach neither value nor gradient, whatever they hold.
        - ``nan``, with gradient 0, for a position that counts and holds nan.

    Examples:
        >>> logits = jnp.array([[4.0, 0.0], [0.0, 4.0], [0.0, 4.0]])
        >>> dice_loss(logits, jax.nn.one_hot(jnp.array([0, 1, 0]), 2)).round(4)
        Array(0.2, dtype=float32)

    References:
        Milletari et al., *V-Net*, 2016; Salehi et al., *Tversky Loss Function for Image
        Segmentation*, 2017 (the two factors).
    """
    overlap = _class_overlap(prediction, target, where, apply_softmax, squared)

    def loss(overlap: Array) -> Array:
        losses = _index_loss(overlap, smooth, smooth_dr, alpha, beta)
        return _mean_over_classes(losses, class_weights, ignore_background)

    return _judge(overlap, loss)


def binary_dice_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    where: ArrayLike | None = None,
    /,
    *,
    smooth: float | Array = 1.0,
    smooth_dr: float | Array | None = None,
    squared: bool = False,
    apply_sigmoid: bool = True,
) -> Array:
    r"""How little a predicted region and the true one overlap.

    With the probabilities :math:`p`,

    .. math:: \ell = 1 - \frac{2 \sum_i p_i t_i + 2s}{\sum_i p_i + \sum_i t_i + 2s}.

    Args:
        prediction: log-odds of "inside", any shape, floating.
        target: share that is inside, in [0, 1], the shape of `prediction`.
        where: boolean, the shape of `prediction`; only positions that are True count.
        smooth: the ``s`` above, from 0 on.
        smooth_dr: takes the place of `smooth` in the denominator.
        squared: sum the squares of :math:`p` and :math:`t` in the denominator, as in
            V-Net.
        apply_sigmoid: False when `prediction` holds probabilities.

    Returns:
        The loss, shape ``()``, float32 or wider.

    Raises:
        ValueError: shapes differ.
        TypeError: `prediction` is not floating, or `where` is not boolean.

    Guarantees:
        - In [0, 1] without `smooth_dr`.
        - 0 when nothing is predicted, true or kept, also with `smooth` 0.
        - Positions left out reach neither value nor gradient, whatever they hold.
        - ``nan``, with gradient 0, for a position that counts and holds nan.

    Examples:
        >>> logits, inside = jnp.array([20.0, 20.0, -20.0]), jnp.array([1, 0, 0])
        >>> binary_dice_loss(logits, inside).round(4)
        Array(0.2, dtype=float32)

    References:
        Milletari et al., *V-Net*, 2016.
    """
    prediction, target = _inputs.elementwise(
        where, prediction=prediction, target=target
    )
    prediction, target = (_inputs.filled(where, x) for x in (prediction, target))
    _require_shares(target)
    columns = (prediction.reshape(-1, 1), target.reshape(-1, 1))
    kept = None if where is None else jnp.asarray(where).reshape(-1, 1)
    activation = "sigmoid" if apply_sigmoid else ""
    overlap = _overlap(*columns, kept, activation, squared)
    return _judge(
        overlap, lambda overlap: _index_loss(overlap, smooth, smooth_dr, 0.5, 0.5)[0]
    )


def tversky_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    where: ArrayLike | None = None,
    /,
    *,
    alpha: float | Array = 0.5,
    beta: float | Array = 0.5,
    class_weights: ArrayLike | None = None,
    smooth: float | Array = 1.0,
    smooth_dr: float | Array | None = None,
    ignore_background: bool = False,
    apply_softmax: bool = True,
) -> Array:
    r"""How little two segmentations overlap, with a price for each kind of error.

    `dice_loss` under the name of its two factors: over the positions of one image,

    .. math:: \ell = \operatorname{mean}_c\, w_c
        \Bigl(1 - \frac{I_c + s}{I_c + \alpha F_c + \beta M_c + s}\Bigr)

    with the overlap :math:`I`, what is falsely claimed :math:`F` and what is missed
    :math:`M`. Both factors 1 give the Jaccard index.

    Args:
        prediction: logits, shape ``(..., classes)``, floating; with one class its
            log-odds.
        target: share of each class, in [0, 1], the shape of `prediction`.
        where: boolean, shape ``(...,)``; only positions that are True count.
        alpha: factor on what is falsely claimed.
        beta: factor on what is missed.
        class_weights: factor ``w`` for each class, shape ``(classes,)``.
        smooth: the ``s`` above, from 0 on.
        smooth_dr: takes the place of `smooth` in the denominator.
        ignore_background: leave class 0 out of the mean.
        apply_softmax: False when `prediction` holds probabilities.

    Returns:
        The mean over the classes, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong.
        TypeError: `prediction` is not floating, or `where` is not boolean.

    Guarantees:
        - A miss costs more with a larger `beta`, a false claim with a larger `alpha`.
        - A class of which nothing is predicted, true or kept costs 0, also with
          `smooth` 0.
        - Positions left out reach neither value nor gradient, whatever they hold.
        - ``nan``, with gradient 0, for a position that counts and holds nan.

    Examples:
        >>> logits, truth = jnp.array([[20.0], [-20.0]]), jnp.array([[1], [1]])
        >>> tversky_loss(logits, truth, alpha=0.1, beta=1.0).round(4)
        Array(0.3333, dtype=float32)

    References:
        Salehi et al., *Tversky Loss Function for Image Segmentation Using 3D Fully
        Convolutional Deep Networks*, 2017.
    """
    overlap = _class_overlap(prediction, target, where, apply_softmax, False)

    def loss(overlap: Array) -> Array:
        losses = _index_loss(overlap, smooth, smooth_dr, alpha, beta)
        return _mean_over_classes(losses, class_weights, ignore_background)

    return _judge(overlap, loss)


def multiclass_generalized_dice_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    where: ArrayLike | None = None,
    /,
    *,
    smooth: float | Array = 1.0,
    variant: str = "optax",
    ignore_background: bool = False,
    apply_softmax: bool = True,
) -> Array:
    r"""How little two segmentations overlap, with rare classes weighing more.

    Classes weigh by the inverse square of their true size in this image, scaled to a
    mean of 1: :math:`w_c \propto (\sum_i t_{ic})^{-2}`. With :math:`I`, :math:`F` and
    :math:`M` of `dice_loss`,

    .. math:: \ell_\text{optax} = \operatorname{mean}_c\, w_c
        \Bigl(1 - \frac{2 I_c + 2s}{2 I_c + F_c + M_c + 2s}\Bigr), \qquad
        \ell_\text{sudre} = 1 - \frac{2 \sum_c w_c I_c + 2s}
        {\sum_c w_c (2 I_c + F_c + M_c) + 2s}.

    Args:
        prediction: logits, shape ``(..., classes)``, floating.
        target: share of each class, in [0, 1], the shape of `prediction`.
        where: boolean, shape ``(...,)``; only positions that are True count.
        smooth: the ``s`` above, from 0 on.
        variant: ``"optax"`` for the weighted mean of the losses of the classes,
            ``"sudre"`` for the published ratio of weighted sums.
        ignore_background: leave class 0 out.
        apply_softmax: False when `prediction` holds probabilities.

    Returns:
        The loss, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong, or `variant` is neither of the two.
        TypeError: `prediction` is not floating, or `where` is not boolean.

    Guarantees:
        - A class that is not in the image weighs as much as the rarest that is, and
          does not drown the rest.
        - 0 when nothing is kept.
        - Positions left out reach neither value nor gradient, whatever they hold.
        - ``nan``, with gradient 0, for a position that counts and holds nan.

    Examples:
        >>> logits = jnp.array([[4.0, 0.0], [0.0, 4.0], [0.0, 4.0]])
        >>> truth = jax.nn.one_hot(jnp.array([0, 1, 0]), 2)
        >>> multiclass_generalized_dice_loss(logits, truth).round(4)
        Array(0.2, dtype=float32)

    References:
        Sudre et al., *Generalised Dice Overlap as a Deep Learning Loss Function for
        Highly Unbalanced Segmentations*, 2017.
    """
    if variant not in ("optax", "sudre"):
        raise ValueError(f"`variant` must be 'optax' or 'sudre', got {variant!r}.")
    overlap = _class_overlap(prediction, target, where, apply_softmax, False)

    def loss(overlap: Array) -> Array:
        shared, _, missed = overlap
        weights = _rarity(shared + missed)
        if variant == "optax":
            losses = weights * _index_loss(overlap, smooth, None, 0.5, 0.5)
            return _mean_over_classes(losses, None, ignore_background)
        weighted = weights[None] * overlap
        if ignore_background and weights.size > 1:
            weighted = weighted[:, 1:]
        return _index_loss(jnp.sum(weighted, axis=1), smooth, None, 0.5, 0.5)

    return _judge(overlap, loss)


def _class_overlap(
    prediction: ArrayLike,
    target: ArrayLike,
    where: ArrayLike | None,
    apply_softmax: bool,
    squared: bool,
) -> Array:
    shape = jnp.shape(prediction)
    if not shape:
        raise ValueError("`prediction` must have shape (..., classes), got ().")
    kept = None
    if where is not None:
        where = _inputs.mask("where", where, shape[:-1])
        kept = jnp.broadcast_to(where[..., None], shape)
    prediction, target = _inputs.elementwise(kept, prediction=prediction, target=target)
    prediction, target = (_inputs.filled(kept, x) for x in (prediction, target))
    _require_shares(target)
    activation = ("sigmoid" if shape[-1] == 1 else "softmax") if apply_softmax else ""
    return _overlap(prediction, target, kept, activation, squared)


def _require_shares(target: Array) -> None:
    _inputs.require((target >= 0) & (target <= 1), "target", "in [0, 1]", target)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _overlap(
    prediction: Array,
    target: Array,
    kept: Array | None,
    activation: str,
    squared: bool,
) -> Array:
    """What is shared, falsely claimed and missed by each class, shape (3, classes)."""
    p, t = _probability(prediction, activation), target
    claimed, true = (p, t) if squared else (1, 1)
    return _sums((p * t, p * (claimed - t), t * (true - p)), kept)


def _overlap_jvp(activation, squared, primals, tangents):
    overlap = _overlap(*primals, activation, squared)
    # The barrier lets the derivative be computed from the inputs again: cheaper than
    # to keep the probabilities. What is not finite must not turn a cotangent of 0,
    # which the loss gives it, into nan.
    prediction, t, kept = jax.lax.optimization_barrier(primals)
    prediction = jnp.where(jnp.isnan(prediction), 0, prediction)
    p = _probability(prediction, activation)
    p, t = (jnp.where(jnp.isfinite(x), x, 0) for x in (p, t))
    change = jnp.zeros_like(overlap)
    if not isinstance(tangents[0], SymbolicZero):
        dp = tangents[0]
        if activation == "softmax":
            dp = p * (dp - jnp.sum(p * dp, axis=-1, keepdims=True))
        elif activation == "sigmoid":
            dp = p * jax.nn.sigmoid(-prediction) * dp
        claim = 2 * p if squared else 1
        change = change + _sums((t * dp, (claim - t) * dp, -t * dp), kept)
    if not isinstance(tangents[1], SymbolicZero):
        dt = tangents[1]
        truth = 2 * t if squared else 1
        change = change + _sums((p * dt, -p * dt, (truth - p) * dt), kept)
    return overlap, change


_overlap.defjvp(_overlap_jvp, symbolic_zeros=True)


def _probability(prediction: Array, activation: str) -> Array:
    if activation == "softmax":
        return jax.nn.softmax(prediction)
    return jax.nn.sigmoid(prediction) if activation else prediction


def _sums(terms: tuple[Array, ...], kept: Array | None) -> Array:
    axes = tuple(range(terms[0].ndim - 1))
    return jnp.stack([jnp.sum(x, axis=axes, where=kept) for x in terms])


def _judge(overlap: Array, loss: Callable[[Array], Array]) -> Array:
    """The loss of sums that are numbers; nan, with gradient 0, of any others."""
    sound = jnp.all(jnp.isfinite(overlap))
    return jnp.where(sound, loss(jnp.where(sound, overlap, 0)), jnp.nan)


def _index_loss(
    overlap: Array,
    smooth: float | Array,
    smooth_dr: float | Array | None,
    alpha: float | Array,
    beta: float | Array,
) -> Array:
    """One minus the Tversky index of each class, as a ratio: nothing cancels."""
    option = functools.partial(_inputs.option, shape=(), like=overlap)
    shared, claimed, missed = overlap
    errors = option("alpha", alpha) * claimed + option("beta", beta) * missed
    added = option("smooth", smooth)
    if smooth_dr is None:
        whole = shared + errors + added
    else:
        below = option("smooth_dr", smooth_dr)
        whole = shared + errors + below
        nothing = shared + claimed + missed == 0
        errors = errors + jnp.where(nothing, 0, below - added)
    empty = whole == 0
    return jnp.where(empty, 0, errors / jnp.where(empty, 1, whole))


def _rarity(sizes: Array) -> Array:
    """Weights of mean 1, as the inverse squares of the sizes; none is infinite."""
    present = sizes > 0
    smallest = jnp.min(sizes, where=present, initial=jnp.inf)
    weights = jnp.where(present, smallest / jnp.where(present, sizes, 1), 1) ** 2
    return weights / jnp.mean(weights)


def _mean_over_classes(
    losses: Array, class_weights: ArrayLike | None, ignore_background: bool
) -> Array:
    if class_weights is not None:
        losses = losses * _inputs.option(
            "class_weights", class_weights, losses.shape, losses
        )
    if ignore_background and losses.size > 1:
        losses = losses[1:]
    return jnp.mean(losses)
