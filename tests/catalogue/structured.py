"""Rows of `jaxloss.losses.structured`."""

import itertools

import numpy as np

from jaxloss import losses
from tests.catalogue._row import Row


def tagged(rng):
    """Up to 4 steps of 3 tags; the rest is padding."""
    tags = np.append(rng.integers(0, 3, 3), -7)
    scores = rng.normal(0, 2, (3, 3)), rng.normal(0, 2, 3), rng.normal(0, 2, 3)
    return rng.normal(0, 2, (4, 3)), tags, *scores, rng.integers(2, 4, ())


def score(emissions, tags, transitions, start, end):
    """What one sequence of tags scores."""
    steps = sum(emissions[t, tag] for t, tag in enumerate(tags))
    pairs = sum(transitions[pair] for pair in itertools.pairwise(tags))
    return start[tags[0]] + steps + pairs + end[tags[-1]]


def by_enumeration(emissions, tags, transitions, start, end, length):
    """Over all sequences of tags."""
    if not length:
        return 0.0
    emissions, tags = emissions[:length], tuple(tags[:length])
    every = itertools.product(range(len(start)), repeat=int(length))
    scores = [score(emissions, these, transitions, start, end) for these in every]
    true = score(emissions, tags, transitions, start, end)
    return np.logaddexp.reduce(scores) - true if true > -np.inf else np.inf


def _extreme(emission, transition, tags, length):
    """The true tags are 0 1 0 if they all count."""
    emissions = np.zeros((3, 2))
    emissions[1, 1] = emission
    transitions = np.zeros((2, 2))
    transitions[1] = transition
    ends = np.zeros(2), np.zeros(2)
    return emissions, np.array(tags), transitions, *ends, np.array(length)


ROWS = {
    "crf_nll": Row(
        losses.crf_nll,
        tagged,
        by_enumeration,
        differentiable=(0, 2, 3, 4),
        extremes=tuple(
            _extreme(emission, transition, tags, length)
            for emission in (0, 1e4, -1e4, 1e30, -np.inf, np.inf)
            for transition in (0, 1e4, -np.inf, np.inf)
            for tags, length in [
                ([0, 1, 0], 3),
                ([0, 0, 1], 3),
                ([0, 0, 0], 3),
                ([0, 1, 0], 1),
                ([0, 1, 0], 0),
                ([0, 1, 2], 3),
                ([0, 1, 0], 4),
            ]
        ),
    ),
}
