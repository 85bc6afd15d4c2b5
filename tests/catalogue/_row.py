"""The form of a row, and the examples that several families draw."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

Example = tuple[np.ndarray, ...]


class Row(NamedTuple):
    """What the laws need to know about one loss under one set of options.

    Attributes:
        loss: function of one example.
        draw: one random float64 example, positional arguments in order.
        reference: the value for such an example, in float64.
        differentiable: positions of the floating arguments that take a gradient; the
            prediction is at 0.
        elementwise: takes any shape, and a mask as one more argument.
        separable: an elementwise loss is the mean of the losses of single elements;
            False when the elements are judged together.
        masked: takes a mask of positions as one more argument; elementwise losses do.
        channels: the last axis of the data is no axis of positions, nor of the mask.
        classes: number of classes when the second argument is an integer label.
        bounded: values are never below 0.
        extremes: examples that must not give a nan gradient.
    """

    loss: Callable[..., Any]
    draw: Callable[[np.random.Generator], Example]
    reference: Callable[..., Any]
    differentiable: tuple[int, ...] = (0, 1)
    elementwise: bool = False
    separable: bool = True
    masked: bool = False
    channels: bool = False
    classes: int | None = None
    bounded: bool = True
    extremes: tuple[Example, ...] = ()


def numbers(rng: np.random.Generator) -> Example:
    return rng.normal(0, 2, (3, 5)), rng.normal(0, 2, (3, 5))


def answers(rng: np.random.Generator) -> Example:
    return rng.normal(0, 3, (3, 5)), rng.uniform(0, 1, (3, 5))


def chances(rng: np.random.Generator) -> Example:
    return rng.uniform(0.05, 0.95, (3, 5)), rng.uniform(0, 1, (3, 5))


def sides(rng: np.random.Generator) -> Example:
    return rng.normal(0, 2, (3, 5)), rng.choice([-1.0, 1.0], (3, 5))


def logits_and_label(rng: np.random.Generator) -> Example:
    return rng.normal(0, 2, 7), rng.integers(0, 7, ())


def logits_and_target(rng: np.random.Generator) -> Example:
    return rng.normal(0, 2, 7), rng.uniform(0, 1, 7)


def chances_and_target(rng: np.random.Generator) -> Example:
    return rng.uniform(0.05, 0.95, 7), rng.uniform(0, 1, 7)


def far(second) -> tuple[Example, ...]:
    """Scores of -1e4, 0 and 1e4, each against every second argument given."""
    grid = np.array([-1e4, -200.0, 0.0, 200.0, 1e4])
    return tuple((grid, np.full(5, value)) for value in second)


elementwise = partial(Row, elementwise=True, masked=True)

FAR_LOGITS = tuple(
    (np.pad(np.array(z, float), (0, 4), constant_values=rest), np.array(0))
    for z, rest in [
        ([1e4, 0, -1e4], 0),
        ([-1e4, 0, 1e4], 0),
        ([0, 0, 0], 0),
        ([1e8, 1e8, 0], -np.inf),
        ([0, -np.inf, 0], -np.inf),
        ([-np.inf, 0, 0], 0),
        ([0, -np.inf, -np.inf], -np.inf),
    ]
)
FAR_TARGETS = tuple(
    (z, np.pad(np.array(y), (0, 4)))
    for z, _ in FAR_LOGITS
    for y in ([1.0, 0, 0], [0.5, 0, 0.5])
)
