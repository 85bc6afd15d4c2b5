"""From losses, scores or counts to weights, which no gradient flows through.

A weighting never multiplies: its weights go to a reduction of `jaxloss.reduction`,
which says what it divides by. An example that is padding (``where``), or whose loss is
nan or inf, gets weight 0 and is never chosen.
"""

from jaxloss.weighting.counts import (
    class_balanced as class_balanced,
    inverse_frequency as inverse_frequency,
)
from jaxloss.weighting.groups import (
    GroupState as GroupState,
    group_weights as group_weights,
    init_groups as init_groups,
)
from jaxloss.weighting.mixture import mixture as mixture
from jaxloss.weighting.pacing import (
    curriculum as curriculum,
    self_paced as self_paced,
    superloss as superloss,
)
from jaxloss.weighting.sampling import (
    importance as importance,
    keep_by_rank as keep_by_rank,
)
from jaxloss.weighting.selection import (
    keep_large as keep_large,
    keep_small as keep_small,
    largest_indices as largest_indices,
    smallest_indices as smallest_indices,
)
