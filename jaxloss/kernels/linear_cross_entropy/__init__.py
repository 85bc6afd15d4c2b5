"""Cross-entropy of the product of hidden states and a matrix, without its logits."""

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
