"""Losses of a transducer, whose scores also depend on the labels given so far."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxloss import _devices, _inputs, _numerics


def rnnt_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    logit_length: ArrayLike,
    label_length: ArrayLike,
    /,
    *,
    blank_id: int = 0,
) -> Array:
    r"""Surprise, in nats, at labels that a transducer gives between the frames.

    At frame :math:`t`, after :math:`u` labels, the classes follow
    :math:`p_{t,u} = \mathrm{softmax}(z_{t,u})`. A blank moves on to the next frame, a
    label stays; after the blank of the last frame all :math:`U` labels must be there.
    Over the ways :math:`\pi` from :math:`(0, 0)` to :math:`(T, U)`,

    .. math:: \ell(z, y) = -\log \sum_\pi \prod_{(t,u) \in \pi}
        p_{t,u}(\text{blank or } y_{u+1}).

    The sum over frames and labels is not divided by any length.

    Args:
        logits: unnormalised log-probabilities, shape ``(frames, labels + 1, classes)``,
            floating. A logit of ``-inf`` marks a class as impossible there.
        labels: indices of the true classes in order, shape ``(labels,)``, integer,
            without blanks.
        logit_length: how many frames count, shape ``()``, integer. The others are
            padding and may hold anything.
        label_length: how many labels count, shape ``()``, integer. The others, and
            the logits after more labels than these, are padding and may hold anything.
        blank_id: index of the blank class.

    Returns:
        The loss, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong, or `blank_id` is not a class.
        TypeError: `logits` are not floating, or labels or lengths are not integers.

    Guarantees:
        - ``inf``, with gradient 0, when there is no way: labels without a frame, or
          only through impossible classes.
        - ``nan``, with gradient 0, for a label that counts but is the blank or outside
          ``[0, classes)``, and for a length that is negative or beyond its array.
        - Nothing in the padding reaches value or gradient, not even nan.
        - Never below 0. Without labels, the surprise at blanks; without frames too, 0.
        - The gradient is the true one: the probability of coming by ``(t, u)`` times
          ``softmax(logits)``, minus that of leaving it by each class. It sums to 0 over
          the classes.
        - Nothing as large as the logits is held but the gradient itself.

    Examples:
        >>> logits = jnp.log(jnp.array([[[0.5, 0.5], [0.25, 0.75]]]))
        >>> loss = rnnt_loss(logits, jnp.array([1]), 1, 1)  # the label, then a blank
        >>> jnp.exp(-loss)  # 0.5 * 0.25
        Array(0.125, dtype=float32)

    References:
        Graves, *Sequence Transduction with Recurrent Neural Networks*, 2012.
    """
    (wide,) = _inputs.related([("frames", "labels + 1", "classes")], logits=logits)
    logits = jnp.asarray(logits)  # not made wide before it is read
    frames, places, classes = logits.shape
    labels, label_length = _inputs.transcript(labels, label_length, classes, blank_id)
    if places != labels.size + 1:
        raise ValueError(
            f"`logits` must have shape (frames, labels + 1, classes) for {labels.size} "
            f"labels, got {logits.shape}. The first scores come before any label."
        )
    logit_length = _inputs.length("logit_length", logit_length, frames)
    real = _real(logits, logit_length, label_length)[..., None]
    _inputs.require(~jnp.isnan(wide) | ~real, "logits", "a number", wide)
    return _surprise(logits, labels, logit_length, label_length, blank_id)


class _Lattice(NamedTuple):
    """Log-probabilities of each move from (t, u), and of what they are made.

    Padding is passed with certainty: blanks after the last frame that counts, and then
    labels after the last one that counts. So every way ends in the last corner.
    """

    blank: Array  # [T + 1, U + 1], from (t, u) to (t + 1, u)
    label: Array  # [T + 1, U + 1], from (t, u) to (t, u + 1)
    real: Array  # [T, U + 1], not padding
    valid: Array  # [], all there is has a meaning
    top: Array  # [T, U + 1], the highest logit
    total: Array  # [T, U + 1], log of the sum of exponentials below the highest


class _Fronts(NamedTuple):
    """What is reached in n moves, by the number u of labels among them."""

    odds: Array  # [T + U, U + 1], log-odds that the last move there was a blank
    last: Array  # [U + 1], log-probabilities, but for the scale
    scale: Array  # [], to be added to them: it keeps them small, and so exact


@functools.partial(jax.custom_jvp, nondiff_argnums=(4,))
def _surprise_of(
    logits: Array, labels: Array, frames: Array, length: Array, blank_id: int
) -> Array:
    lattice = _lattice(logits, labels, frames, length, blank_id)
    return _cost(lattice, _forward(lattice))


@_surprise_of.defjvp
def _surprise_of_jvp(blank_id, primals, tangents):
    logits, labels, frames, length = primals
    lattice = _lattice(logits, labels, frames, length, blank_id)
    fronts = _forward(lattice)
    slope = _softmax_minus_moves(logits, labels, blank_id, lattice, fronts)
    return _cost(lattice, fronts), jnp.sum(slope * _wide(tangents[0]))


# Called outside of jit, a scan would be compiled anew each time.
_surprise = jax.jit(_surprise_of, static_argnums=4)


def _real(logits: Array, frames: Array, length: Array) -> Array:
    t = jnp.arange(logits.shape[0], dtype=jnp.int32)
    u = jnp.arange(logits.shape[1], dtype=jnp.int32)
    return (t < frames)[:, None] & (u <= length)[None]


def _lattice(
    logits: Array, labels: Array, frames: Array, length: Array, blank_id: int
) -> _Lattice:
    top = jax.vmap(jax.vmap(_numerics.top))(_wide(logits))
    logits = jax.lax.optimization_barrier(logits)
    total = _log_total(logits, top)
    real = _real(logits, frames, length)
    valid = (frames >= 0) & (length >= 0) & ~jnp.any(real & jnp.isnan(total))
    label = jnp.take_along_axis(
        logits, _next(labels, blank_id)[None, :, None], axis=2, mode="promise_in_bounds"
    )

    def log_p(scores: Array) -> Array:
        certain = jnp.where(scores == jnp.inf, 0, -jnp.inf)
        below = jnp.where(_is_infinite(top), certain, _wide(scores) - top)
        return jnp.pad(below - total, ((0, 1), (0, 0)))

    t = jnp.arange(len(logits) + 1, dtype=jnp.int32)[:, None]
    u = jnp.arange(labels.size + 1, dtype=jnp.int32)[None]
    end = len(logits), labels.size
    inside = jnp.pad(real & valid, ((0, 1), (0, 0)))
    return _Lattice(
        blank=_choose(
            inside & ((t < frames - 1) | (u == length)),
            log_p(logits[:, :, blank_id]),
            (t >= frames) & (t < end[0]),
        ),
        label=_choose(
            inside & (u < length),
            log_p(label[:, :, 0]),
            (t == end[0]) & (u >= length) & (u < end[1]),
        ),
        real=real & valid,
        valid=valid,
        top=jnp.where(real & valid, top, 0),
        total=jnp.where(real & valid, total, 0),
    )


def _choose(inside: Array, log_p: Array, sure: Array) -> Array:
    return jnp.where(inside, log_p, jnp.where(sure, 0, -jnp.inf))


def _wide(logits: Array) -> Array:
    return logits if logits.dtype == jnp.float64 else logits.astype(jnp.float32)


def _is_infinite(top: Array) -> Array:
    """Whether the highest logit, which is held finite, was not."""
    return top == jnp.finfo(top.dtype).max


@jax.custom_jvp
def _log_total(logits: Array, top: Array) -> Array:
    """log(sum(exp(logits - top))), exact also where one class outweighs all others.

    nan where no share of the total is defined. The classes at the top are counted apart
    from the others and in a pass of their own: neither pass has more than one use of
    what it cannot compute twice. The barriers keep the compiler from joining them, and
    stand before the logits are made wide, so that these are not written to memory.
    """
    logits, top = jax.lax.optimization_barrier((logits, top))
    below = _below(logits, top)
    others = jnp.sum(jnp.exp(below) - (1 + jnp.sign(below)), axis=2)
    logits, top, others = jax.lax.optimization_barrier((logits, top, others))
    ones = logits.shape[2] + jnp.sum(jnp.sign(_below(logits, top)), axis=2)
    # Only an infinite logit is above the top, and counts as 2.
    sure = (others == jnp.inf) & (ones == 2)
    others, ones = jnp.where(sure, 0, others), jnp.where(sure, 1, ones)
    defined = (ones > 0) & (others < jnp.inf)
    return jnp.where(defined, jnp.log1p(others + (ones - 1)), jnp.nan)


def _below(logits: Array, top: Array) -> Array:
    return _wide(logits) - top[..., None]


@_log_total.defjvp
def _log_total_jvp(primals, tangents):
    logits, top = primals  # the top is a constant
    total = _log_total(logits, top)
    share = _softmax(logits, top, total)
    share = jnp.where(jnp.isfinite(share), share, 0)
    return total, jnp.sum(share * _wide(tangents[0]), axis=2)


def _softmax(logits: Array, top: Array, total: Array) -> Array:
    below = jnp.where(logits == jnp.inf, 0, _below(logits, top))
    return jnp.exp(below - total[..., None])


def _next(labels: Array, blank_id: int) -> Array:
    """The label to come at each place; none at the last, where it is of no use."""
    return jnp.pad(labels, (0, 1), constant_values=blank_id)


def _forward(lattice: _Lattice) -> _Fronts:
    start = jnp.where(jnp.arange(lattice.blank.shape[1]) == 0, 0, -jnp.inf)
    start = _devices.varying_as(start.astype(lattice.blank.dtype), lattice)

    def step(front: Array, moves: tuple[Array, Array]):
        blank, label = moves
        highest = _numerics.top(front)
        front = front - highest
        silent = front + blank
        spoken = jnp.pad((front + label)[:-1], (1, 0), constant_values=-jnp.inf)
        odds = _numerics.log_odds(silent, spoken)
        return _numerics.log_sum(silent, spoken), (odds, highest)

    last, (odds, highest) = jax.lax.scan(
        step,
        start,
        (_by_moves(lattice.blank), _by_moves(lattice.label)),
    )
    return _Fronts(odds, last, jnp.sum(highest))


def _cost(lattice: _Lattice, fronts: _Fronts) -> Array:
    loss = -(fronts.last[-1] + fronts.scale)
    loss = loss + jax.lax.stop_gradient(jnp.maximum(-loss, 0))  # rounding below 0
    return jnp.where(lattice.valid, loss, jnp.nan)


def _softmax_minus_moves(
    logits: Array, labels: Array, blank_id: int, lattice: _Lattice, fronts: _Fronts
) -> Array:
    """The gradient. What of all ways is where is told backwards, from the end on.

    Each share is split among where it may come from, so nothing can underflow but what
    does not matter, and the shares after any number of moves sum to 1.
    """

    def step(share: Array, split: tuple[Array, Array]):
        blank, label = split
        silent, spoken = share * blank, jnp.pad((share * label)[1:], (0, 1))
        return silent + spoken, (silent, spoken)

    reached = fronts.last[-1] > -jnp.inf
    end = jnp.pad(reached[None].astype(fronts.last.dtype), (labels.size, 0))
    end = _devices.varying_as(end, fronts)
    split = jax.nn.sigmoid(fronts.odds), jax.nn.sigmoid(-fronts.odds)
    _, moves = jax.lax.scan(step, end, split, reverse=True)
    silent, spoken = (_by_frame(x, len(logits)) for x in moves)
    # Without the barrier their places are computed anew for each class.
    logits, silent, spoken = jax.lax.optimization_barrier((logits, silent, spoken))

    real = lattice.real[..., None]
    softmax = _softmax(jnp.where(real, logits, 0), lattice.top, lattice.total)
    classes = jnp.arange(logits.shape[2], dtype=jnp.int32)[None, None]
    slope = (silent + spoken)[..., None] * softmax
    slope -= jnp.where(classes == blank_id, silent[..., None], 0)
    own = classes == _next(labels, blank_id)[None, :, None]
    slope -= jnp.where(own, spoken[..., None], 0)
    return jnp.where(real, slope, 0)


def _by_moves(x: Array) -> Array:
    """[T + 1, U + 1] at (t, u), as [T + U, U + 1] at (t + u, u); -inf where t is not.

    Each column is shifted by one more than the column before.
    """
    rows, columns = x.shape
    x = jnp.pad(x.T, ((0, 0), (0, columns)), constant_values=-jnp.inf)
    steps = rows + columns - 1
    return x.ravel()[: columns * steps].reshape(columns, steps).T[:-1]


def _by_frame(x: Array, frames: int) -> Array:
    """[T + U, U + 1] at (t + u, u), as [T, U + 1] at (t, u)."""
    steps, columns = x.shape
    x = jnp.pad(x.T.ravel(), (0, columns)).reshape(columns, steps + 1)
    return x[:, :frames].T
