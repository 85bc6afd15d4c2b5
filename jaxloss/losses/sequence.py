"""Losses that judge a sequence of scores against a sequence of labels."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _devices, _inputs, _numerics


def ctc_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    logit_length: ArrayLike,
    label_length: ArrayLike,
    /,
    *,
    blank_id: int = 0,
    zero_infinity: bool = False,
) -> Array:
    r"""Surprise, in nats, at a label sequence whose alignment to the frames is unknown.

    With :math:`p_t = \mathrm{softmax}(z_t)` and a path :math:`\pi` that names one class
    for each frame,

    .. math:: \ell(z, y) = -\log \sum_{\pi \to y} \prod_t p_t(\pi_t),

    where :math:`\pi \to y` when merging what repeats and then dropping the blanks turns
    the path into the labels. The sum over frames is not divided by any length; for
    PyTorch's ``"mean"`` divide the losses by the label lengths, at least 1, first.

    Args:
        logits: unnormalised log-probabilities, shape ``(frames, classes)``, floating. A
            logit of ``-inf`` marks a class as impossible at that frame.
        labels: indices of the true classes in order, shape ``(labels,)``, integer,
            without blanks.
        logit_length: how many frames count, shape ``()``, integer. The others are
            padding and may hold anything.
        label_length: how many labels count, shape ``()``, integer. The others are
            padding and may hold anything.
        blank_id: index of the blank class.
        zero_infinity: make an impossible sequence cost 0 instead of ``inf``.

    Returns:
        The loss, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong, or `blank_id` is not a class.
        TypeError: `logits` are not floating, or labels or lengths are not integers.

    Guarantees:
        - ``inf``, with gradient 0, when no path fits: too few frames (two equal labels
          in a row need a blank between them), or only through impossible classes.
        - ``nan``, with gradient 0, for a label that counts but is the blank or outside
          ``[0, classes)``, and for a length that is negative or beyond its array.
        - Nothing in the padding reaches value or gradient, not even nan.
        - Never below 0. Without labels, the surprise at blanks; without frames too, 0.
        - The gradient is the true one, ``softmax(logits)`` minus the expected share of
          each class in the path; it sums to 0 over the classes of a frame.

    Examples:
        >>> logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.5, 0.5, 0.0]]))
        >>> loss = ctc_loss(logits, jnp.array([1]), 2, 1)  # paths 1-, -1, 11
        >>> jnp.exp(-loss)  # 0.125 + 0.25 + 0.125
        Array(0.5, dtype=float32)

    References:
        Graves et al., *Connectionist Temporal Classification*, 2006.
    """
    sequence, valid = _read(logits, labels, logit_length, label_length, blank_id)
    loss = _surprise(*sequence)
    if zero_infinity:
        loss = jnp.where(loss == jnp.inf, 0, loss)
    return jnp.where(valid, loss, jnp.nan)


def ctc_loss_with_forward_probs(
    logits: ArrayLike,
    labels: ArrayLike,
    logit_length: ArrayLike,
    label_length: ArrayLike,
    /,
    *,
    blank_id: int = 0,
) -> tuple[Array, Array, Array]:
    r"""`ctc_loss`, and how probable each part of the alignment is on its way.

    With :math:`a_t(n)` and :math:`b_t(n)` the probability that the paths of the first
    :math:`t` frames have given the first :math:`n` labels and end in label :math:`n`
    or in a blank,

    .. math:: e^{-\ell} = a_T(U) + b_T(U).

    Args:
        logits: as for `ctc_loss`, shape ``(frames, classes)``.
        labels: as for `ctc_loss`, shape ``(labels,)``.
        logit_length: as for `ctc_loss`, shape ``()``.
        label_length: as for `ctc_loss`, shape ``()``.
        blank_id: index of the blank class.

    Returns:
        The loss, shape ``()``; the logarithms of ``b``, shape ``(frames, labels + 1)``;
        and those of ``a`` from ``n = 1`` on, shape ``(frames, labels)``. As in optax,
        frames of padding repeat what was before them, and the very last row of the
        second is ``log(a + b)``.

    Raises:
        ValueError: a shape is wrong, or `blank_id` is not a class.
        TypeError: `logits` are not floating, or labels or lengths are not integers.

    Guarantees:
        - The loss is that of `ctc_loss`.
        - What cannot be reached is ``-inf``, and so are all labels of the padding.
        - All three have derivatives; where ``-inf`` they are 0.

    Examples:
        >>> logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.5, 0.5, 0.0]]))
        >>> loss, blank, label = ctc_loss_with_forward_probs(
        ...     logits, jnp.array([1]), 2, 1
        ... )
        >>> jnp.exp(label)
        Array([[0.25 ], [0.375]], dtype=float32)

    References:
        Graves et al., *Connectionist Temporal Classification*, 2006.
    """
    sequence, valid = _read(logits, labels, logit_length, label_length, blank_id)
    lattice = _lattice(*sequence)
    before, after = _forward(lattice)
    frames = jnp.arange(len(lattice.blank), dtype=jnp.int32)
    now = jnp.minimum(frames + 1, jnp.maximum(sequence.logit_length, 0))
    blank, label = (
        jnp.concatenate([past + before.scale[:, None], last[None] + after.scale])[now]
        for past, last in zip(before[:2], after[:2], strict=True)
    )
    past = jnp.cumsum(jnp.where(lattice.real, lattice.normalizer, 0))[:, None]
    blank, label = blank - past, label - past
    if len(frames):
        blank = blank.at[-1].set(_numerics.log_sum(blank[-1], label[-1]))
    loss = jnp.where(valid, _surprise(*sequence), jnp.nan)
    blank = jnp.where(valid, blank, jnp.nan)
    return loss, blank, jnp.where(valid, label[:, 1:], jnp.nan)


class _Sequence(NamedTuple):
    logits: Array
    labels: Array
    logit_length: Array
    label_length: Array
    blank_id: int


class _Lattice(NamedTuple):
    """What a path may do: scores relative to the best class of their frame.

    A frame of padding is one that is sure to be blank: it moves nothing.
    """

    blank: Array  # [T]
    label: Array  # [T, U + 1], of label n; -inf for n = 0 and in the padding
    again: Array  # [U + 1], label n + 1 is label n, and cannot follow it at once
    goal: Array  # [U + 1], all labels that count were given
    real: Array  # [T], not padding
    normalizer: Array  # [T], log of the sum of the exponentials of the scores


class _Front(NamedTuple):
    """Log-probabilities of having given n labels, by how the path ends."""

    blank: Array  # [U + 1]
    label: Array  # [U + 1]
    scale: Array  # [], to be added to both: it keeps them small, and so exact


def _read(
    logits: ArrayLike,
    labels: ArrayLike,
    logit_length: ArrayLike,
    label_length: ArrayLike,
    blank_id: int,
) -> tuple[_Sequence, Array]:
    """The sequence, and whether it is one; if not, it is replaced by a harmless one."""
    logits, real, logit_length = _inputs.frames(logits, logit_length)
    labels, label_length = _inputs.transcript(
        labels, label_length, logits.shape[1], blank_id
    )
    best = jnp.max(logits, axis=1, keepdims=True)
    sure = jnp.sum(logits == jnp.inf, axis=1)
    defined = jnp.all(best > -jnp.inf) & jnp.all(sure <= 1)
    valid = (logit_length >= 0) & (label_length >= 0) & defined
    logits = jnp.where(
        best < jnp.inf, logits, jnp.where(logits == jnp.inf, 0, -jnp.inf)
    )
    logits = jnp.where(valid, logits, 0)
    return _Sequence(logits, labels, logit_length, label_length, blank_id), valid


@functools.partial(jax.custom_jvp, nondiff_argnums=(4,))
def _surprise_of(
    logits: Array, labels: Array, frames: Array, length: Array, blank_id: int
) -> Array:
    lattice = _lattice(logits, labels, frames, length, blank_id)
    return _cost(lattice, _forward(lattice)[1])


@_surprise_of.defjvp
def _surprise_of_jvp(blank_id, primals, tangents):
    logits, labels, frames, length = primals
    lattice = _lattice(logits, labels, frames, length, blank_id)
    fronts, last = _forward(lattice)
    loss = _cost(lattice, last)
    slope = _softmax_minus_shares(logits, labels, blank_id, lattice, fronts, last)
    return loss, jnp.sum(slope * tangents[0])


# Called outside of jit, a scan would be compiled anew each time.
_surprise = jax.jit(_surprise_of, static_argnums=4)


def _lattice(
    logits: Array, labels: Array, frames: Array, length: Array, blank_id: int
) -> _Lattice:
    real = jnp.arange(len(logits), dtype=jnp.int32) < frames
    count = jnp.arange(labels.size + 1, dtype=jnp.int32)
    best = jax.lax.stop_gradient(jnp.max(logits, axis=1, keepdims=True))
    scores = logits - best
    label = scores.at[:, labels].get(mode="promise_in_bounds")
    label = jnp.pad(label, ((0, 0), (1, 0)))
    possible = real[:, None] & ((count > 0) & (count <= length))[None]
    return _Lattice(
        blank=jnp.where(real, scores[:, blank_id], 0),
        label=jnp.where(possible, label, -jnp.inf),
        again=jnp.pad(labels == jnp.roll(labels, -1), (1, 0)),
        goal=count == length,
        real=real,
        normalizer=jax.vmap(_numerics.log_total)(logits, best[:, 0]),
    )


def _forward(lattice: _Lattice) -> tuple[_Front, _Front]:
    """The fronts before each frame, and the one after the last."""
    start = jnp.where(jnp.arange(lattice.again.size) == 0, 0, -jnp.inf)
    start = start.astype(lattice.label.dtype)
    nothing = jnp.full_like(start, -jnp.inf)

    def step(front: _Front, frame: tuple[Array, Array]) -> tuple[_Front, _Front]:
        blank, label = frame
        highest = jnp.max(jnp.maximum(front.blank, front.label))
        highest = jnp.where(highest > -jnp.inf, jax.lax.stop_gradient(highest), 0)
        front = _Front(
            front.blank - highest, front.label - highest, front.scale + highest
        )
        either = _numerics.log_sum(front.blank, front.label)
        come = _from_before(lattice, front.blank, either)
        new = _numerics.log_sum(front.label, come)
        return _Front(either + blank, new + label, front.scale), front

    front = _Front(start, nothing, jnp.zeros_like(start[0]))
    front = _devices.varying_as(front, lattice)
    last, fronts = jax.lax.scan(step, front, (lattice.blank, lattice.label))
    return fronts, last


def _from_before(lattice: _Lattice, blank: Array, either: Array) -> Array:
    """What label n can follow: what was before label n - 1, and for n = 0 nothing."""
    follows = jnp.where(lattice.again, blank, either)
    return jnp.pad(follows[:-1], (1, 0), constant_values=-jnp.inf)


def _cost(lattice: _Lattice, last: _Front) -> Array:
    paths = (
        jnp.sum(_numerics.log_sum(last.blank, last.label), where=lattice.goal)
        + last.scale
    )
    loss = jnp.sum(lattice.normalizer, where=lattice.real) - paths
    return loss + jax.lax.stop_gradient(jnp.maximum(-loss, 0))  # rounding below 0


def _softmax_minus_shares(
    logits: Array,
    labels: Array,
    blank_id: int,
    lattice: _Lattice,
    fronts: _Front,
    last: _Front,
) -> Array:
    """The gradient. What of a path is where is told backwards, from the goal on.

    Each share is split among where it may come from, so nothing can underflow but what
    does not matter, and the shares of a frame sum to 1.
    """
    come = jax.vmap(functools.partial(_from_before, lattice))(
        fronts.blank, _numerics.log_sum(fronts.blank, fronts.label)
    )
    stays = _numerics.share_of_sum(fronts.label, come)
    spoke = _numerics.share_of_sum(fronts.label, fronts.blank)
    spoke_last = _numerics.share_of_sum(last.label, last.blank)

    def step(shares: tuple[Array, Array], split: tuple[Array, Array]):
        blank, label = shares
        stays, spoke = split
        before = jnp.pad((label * (1 - stays))[1:], (0, 1))
        either = blank + jnp.where(lattice.again, 0, before)
        silent = either * (1 - spoke) + jnp.where(lattice.again, before, 0)
        return (silent, either * spoke + label * stays), (jnp.sum(blank), label)

    reached = jnp.maximum(last.blank, last.label) > -jnp.inf
    goal = (lattice.goal & reached).astype(logits.dtype)
    _, (blank, label) = jax.lax.scan(
        step, (goal * (1 - spoke_last), goal * spoke_last), (stays, spoke), reverse=True
    )
    classes = jnp.arange(logits.shape[1], dtype=jnp.int32)
    own = (labels[:, None] == classes[None]).astype(logits.dtype)
    shares = jnp.matmul(label[:, 1:], own, precision=jax.lax.Precision.HIGHEST)
    shares = shares + jnp.where((classes == blank_id)[None], blank[:, None], 0)
    counts = lattice.real & jnp.any(goal > 0)
    return jnp.where(counts[:, None], jax.nn.softmax(logits) - shares, 0)
