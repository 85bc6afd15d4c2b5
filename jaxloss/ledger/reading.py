"""Means, variances and shares, read from the records."""

import jax.numpy as jnp
from jax import Array

from jaxloss.ledger.records import Ledger, Moments


def loss_mean(ledger: Ledger) -> Array:
    """Mean loss of each example, shape ``(N,)``; nan for one never seen."""
    return _mean(ledger.loss)


def loss_variance(ledger: Ledger) -> Array:
    """Variance over time of each example's loss, shape ``(N,)``; nan if never seen."""
    return _variance(ledger.loss)


def margin_mean(ledger: Ledger) -> Array:
    """Mean margin of each example, shape ``(N,)``; nan for one without."""
    return _mean(ledger.margin)


def margin_variance(ledger: Ledger) -> Array:
    """Variance over time of each example's margin, shape ``(N,)``; nan if without."""
    return _variance(ledger.margin)


def label_probability_mean(ledger: Ledger) -> Array:
    """Mean probability of each example's label, shape ``(N,)``; nan for one without.

    In dataset cartography this is the confidence.
    """
    return _mean(ledger.label_probability)


def label_probability_variance(ledger: Ledger) -> Array:
    """Variance over time of the label's probability, shape ``(N,)``; nan if without.

    In dataset cartography its square root is the variability.
    """
    return _variance(ledger.label_probability)


def correctness(ledger: Ledger) -> Array:
    """Share of the times an example was correct, shape ``(N,)``; nan if not judged."""
    return _share(ledger.correct, ledger.judged)


def class_probabilities(ledger: Ledger) -> Array:
    """Mean class probabilities of each example, shape ``(N, C)``; nan for one without.

    Raises:
        ValueError: the ledger keeps no class probabilities.
    """
    if ledger.class_count is None or ledger.class_mean is None:
        raise ValueError(
            "`ledger` must keep class probabilities, got one without. Give "
            "`num_classes` to `ledger.init` and `probabilities` to `ledger.update`."
        )
    return jnp.where(ledger.class_count[:, None] > 0, ledger.class_mean, jnp.nan)


def _mean(moments: Moments) -> Array:
    return jnp.where(moments.times > 0, moments.mean, jnp.nan)


def _variance(moments: Moments) -> Array:
    return _share(moments.squares, moments.times)


def _share(part: Array, count: Array) -> Array:
    # 0 / 0 is the nan of an example without records.
    return part.astype(jnp.float32) / count.astype(jnp.float32)
