"""How many times faster: of medians, and of many cases together."""

import math
import statistics
from collections.abc import Sequence

from benchmarks.shapes import SMALL

MODES = ("value", "value and gradient")
OURS = "jaxloss"
# Compiled for all the bits that a vector of AVX-512 has; XLA takes 256 by itself.
OURS_512 = "jaxloss, 512 bits"
OPTAX = "optax, jit"
# Those that a claim of "the best peer" is about.
PEERS = (OPTAX, "PyTorch", "torch.compile", "tf.function", "tf.function, XLA")
KERAS = "Keras"
READ = "plain read"
# How much of our time a plain read should be, of values from memory, by work.
SHARES = {
    "polynomial": 0.8,
    "one transcendental": 0.35,
    "softmax cross-entropy": 0.5,
}

EVERY = slice(None)
ODD, EVEN = slice(0, None, 2), slice(1, None, 2)


def best_over_ours(
    case: dict,
    peers: Sequence[str] = PEERS,
    rounds: slice = EVERY,
    ours: str = OURS,
) -> float | None:
    """The median of the best of the peers over ours; None where none takes part."""
    medians = [
        statistics.median(case["ms"][name][rounds])
        for name in peers
        if name in case["ms"]
    ]
    if not medians:
        return None
    return min(medians) / statistics.median(case["ms"][ours][rounds])


def all_over_ours(
    cases: list[dict],
    peers: Sequence[str] = PEERS,
    rounds: slice = EVERY,
    ours: str = OURS,
) -> list[float]:
    """Of every case that has one of the peers."""
    found = (best_over_ours(case, peers, rounds, ours) for case in cases)
    return [ratio for ratio in found if ratio is not None]


def share_of_read(case: dict, ours: str = OURS) -> float | None:
    """The time of a plain read of the same arrays over ours; None if not measured."""
    return best_over_ours(case, [READ], ours=ours)


def geometric_mean(ratios: list[float]) -> float:
    """Of numbers above 0."""
    return math.exp(statistics.fmean(map(math.log, ratios)))


def is_small(case: dict) -> bool:
    return tuple(case["shape"]) == SMALL


def dtype(case: dict) -> str:
    return case.get("dtype", "float32")  # which results once did not say
