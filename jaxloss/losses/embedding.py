"""Losses that judge embeddings by their distances and angles."""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _inputs, _numerics
from jaxloss.losses.similarity import cosine


def cosine_embedding_loss(
    first: ArrayLike,
    second: ArrayLike,
    target: ArrayLike,
    /,
    *,
    margin: float | Array = 0.0,
) -> Array:
    r"""How far two embeddings are from pointing the same way, or apart, as wanted.

    .. math:: \ell(a, b, y) = \begin{cases}
        1 - \cos(a, b) & y = 1 \\
        \max(0,\; \cos(a, b) - m) & y = -1 \end{cases}

    Args:
        first: embedding, shape ``(features,)``, floating.
        second: embedding, shape ``(features,)``.
        target: 1 for two that belong together, -1 for two that do not, shape ``()``.
        margin: cosine up to which two that do not belong together cost nothing.

    Returns:
        The loss, shape ``()``, float32 or wider, at most 2.

    Raises:
        ValueError: a shape is wrong.
        TypeError: `first` is not floating.

    Guarantees:
        - The length of an embedding does not count, however large or small it is.
        - A zero vector has cosine 0 with every other, and gradient 0.
        - The derivative is 0 at the margin itself.
        - ``nan``, with gradient 0, for a target that is not -1 or 1, and for an
          embedding that is not finite.

    Examples:
        >>> a, b = jnp.array([1.0, 0.0]), jnp.array([3.0, 4.0])
        >>> cosine_embedding_loss(a, b, 1).round(4)
        Array(0.4, dtype=float32)

    References:
        Hadsell et al., *Dimensionality Reduction by Learning an Invariant Mapping*,
        2006 (the contrast of like and unlike pairs).
    """
    first, second = _inputs.event(("features",), first=first, second=second)
    (target,) = _inputs.related(((),), target=jnp.asarray(target, first.dtype))
    margin = _inputs.option("margin", margin, (), first)
    side = jnp.abs(target) == 1
    _inputs.require(side, "target", "-1 or 1", target)
    angle = cosine(first, second, jnp.zeros_like(margin))
    loss = jnp.where(target > 0, 1 - angle, jax.nn.relu(angle - margin))
    return jnp.where(side, loss, jnp.nan)


def hinge_embedding_loss(
    distance: ArrayLike,
    target: ArrayLike,
    where: ArrayLike | None = None,
    /,
    *,
    margin: float | Array = 1.0,
) -> Array:
    r"""The distance of what belongs together; how close is what does not.

    .. math:: \ell(d, y) = \operatorname{mean}_i \begin{cases}
        d_i & y_i = 1 \\
        \max(0,\; m - d_i) & y_i = -1 \end{cases}

    Args:
        distance: any shape, floating; usually from 0 on.
        target: 1 for two that belong together, -1 for two that do not, the shape of
            `distance`.
        where: boolean, the shape of `distance`; only elements that are True count.
        margin: distance from which two that do not belong together cost nothing.

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider, in the
        unit of `distance`.

    Raises:
        ValueError: shapes differ.
        TypeError: `distance` is not floating, or `where` is not boolean.

    Guarantees:
        - The derivative is 0 at the margin itself.
        - ``nan``, with gradient 0, for a target that is not -1 or 1.
        - Elements left out reach neither value nor gradient, whatever they hold; with
          none left the value is 0 and the gradient 0.

    Examples:
        >>> hinge_embedding_loss(jnp.array([0.5, 0.5]), jnp.array([1, -1]), margin=2.0)
        Array(1., dtype=float32)

    References:
        Hadsell et al., *Dimensionality Reduction by Learning an Invariant Mapping*,
        2006.
    """
    distance, target = _inputs.elementwise(where, distance=distance, target=target)
    _inputs.require(jnp.abs(target) == 1, "target", "-1 or 1", target, where)
    margin = _inputs.option("margin", margin, (), distance)
    return _numerics.mean_of(_attract_or_repel, distance, target, margin, where=where)


