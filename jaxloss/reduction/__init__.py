"""From the losses of a batch to few numbers; each function says what it divides by."""

from jaxloss.reduction.groups import (
    group_means as group_means,
    group_totals as group_totals,
    per_sequence as per_sequence,
)
from jaxloss.reduction.means import (
    Total as Total,
    batch_mean as batch_mean,
    weighted_mean as weighted_mean,
    weighted_sum as weighted_sum,
)
from jaxloss.reduction.tails import (
    tail_mean as tail_mean,
    tilted_mean as tilted_mean,
    top_k_mean as top_k_mean,
    trimmed_mean as trimmed_mean,
)
