"""Rows of `jaxloss.losses.adaptive`."""

import functools

import numpy as np
import scipy.special

from jaxloss import losses
from tests.catalogue._row import Row

_rng = np.random.default_rng(0)


def _parameters(*shape):
    return _rng.normal(size=shape).astype(np.float32)  # as wide as the example allows


HEAD, BIAS = _parameters(6, 4), _parameters(4)  # 2 frequent classes and 2 clusters
TAILS = tuple(
    (_parameters(6, narrow), _parameters(narrow, classes))
    for narrow, classes in ((3, 3), (1, 2))
)


def full_log_prob(hidden, head, tails, bias):
    """The log-probability of every class, one after the other."""
    top = scipy.special.log_softmax(hidden @ head + bias)
    frequent = len(top) - len(tails)
    parts = [top[:frequent]]
    for cluster, (project, weights) in zip(top[frequent:], tails, strict=True):
        parts.append(cluster + scipy.special.log_softmax((hidden @ project) @ weights))
    return np.concatenate(parts)


def hidden_and_label(rng):
    return rng.normal(0, 1, 6), rng.integers(0, 7, ())


def loss_of(hidden, label, bias=None):
    return losses.adaptive_log_softmax_loss(hidden, label, HEAD, TAILS, bias)


_labelled = functools.partial(
    Row,
    draw=hidden_and_label,
    differentiable=(0,),
    classes=7,
    extremes=tuple(
        (scale * np.ones(6), np.array(label))
        for scale in (0.0, 1e4, -1e4, 1e30)
        for label in (0, 2, 6)
    ),
)
ROWS = {
    "adaptive_log_softmax_loss": _labelled(
        loss_of,
        reference=lambda h, y: -full_log_prob(h, HEAD, TAILS, np.zeros(4))[y],
    ),
    "adaptive_log_softmax_loss-head_bias": _labelled(
        functools.partial(loss_of, bias=BIAS),
        reference=lambda h, y: -full_log_prob(h, HEAD, TAILS, BIAS)[y],
    ),
}