def margin_ranking_loss(
    first: ArrayLike,
    second: ArrayLike,
    target: ArrayLike,
    where: ArrayLike | None = None,
    /,
    *,
    margin: float | Array = 0.0,
) -> Array:
    r"""How far the score that should win is from winning by the margin.

    .. math:: \ell(a, b, y) = \operatorname{mean}_i\,
        \max(0,\; m - y_i (a_i - b_i)), \qquad y_i \in \{-1, 1\}

    Args:
        first: score, any shape, floating.
        second: score, the shape of `first`.
        target: 1 where the first should be the higher one, -1 where the second should,
            the shape of `first`.
        where: boolean, the shape of `first`; only elements that are True count.
        margin: the least lead wanted.

    Returns:
        The mean over the elements that count, shape ``()``, float32 or wider, in the
        unit of the scores.

    Raises:
        ValueError: shapes differ.
        TypeError: `first` is not floating, or `where` is not boolean.

    Guarantees:
        - The derivative is 0 at the margin itself, so also for equal scores when the
          margin is 0.
        - ``nan``, with gradient 0, for a target that is not -1 or 1.
        - Elements left out reach neither value nor gradient, whatever they hold; with
          none left the value is 0 and the gradient 0.

    Examples:
        >>> a, b = jnp.array([2.0, 2.0]), jnp.array([1.0, 5.0])
        >>> margin_ranking_loss(a, b, jnp.array([1, 1]))
        Array(1.5, dtype=float32)

    References:
        Herbrich et al., *Large Margin Rank Boundaries for Ordinal Regression*, 2000.
    """
    first, second, target = _inputs.elementwise(
        where, first=first, second=second, target=target
    )
    _inputs.require(jnp.abs(target) == 1, "target", "-1 or 1", target, where)
    margin = _inputs.option("margin", margin, (), first)
    return _numerics.mean_of(_lead_missing, first, second, target, margin, where=where)


def pairwise_distance(
    first: ArrayLike,
    second: ArrayLike,
    /,
    *,
    norm_degree: float | Array = 2.0,
    eps: float | Array = 0.0,
) -> Array:
    r"""Distance of two embeddings: what the losses of this module compare.

    .. math:: d(a, b) = \left(\sum_i |a_i - b_i + \varepsilon|^k\right)^{1/k}

    Args:
        first: embedding, shape ``(features,)``, floating.
        second: embedding, shape ``(features,)``.
        norm_degree: the degree ``k``, above 0: 2 is the Euclidean distance, 1 the sum
            and ``math.inf`` the largest of the differences.
        eps: added to each signed difference, which makes the distance asymmetric; for
            migration only (PyTorch adds ``1e-6``).

    Returns:
        The distance, shape ``()``, float32 or wider, in the unit of the embeddings.

    Raises:
        ValueError: a shape is wrong, or `norm_degree` is a number not above 0.
        TypeError: `first` is not floating.

    Guarantees:
        - Equal embeddings have distance 0 and gradient 0, for every degree.
        - Accurate also where powers of the differences overflow or vanish.
        - ``nan``, with gradient 0, for an embedding that is not finite.

    Examples:
        >>> pairwise_distance(jnp.array([3.0, 0.0]), jnp.array([0.0, 4.0]))
        Array(5., dtype=float32)

    References:
        Minkowski, *Geometrie der Zahlen*, 1896.
    """
    _inputs.positive("norm_degree", norm_degree)
    first, second = _inputs.event(("features",), first=first, second=second)
    if _numerics.is_zero(eps):
        length = _distance(first, second, norm_degree)
    else:
        eps = _inputs.option("eps", eps, (), first)
        length = _length(_difference(first, second) + eps, norm_degree)
    return jnp.where(_finite(first, second), length, jnp.nan)


