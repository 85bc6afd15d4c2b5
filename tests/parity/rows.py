"""A row sets a peer's call beside ours, on inputs in which nothing is symmetric."""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

BATCH, WIDTH = 4, 5

Draw = Callable[[np.random.Generator], np.ndarray]


class Row(NamedTuple):
    """The peer's public name, both calls, and the data; the first is the prediction."""

    name: str
    peer: Callable[..., Any]
    ours: Callable[..., Any]
    data: tuple[Draw, ...]
    float64: bool = True

    @property
    def covers(self) -> str:
        """The public name; what follows a hyphen tells its rows apart."""
        return self.name.partition("-")[0]


def reals(*shape: int, scale: float = 1.5) -> Draw:
    return lambda rng: scale * rng.normal(size=shape or (BATCH, WIDTH))


def positives(*shape: int) -> Draw:
    return lambda rng: rng.uniform(0.2, 3.0, size=shape or (BATCH, WIDTH))


def probabilities(*shape: int) -> Draw:
    return lambda rng: rng.uniform(0.05, 0.95, size=shape or (BATCH, WIDTH))


def distributions(*shape: int) -> Draw:
    def draw(rng):
        raw = rng.uniform(0.1, 1.0, size=shape or (BATCH, WIDTH))
        return raw / raw.sum(-1, keepdims=True)

    return draw


def log_distributions(rng):
    return np.log(distributions()(rng))


def labels(*shape: int, classes: int = WIDTH) -> Draw:
    return lambda rng: rng.integers(classes, size=shape or (BATCH,), dtype=np.int32)


def one_hot(*shape: int, classes: int = WIDTH) -> Draw:
    return lambda rng: np.eye(classes)[labels(*shape, classes=classes)(rng)]


def hard(*shape: int) -> Draw:
    """Zeros and ones, in floats."""
    return lambda rng: rng.integers(2, size=shape or (BATCH, WIDTH)).astype(float)


def sides(*shape: int) -> Draw:
    return lambda rng: 2.0 * hard(*shape)(rng) - 1.0


def counts(*shape: int) -> Draw:
    return lambda rng: rng.poisson(2.5, size=shape or (BATCH, WIDTH)).astype(float)


def fixed(*values: Any) -> Draw:
    return lambda rng: np.array(values)


def data_of(row: Row) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(zlib.crc32(row.name.encode()))
    wide = np.float64 if row.float64 else np.float32
    return tuple(
        x.astype(wide if np.issubdtype(x.dtype, np.floating) else np.int32)
        for x in (draw(rng) for draw in row.data)
    )


def of_jax(loss: Callable[..., Any], data: tuple[np.ndarray, ...]):
    """The losses of a batch, and the gradient of their sum by the prediction."""

    @jax.jit
    def results(prediction, *rest):
        def total(prediction):
            value = loss(prediction, *rest)
            return value.sum(), value

        return jax.grad(total, has_aux=True)(prediction)

    gradient, value = results(*data)
    return np.asarray(value), np.asarray(gradient)


def assert_parity(row: Row, value_and_gradient: Callable[..., Any]) -> None:
    data = data_of(row)
    with jax.enable_x64(row.float64):
        value, gradient = of_jax(row.ours, data)
    wanted_value, wanted_gradient = value_and_gradient(row.peer, data)
    assert value.shape == wanted_value.shape
    assert value.dtype == wanted_value.dtype == data[0].dtype
    assert np.any(wanted_gradient != 0)
    rtol = 1e-9 if row.float64 else 1e-5
    # Next to the largest element a zero may be a rounding error.
    floor = 1e-14 if row.float64 else 1e-6
    for got, wanted in ((value, wanted_value), (gradient, wanted_gradient)):
        atol = floor * np.abs(wanted).max()
        np.testing.assert_allclose(got, wanted, rtol=rtol, atol=atol)
