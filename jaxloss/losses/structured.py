"""Losses that judge the tags of a whole sequence, each of which depends on the last."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxloss import _inputs, _numerics


def crf_nll(
    emissions: ArrayLike,
    tags: ArrayLike,
    transitions: ArrayLike,
    start: ArrayLike,
    end: ArrayLike,
    length: ArrayLike,
    /,
) -> Array:
    r"""Surprise, in nats, at the tags of a sequence under a linear-chain CRF.

    .. math:: \ell = \log \sum_{y'} e^{s(y')} - s(y), \qquad
        s(y) = b_{y_1} + \sum_{t=1}^{n} z_{t, y_t}
        + \sum_{t=2}^{n} A_{y_{t-1}, y_t} + e_{y_n}

    with emissions :math:`z`, transitions :math:`A`, start :math:`b` and end :math:`e`;
    the sum is over all sequences of tags. It is not divided by the length.

    Args:
        emissions: score of each tag at each step, shape ``(steps, tags)``, floating.
        tags: indices of the true tags, shape ``(steps,)``, integer.
        transitions: score of going from one tag (row) to the next (column), shape
            ``(tags, tags)``. ``-inf`` forbids.
        start: score of beginning with a tag, shape ``(tags,)``.
        end: score of ending with a tag, shape ``(tags,)``.
        length: how many steps count, shape ``()``, integer. The others are padding and
            may hold anything.

    Returns:
        The loss, shape ``()``, float32 or wider.

    Raises:
        ValueError: a shape is wrong.
        TypeError: `emissions` are not floating, or `tags` or `length` are not integers.

    Guarantees:
        - Never below 0, and accurate also next to 0; a sequence of length 0 costs 0.
        - ``inf``, with gradient 0, when the true tags need a score of ``-inf``.
          Elsewhere such a score only leaves sequences out.
        - ``nan``, with gradient 0, for a tag that counts but is outside ``[0, tags)``,
          for a length that is negative or beyond its array, and for a score of nan or
          ``inf``.
        - Nothing in the padding reaches value or gradient, not even nan.
        - The gradient by each score is the true one: how often it is expected to be
          used, less how often the true tags use it.

    Examples:
        The transitions are parameters of the model, shared by all examples:

        >>> from jaxloss import per_sample
        >>> emissions = jnp.zeros((2, 3, 2))  # 2 sequences of 3 steps and 2 tags
        >>> tags = jnp.array([[0, 1, 0], [0, 0, -1]])
        >>> transitions = jnp.array([[0.0, 0.0], [0.0, -jnp.inf]])  # 1 1 is forbidden
        >>> start = end = jnp.zeros(2)
        >>> kernel = per_sample(crf_nll, in_axes=(0, 0, None, None, None, 0))
        >>> losses = kernel(
        ...     emissions, tags, transitions, start, end, jnp.array([3, 2])
        ... )
        >>> jnp.exp(losses).round(4)  # of 000, 001, 010, 100, 101; of 00, 01, 10
        Array([5., 3.], dtype=float32)

    References:
        Lafferty, McCallum & Pereira, *Conditional Random Fields: Probabilistic Models
        for Segmenting and Labeling Sequence Data*, 2001.
    """
    emissions, transitions, start, end = _inputs.related(
        (("steps", "tags"), ("tags", "tags"), ("tags",), ("tags",)),
        emissions=emissions,
        transitions=transitions,
        start=start,
        end=end,
    )
    steps, count = emissions.shape
    tags = _inputs.integers("tags", tags, (steps,))
    emissions, real, length = _inputs.unpadded("emissions", emissions, "length", length)
    known = ((tags >= 0) & (tags < count)) | ~real
    _inputs.require(known, "tags", f"in [0, {count})", tags)
    tags = jnp.where(known & real, tags, 0).astype(jnp.int32)
    scores = _Scores(emissions, transitions, start, end)
    valid = (length >= 0) & jnp.all(known)
    for name, x in scores._asdict().items():
        _inputs.require(x < jnp.inf, name, "a number below infinity", x)
        valid &= jnp.all(x < jnp.inf)
    # One step of padding, so that there is always a first one, which stands apart.
    tags = jnp.pad(tags, (0, 1))
    scores = scores._replace(emissions=jnp.pad(emissions, ((0, 1), (0, 0))))
    scores = _Scores(*(jnp.where(valid, x, 0) for x in scores))
    return jnp.where(valid, _surprise(*scores, tags, length), jnp.nan)


class _Scores(NamedTuple):
    emissions: Array  # [T, K]
    transitions: Array  # [K, K]
    start: Array  # [K]
    end: Array  # [K]


class _Truth(NamedTuple):
    """The true tags and their scores, relative to which all others are counted."""

    tags: Array  # [T]
    real: Array  # [T], not padding
    last: Array  # [], the tag that ends
    emissions: Array  # [T]
    transitions: Array  # [T], into each step
    start: Array  # []
    end: Array  # []
    possible: Array  # []; when not, all scores are 0


class _Front(NamedTuple):
    """Log-weights of how a sequence may begin, up to some step.

    Wrong beginnings are counted apart from the true one, so that nothing cancels when
    they hardly matter.
    """

    wrong: Array  # [K], of all that are wrong somewhere, by their last tag
    true: Array  # []


@jax.custom_jvp
def _surprise_of(
    emissions: Array,
    transitions: Array,
    start: Array,
    end: Array,
    tags: Array,
    length: Array,
) -> Array:
    scores = _Scores(emissions, transitions, start, end)
    truth = _truth(scores, tags, length)
    return _cost(truth, _forward(scores, truth)[1])


def _surprise_jvp(primals, tangents):
    *parts, tags, length = primals
    scores = _Scores(*parts)
    truth = _truth(scores, tags, length)
    fronts, end = _forward(scores, truth)
    loss = _cost(truth, end)
    slopes = _expected_minus_true(scores, truth, fronts, end)
    change = jnp.zeros_like(loss)
    for slope, tangent in zip(slopes, tangents[:4], strict=True):
        if not isinstance(tangent, SymbolicZero):
            change = change + jnp.sum(slope * tangent)
    return loss, change


_surprise_of.defjvp(_surprise_jvp, symbolic_zeros=True)

# Called outside of jit, a scan would be compiled anew each time.
_surprise = jax.jit(_surprise_of)


def _truth(scores: _Scores, tags: Array, length: Array) -> _Truth:
    step = jnp.arange(len(tags), dtype=jnp.int32)
    real = step < length
    last = tags.at[jnp.maximum(length - 1, 0)].get(mode="clip")
    emissions = jnp.take_along_axis(scores.emissions, tags[:, None], axis=1)[:, 0]
    transitions = scores.transitions[jnp.roll(tags, 1), tags]
    used = (
        jnp.where(real, emissions, 0),
        jnp.where(real & (step > 0), transitions, 0),
        jnp.where(length > 0, scores.start[tags[0]], 0),
        jnp.where(length > 0, scores.end[last], 0),
    )
    possible = jnp.stack([jnp.all(x > -jnp.inf) for x in used]).all()
    used = (jnp.where(possible, x, 0) for x in used)
    return _Truth(tags, real, last, *used, possible)


def _forward(scores: _Scores, truth: _Truth) -> tuple[_Front, _Front]:
    """The fronts before each step but the first, and the one after the end."""
    relative = scores.emissions - truth.emissions[:, None]
    start = scores.start - truth.start + relative[0]
    wrong = truth.real[0] & ~_is(truth.tags[0], start)
    front = _Front(jnp.where(wrong, start, -jnp.inf), jnp.zeros_like(truth.start))

    def step(front: _Front, here: tuple[Array, ...]) -> tuple[_Front, _Front]:
        emissions, transition, before, tag, real = here
        top = jax.lax.stop_gradient(jnp.maximum(jnp.max(front.wrong), front.true))
        front = _Front(front.wrong - top, front.true - top)
        onward = _onward(front, before, tag, scores.transitions)
        into = jax.vmap(_log_total, in_axes=1)(onward)
        wrong = into - transition + emissions
        return _Front(jnp.where(real, wrong, front.wrong), front.true), front

    here = relative[1:], truth.transitions[1:], *_steps(truth)
    last, fronts = jax.lax.scan(step, front, here)
    return fronts, _Front(last.wrong + (scores.end - truth.end), last.true)


def _steps(truth: _Truth) -> tuple[Array, Array, Array]:
    """Of each step but the first: the true tag before, the true tag, if it counts."""
    return truth.tags[:-1], truth.tags[1:], truth.real[1:]


def _onward(front: _Front, before: Array, tag: Array, transitions: Array) -> Array:
    """Log-weights by the tag before (row) and the next (column), if wrong by then."""
    true = jnp.where(_is(before, front.wrong), front.true, -jnp.inf)
    either = _numerics.log_sum(front.wrong, true)
    is_true = _is(tag, either)[None]
    return jnp.where(is_true, front.wrong[:, None], either[:, None]) + transitions


def _is(tag: Array, like: Array) -> Array:
    return jnp.arange(like.size, dtype=jnp.int32) == tag


def _log_odds(end: _Front) -> Array:
    """Of being wrong: nothing cancels on the way to a small loss."""
    return _log_total(end.wrong) - end.true


def _cost(truth: _Truth, end: _Front) -> Array:
    return jnp.where(truth.possible, _numerics.softplus(_log_odds(end)), jnp.inf)


def _expected_minus_true(
    scores: _Scores, truth: _Truth, fronts: _Front, end: _Front
) -> _Scores:
    """The gradient. How probable wrong tags are is told backwards, from the end on.

    Each probability is split among where it may come from, so nothing can underflow but
    what does not matter. It counts for the tags it passes, and against the true ones.
    """

    def step(coming: tuple[Array, Array], here):
        wrong, uses = coming
        front, (before, tag, real) = here
        onward = _onward(front, before, tag, scores.transitions)
        pairs = wrong[None] * jax.vmap(_shares, in_axes=1, out_axes=1)(onward)
        pairs = jnp.where(real, pairs, 0)
        was_true, is_true = _is(before, wrong)[:, None], _is(tag, wrong)[None]
        # What leaves the true tag for another may have been true until then.
        still_wrong = _numerics.share_of_sum(front.wrong, front.true)[:, None]
        still_wrong = jnp.where(was_true & ~is_true, still_wrong, 1)
        earlier = jnp.where(real, jnp.sum(pairs * still_wrong, axis=1), wrong)
        uses = uses + pairs - jnp.where(was_true & is_true, jnp.sum(pairs), 0)
        return (earlier, uses), jnp.where(real, wrong, 0)

    wrong = jnp.where(truth.possible, jax.nn.sigmoid(_log_odds(end)), 0)
    last = wrong * _shares(end.wrong)
    (first, transitions), rest = jax.lax.scan(
        step,
        (last, jnp.zeros_like(scores.transitions)),
        (fronts, _steps(truth)),
        reverse=True,
    )
    return _Scores(
        jax.vmap(_against)(jnp.concatenate([first[None], rest]), truth.tags),
        transitions,
        _against(first, truth.tags[0]),
        _against(last, truth.last),
    )


def _against(wrong: Array, tag: Array) -> Array:
    return wrong - jnp.where(_is(tag, wrong), jnp.sum(wrong), 0)


def _log_total(x: Array) -> Array:
    """log(sum(exp(x))), also where all is -inf."""
    return _numerics.logsumexp_where(x, x > -jnp.inf)


def _shares(x: Array) -> Array:
    """softmax, also where all is -inf."""
    return jax.nn.softmax(jnp.where(jnp.max(x) > -jnp.inf, x, 0))
