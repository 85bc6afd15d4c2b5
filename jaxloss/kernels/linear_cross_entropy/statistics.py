"""The few numbers for each token that every loss of this room is made of."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxloss import _inputs, _numerics


class Wanted(NamedTuple):
    """Which statistics are computed; the others are 0."""

    entropy: bool
    mean: bool


class Statistics(NamedTuple):
    """Of the logits of each token, the label's set apart: so nothing cancels."""

    others: Array  # [N], log of the sum of the exponentials, without the label's
    label: Array  # [N], the logit of the label; 0 where the label is not in this part
    entropy: Array  # [N], of the softmax of the others
    total: Array  # [N], sum of the possible others, those above -inf
    possible: Array  # [N], how many they are


class Options(NamedTuple):
    """What is asked of a loss."""

    label_smoothing: float | Array
    z_loss: float | Array
    soft_cap: float | None

    @classmethod
    def read(
        cls,
        label_smoothing: float | Array,
        z_loss: float | Array,
        soft_cap: float | None,
    ) -> "Options":
        """Checks them."""
        _inputs.share("label_smoothing", label_smoothing)
        if soft_cap is not None:
            if not isinstance(soft_cap, (int, float)):
                raise TypeError(
                    "`soft_cap` must be a Python number, since nothing is derived with "
                    f"respect to it, got {type(soft_cap).__name__}."
                )
            _inputs.positive("soft_cap", soft_cap)
            soft_cap = float(soft_cap)
        return cls(label_smoothing, z_loss, soft_cap)

    def wanted(self, entropy: bool) -> Wanted:
        """The statistics that are needed."""
        return Wanted(entropy, mean=not _numerics.is_zero(self.label_smoothing))


def of_logits(
    logits: Array, labels: Array, soft_cap: float | None, wanted: Wanted
) -> Statistics:
    """Of a whole matrix of logits, `[N, V]`; a label of -1 is none of these."""
    if soft_cap is not None:
        cap = jnp.asarray(soft_cap, logits.dtype)
        logits = _numerics.soft_cap(logits, cap)
    return jax.vmap(functools.partial(_of_row, wanted=wanted))(logits, labels)


def _of_row(logits: Array, label: Array, wanted: Wanted) -> Statistics:
    zero = jnp.zeros_like(logits, shape=())
    own = _numerics.at_label(logits, label)
    own = jnp.where(own == -jnp.inf, -jnp.inf, own)  # which does not move
    others = _log_others(logits, label)
    entropy, total, count = zero, zero, zero
    if wanted.entropy:
        entropy = _entropy_of_others(logits, label)
    if wanted.mean:
        possible = (logits > -jnp.inf) & ~_numerics.is_label(logits, label)
        total = jnp.sum(logits, where=possible)
        count = jnp.sum(possible).astype(logits.dtype)
    return Statistics(others, jnp.where(label < 0, 0, own), entropy, total, count)


def _without(logits: Array, label: Array) -> Array:
    return jnp.where(_numerics.is_label(logits, label), -jnp.inf, logits)


@jax.custom_jvp
def _log_others(logits: Array, label: Array) -> Array:
    return jax.nn.logsumexp(_without(logits, label))


@_log_others.defjvp
def _log_others_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    value = _log_others(*primals)
    logits, label, level = lax.optimization_barrier((*primals, value))
    share = _share_of_others(logits, label, level)
    return value, jnp.sum(share * tangents[0])


def _share_of_others(logits: Array, label: Array, level: Array) -> Array:
    """Their softmax; 0 where their sum is not known."""
    share = jnp.exp(logits - jnp.where(jnp.isfinite(level), level, jnp.inf))
    return jnp.where(_numerics.is_label(logits, label), 0, share)


def _entropy_slope(logits: Array, label: Array) -> Array:
    level = _log_others(logits, label)
    share = _share_of_others(logits, label, level)
    log_share = jnp.where(share > 0, logits - level, 0)
    return -share * (log_share + _entropy_of_others(logits, label))


@_numerics.slopes(_entropy_slope, _numerics.no_slope)
def _entropy_of_others(logits: Array, label: Array) -> Array:
    level = _log_others(logits, label)
    share = _share_of_others(logits, label, level)
    entropy = -jnp.sum(_numerics.times(share, logits - level))
    entropy = jnp.where(level == -jnp.inf, 0, entropy)
    return jnp.where(jnp.isnan(level), jnp.nan, entropy)


def joined(parts: Statistics, axis_name: str | None) -> Statistics:
    """Of all classes, when each device along an axis has some of them."""
    if axis_name is None:
        return parts
    bound = jnp.finfo(parts.others.dtype).max
    highest = jnp.clip(lax.stop_gradient(parts.others), -bound, bound)
    highest = lax.pmax(highest, axis_name)
    weight = jnp.exp(parts.others - highest)
    total = lax.psum(weight, axis_name)
    some = total > 0
    others = jnp.log(jnp.where(some, total, 1)) + highest
    others = jnp.where(some | jnp.isnan(total), others, -jnp.inf)
    share = weight / jnp.where(some, total, 1)
    # The entropy of a choice in two steps: first a device, then a class of it.
    surprise = others - parts.others
    entropy = _numerics.times(share, parts.entropy + surprise)
    return Statistics(
        others,
        *(lax.psum(x, axis_name) for x in (parts.label, entropy, *parts[3:])),
    )


def pull_to_part(
    part: Statistics, whole: Statistics, cotangents: Statistics
) -> Statistics:
    """The cotangents of one part from those of what `joined` made, without entropy."""
    share = jnp.exp(part.others - jnp.where(whole.others > -jnp.inf, whole.others, 0))
    share = jnp.where(jnp.isfinite(share), share, 0)
    return cotangents._replace(others=share * cotangents.others)


def losses(of: Statistics, options: Options) -> Array:
    """The cross-entropy of each token."""
    loss = _numerics.softplus(_odds(of))
    if not _numerics.is_zero(options.label_smoothing):
        own = of.label > -jnp.inf
        total = of.total + jnp.where(own, of.label, 0)
        mean = total / jnp.maximum(of.possible + own.astype(total.dtype), 1)
        even = _log_normalizer(of) - mean
        loss = (1 - options.label_smoothing) * loss + options.label_smoothing * even
    if not _numerics.is_zero(options.z_loss):
        loss = loss + options.z_loss * _log_normalizer(of) ** 2
    return loss


def entropies(of: Statistics) -> Array:
    """The entropy of the prediction for each token."""
    odds = _odds(of)
    wrong, right = jax.nn.sigmoid(odds), jax.nn.sigmoid(-odds)
    within = wrong * of.entropy
    surprise_right = _numerics.times(right, _numerics.softplus(odds))
    return within + surprise_right + _numerics.times(wrong, _numerics.softplus(-odds))


def _odds(of: Statistics) -> Array:
    """The log-odds of the other classes against the label."""
    return of.others - of.label


def _log_normalizer(of: Statistics) -> Array:
    return jnp.logaddexp(of.others, of.label)
