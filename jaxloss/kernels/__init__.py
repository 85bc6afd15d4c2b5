"""The same losses, fused with what comes before them: where the plain way is too large.

A kernel takes a batch. No other room knows this one.
"""

from jaxloss.kernels.linear_cross_entropy.sharded import (
    vocabulary_parallel_softmax_cross_entropy,
)
from jaxloss.kernels.linear_cross_entropy.tokens import (
    TokenStatistics,
    linear_softmax_cross_entropy,
    linear_softmax_cross_entropy_with_statistics,
)
from jaxloss.kernels.linear_cross_entropy.weighted import (
    weighted_linear_softmax_cross_entropy,
)

__all__ = [
    "TokenStatistics",
    "linear_softmax_cross_entropy",
    "linear_softmax_cross_entropy_with_statistics",
    "vocabulary_parallel_softmax_cross_entropy",
    "weighted_linear_softmax_cross_entropy",
]
