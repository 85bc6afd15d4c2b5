"""The statistics of logits that are never in memory at once.

Forward, the classes are gone through in chunks, and each chunk's logits are forgotten.
Backward, they are computed again: four products of the size of the logits in all.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxloss.kernels.linear_cross_entropy.head import (
    Head,
    product_of_tokens,
    sum_of_tokens,
    sweep,
)
from jaxloss.kernels.linear_cross_entropy.statistics import Statistics, Wanted


class How(NamedTuple):
    """What is known before anything is computed."""

    size: int  # classes in a chunk
    soft_cap: float | None
    wanted: Wanted


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def statistics(how: How, head: Head, labels: Array) -> Statistics:
    """As `of_logits`, of the logits of a head; a label of -1 is none of these."""
    dtype = head.dtype
    bound = jnp.finfo(dtype).max
    zeros = jnp.zeros_like(head.hidden, shape=labels.shape, dtype=dtype)

    def body(so_far: _Sums, start: Array | int, size: int) -> _Sums:
        logits = _capped(head.logits(start, size), how.soft_cap)
        local, hit = _hit(labels, start, size)
        own = logits.at[jnp.arange(len(labels), dtype=jnp.int32), local].get(
            mode="fill", fill_value=0, wrap_negative_indices=False
        )
        others = jnp.where(hit, -jnp.inf, logits)
        highest = jnp.clip(jnp.max(others, axis=1), -bound, bound)
        highest = jnp.maximum(so_far.highest, highest)
        powers = jnp.exp(others - highest[:, None])
        drop = so_far.highest - highest
        kept = jnp.exp(drop) * so_far.power
        weighted, total, count = so_far.weighted, so_far.total, so_far.possible
        possible = others > -jnp.inf
        if how.wanted.entropy:
            below = jnp.where(possible, others - highest[:, None], 0)
            moved = jnp.exp(drop) * weighted + jnp.where(kept > 0, drop * kept, 0)
            weighted = moved + jnp.sum(powers * below, axis=1)
        if how.wanted.mean:
            total = total + jnp.sum(jnp.where(possible, others, 0), axis=1)
            count = count + jnp.sum(possible, axis=1).astype(dtype)
        power = kept + jnp.sum(powers, axis=1)
        return _Sums(highest, power, weighted, so_far.label + own, total, count)

    sums = sweep(
        body,
        _Sums(zeros - bound, zeros, zeros, zeros, zeros, zeros),
        head.classes,
        how.size,
    )
    log_power = jnp.log(sums.power)
    entropy = log_power - sums.weighted / jnp.where(sums.power > 0, sums.power, 1)
    return Statistics(
        others=log_power + sums.highest,
        label=sums.label,
        entropy=jnp.where(sums.power > 0, entropy, 0) if how.wanted.entropy else zeros,
        total=sums.total,
        possible=sums.possible,
    )


class _Sums(NamedTuple):
    highest: Array
    power: Array  # sum of exp(logit - highest)
    weighted: Array  # sum of exp(logit - highest) (logit - highest)
    label: Array
    total: Array
    possible: Array


def _forward(how: How, head: Head, labels: Array) -> tuple[Statistics, Any]:
    found: Any = statistics(how, head, labels)
    return found, (head, labels, found)


def _backward(how: How, kept: Any, cotangents: Statistics) -> tuple[Head, None]:
    head, labels, found = kept
    dtype = head.dtype
    pulls = _pulls(found, cotangents)
    sound = (found.others < jnp.inf) & (found.label < jnp.inf)
    met = head.hidden.astype(dtype)

    def body(so_far: Head, start: Array | int, size: int) -> Head:
        logits = _capped(head.logits(start, size), how.soft_cap)
        _, hit = _hit(labels, start, size)
        slope = pulls.slope(logits, hit, how)
        slope = jnp.where(sound[:, None], slope, 0)
        weights = lax.dynamic_slice_in_dim(head.weights, start, size, 1).astype(dtype)
        for_hidden = jnp.matmul(slope, weights.T, preferred_element_type=dtype)
        for_weights = product_of_tokens(met, slope)
        bias = so_far.bias
        if bias is not None:
            for_bias = sum_of_tokens(slope).astype(bias.dtype)
            bias = lax.dynamic_update_slice_in_dim(bias, for_bias, start, 0)
        return Head(
            so_far.hidden + for_hidden,
            lax.dynamic_update_slice_in_dim(
                so_far.weights, for_weights.astype(head.weights.dtype), start, 1
            ),
            bias,
        )

    zeros = jax.tree.map(jnp.zeros_like, head)
    zeros = zeros._replace(hidden=zeros.hidden.astype(dtype))
    slopes = sweep(body, zeros, head.classes, how.size)
    return slopes._replace(hidden=slopes.hidden.astype(head.hidden.dtype)), None


statistics.defvjp(_forward, _backward)


class _Pulls(NamedTuple):
    """For each token, what makes the slope of its logits."""

    level: Array  # log of the sum of the exponentials of the others, finite
    entropy: Array
    of_power: Array
    of_label: Array
    of_entropy: Array
    of_total: Array

    def slope(self, logits: Array, hit: Array, how: How) -> Array:
        """Of the loss with respect to what the layer gives, before a soft cap."""
        possible = logits > -jnp.inf
        share = jnp.exp(logits - self.level[:, None])
        pull = self.of_power[:, None]
        if how.wanted.entropy:
            log_share = jnp.where(possible, logits - self.level[:, None], 0)
            pull = pull - self.of_entropy[:, None] * (log_share + self.entropy[:, None])
        slope = share * pull
        if how.wanted.mean:
            slope = slope + jnp.where(possible, self.of_total[:, None], 0)
        slope = jnp.where(hit, self.of_label[:, None], slope)
        if how.soft_cap is not None:
            bend = 1 - jnp.square(logits / how.soft_cap)
            slope = jnp.where(possible, slope * bend, 0)
        return slope


def _pulls(found: Statistics, cotangents: Statistics) -> _Pulls:
    level = jnp.where(jnp.isfinite(found.others), found.others, 0)
    of = [jnp.where(jnp.isfinite(x), x, 0) for x in cotangents]
    of_label = jnp.where(found.label > -jnp.inf, of[1], 0)
    return _Pulls(level, found.entropy, of[0], of_label, of[2], of[3])


def _hit(labels: Array, start: Array | int, size: int) -> tuple[Array, Array]:
    """Where each label is in a chunk, and the element that it is."""
    local = jnp.where(labels < start, -1, labels - start)
    return local, jnp.arange(size, dtype=jnp.int32)[None] == local[:, None]


def _capped(logits: Array, cap: float | None) -> Array:
    if cap is None:
        return logits
    return jnp.where(logits == -jnp.inf, -jnp.inf, cap * jnp.tanh(logits / cap))