def triplet_margin_loss(
    anchor: ArrayLike,
    positive: ArrayLike,
    negative: ArrayLike,
    /,
    *,
    margin: float | Array = 1.0,
    norm_degree: float | Array = 2.0,
    swap: bool = False,
    smooth: bool = False,
    eps: float | Array = 0.0,
    eps_mode: str = "sum",
) -> Array:
    r"""How far an anchor is from being nearer to its like than to another, by a margin.

    .. math:: \ell(a, p, n) = \max(0,\; d(a, p) - d(a, n) + m), \qquad
        d(a, b) = \left(\sum_i |a_i - b_i|^k\right)^{1/k}

    Args:
        anchor: embedding, shape ``(features,)``, floating.
        positive: embedding of what belongs to the anchor, shape ``(features,)``.
        negative: embedding of what does not, shape ``(features,)``.
        margin: by how much the positive should be nearer.
        norm_degree: the degree ``k``, above 0; ``math.inf`` takes the largest
            difference.
        swap: take the distance of `negative` from `positive` where that is the smaller
            one.
        smooth: softplus in the place of the maximum with 0.
        eps: for migration only; see `eps_mode`.
        eps_mode: ``"sum"`` adds `eps` to the sum under the root, as optax does;
            ``"elementwise"`` to each signed difference, as PyTorch does. Both take
            ``1e-6``.

    Returns:
        The loss, shape ``()``, float32 or wider, in the unit of the embeddings.

    Raises:
        ValueError: a shape is wrong, `norm_degree` is a number not above 0, or
            `eps_mode` is neither of the two.
        TypeError: `anchor` is not floating.

    Guarantees:
        - Equal embeddings give exactly `margin`, with gradient 0, for every degree.
        - The derivative is 0 where the margin is just kept.
        - ``nan``, with gradient 0, for an embedding that is not finite.

    Examples:
        >>> a, p, n = jnp.zeros(2), jnp.array([0.0, 1.0]), jnp.array([3.0, 4.0])
        >>> triplet_margin_loss(a, p, n, margin=5.0)
        Array(1., dtype=float32)

    References:
        Weinberger & Saul, *Distance Metric Learning for Large Margin Nearest Neighbor
        Classification*, 2009; Balntas et al., *Learning Local Feature Descriptors with
        Triplets and Shallow Convolutional Neural Networks*, 2016 (swap).
    """
    _inputs.positive("norm_degree", norm_degree)
    if eps_mode not in ("sum", "elementwise"):
        raise ValueError(
            f"`eps_mode` must be 'sum' or 'elementwise', got {eps_mode!r}."
        )

    def distance(a: Array, b: Array) -> Array:
        if _numerics.is_zero(eps):
            return _distance(a, b, norm_degree)
        extra = _inputs.option("eps", eps, (), a)
        if eps_mode == "elementwise":
            return _length(_difference(a, b) + extra, norm_degree)
        # A sum of powers has one more term when the vector is one longer.
        root = _numerics.power(extra, 1 / jnp.asarray(norm_degree, a.dtype))
        return _length(jnp.append(_difference(a, b), root), norm_degree)

    return _triplet(anchor, positive, negative, distance, margin, swap, smooth)


def triplet_margin_with_distance_loss(
    anchor: ArrayLike,
    positive: ArrayLike,
    negative: ArrayLike,
    /,
    *,
    distance_fn: Callable[[Array, Array], Array] = pairwise_distance,
    margin: float | Array = 1.0,
    swap: bool = False,
) -> Array:
    r"""`triplet_margin_loss` with a distance of your own.

    .. math:: \ell(a, p, n) = \max(0,\; d(a, p) - d(a, n) + m)

    Args:
        anchor: embedding, shape ``(features,)``, floating.
        positive: embedding of what belongs to the anchor, shape ``(features,)``.
        negative: embedding of what does not, shape ``(features,)``.
        distance_fn: the distance of two embeddings, as one number.
        margin: by how much the positive should be nearer.
        swap: take the distance of `negative` from `positive` where that is the smaller
            one.

    Returns:
        The loss, shape ``()``, float32 or wider, in the unit of the distance.

    Raises:
        ValueError: a shape is wrong, or `distance_fn` returns more than one number.
        TypeError: `anchor` is not floating.

    Guarantees:
        - With the default distance the same as `triplet_margin_loss`.
        - ``nan``, with gradient 0, for an embedding that is not finite; the distance
          is never asked for one.

    Examples:
        >>> def city_block(a, b):
        ...     return jnp.abs(a - b).sum()
        >>> a, p, n = jnp.zeros(2), jnp.array([1.0, 1.0]), jnp.array([0.0, 2.0])
        >>> triplet_margin_with_distance_loss(a, p, n, distance_fn=city_block)
        Array(1., dtype=float32)

    References:
        Weinberger & Saul, *Distance Metric Learning for Large Margin Nearest Neighbor
        Classification*, 2009.
    """
    clean = distance_fn is not pairwise_distance
    if not clean:
        distance_fn = partial(_distance, degree=2)
    return _triplet(
        anchor, positive, negative, distance_fn, margin, swap, False, clean=clean
    )


