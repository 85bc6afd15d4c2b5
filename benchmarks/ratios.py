"""How many times faster: of medians, and of many cases together."""

import math
import statistics


def best_over_ours(case: dict, only: str | None = None) -> float:
    """The median of the best peer, or of one, over ours."""
    medians = {name: statistics.median(ms) for name, ms in case["ms"].items()}
    ours = medians.pop("jaxloss")
    return (medians[only] if only else min(medians.values())) / ours


def geometric_mean(ratios: list[float]) -> float:
    """Of numbers above 0."""
    return math.exp(statistics.fmean(map(math.log, ratios)))