def _triplet(
    anchor: ArrayLike,
    positive: ArrayLike,
    negative: ArrayLike,
    distance_fn: Callable[[Array, Array], Array],
    margin: float | Array,
    swap: bool,
    smooth: bool,
    clean: bool = False,
) -> Array:
    anchor, positive, negative = _inputs.event(
        ("features",), anchor=anchor, positive=positive, negative=negative
    )
    finite = _finite(anchor, positive, negative)
    if clean:  # for a distance that may not bear what is not finite
        anchor, positive, negative = (
            jnp.where(finite, x, 0) for x in (anchor, positive, negative)
        )
    margin = _inputs.option("margin", margin, (), anchor)
    near = distance_fn(anchor, positive)
    far = distance_fn(anchor, negative)
    if jnp.shape(near):
        raise ValueError(
            f"`distance_fn` must return one number, got shape {jnp.shape(near)}. "
            "Sum or average over the features."
        )
    if swap:
        far = jnp.minimum(far, distance_fn(positive, negative))
    short = near - far + margin
    loss = _numerics.softplus(short) if smooth else jax.nn.relu(short)
    return jnp.where(finite, loss, jnp.nan)


def _finite(*arrays: Array) -> Array:
    """Whether all is finite, in one sum, which is taken without a temporary."""
    return jnp.isfinite(jnp.sum(sum(0 * x for x in arrays)))


def _distance(a: Array, b: Array, degree: float | Array) -> Array:
    if isinstance(degree, (int, float)) and degree == 2:
        return _numerics.distance(a, b)
    return _length(_difference(a, b), degree)


def _difference(a: Array, b: Array) -> Array:
    """0 where one of the two is not finite."""
    finite = _finite(a, b)
    return jnp.where(finite, a, 0) - jnp.where(finite, b, 0)


def _length(x: Array, degree: float | Array) -> Array:
    if isinstance(degree, (int, float)):
        if degree == 2:
            return _numerics.norm(x)
        if degree == math.inf:
            return _numerics.largest(x)
    return _numerics.minkowski(x, _inputs.option("norm_degree", degree, (), x))


def _attract_or_repel_slope(distance: Array, target: Array, margin: Array) -> Array:
    one = _numerics.hidden_one(distance)
    half = one / 2  # of the scalar
    together, apart = half + half * target, half - half * target
    near = jnp.maximum(jnp.sign(margin - distance), 0)
    known = 0 * distance + _nan_off_side(target, one)
    return together - apart * near + known


@_numerics.slopes(
    _attract_or_repel_slope,
    lambda d, y, m: jnp.zeros_like(d),
    lambda d, y, m: ((y == -1) & (d < m)).astype(d.dtype),
)
def _attract_or_repel(distance: Array, target: Array, margin: Array) -> Array:
    short = 0.5 * (margin - distance) * (1 - target)
    apart = 0.5 * (short + jnp.abs(short))
    return apart + 0.5 * distance * (1 + target) + _nan_off_side(target)


@_numerics.slopes(
    lambda a, b, y, m: jnp.where(_is_short(a, b, y, m), -y, 0),
    lambda a, b, y, m: jnp.where(_is_short(a, b, y, m), y, 0),
    lambda a, b, y, m: jnp.where(_is_short(a, b, y, m), b - a, 0),
    lambda a, b, y, m: _is_short(a, b, y, m).astype(a.dtype),
)
def _lead_missing(first: Array, second: Array, target: Array, margin: Array) -> Array:
    # A margin of 0 would be one constant with the zeros of a slope (`hidden_one`).
    margin = jax.lax.optimization_barrier(margin)
    short = margin - target * (first - second)
    return 0.5 * (short + jnp.abs(short)) + _nan_off_side(target)


def _is_short(first: Array, second: Array, target: Array, margin: Array) -> Array:
    return (jnp.abs(target) == 1) & (target * (first - second) < margin)


def _nan_off_side(target: Array, one: float | Array = 1.0) -> Array:
    """0 for -1 and 1, nan for all else; a select would materialise its constants."""
    target = jax.lax.stop_gradient(target)
    return jnp.sqrt(-jnp.abs(target * target - one))
