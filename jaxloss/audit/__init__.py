"""Which labels to look at first, and what else a training says about its data.

Arrays in, arrays out, NumPy on the host. What goes in comes from a ledger, or from any
model: its probabilities ``(N, C)``, or those of every epoch, ``(N, T, C)``.
"""

from jaxloss.audit.cartography import Dynamics as Dynamics, dynamics as dynamics
from jaxloss.audit.confusions import (
    Confusions as Confusions,
    confused_pairs as confused_pairs,
)
from jaxloss.audit.cuts import cut as cut
from jaxloss.audit.duplicates import (
    Duplicates as Duplicates,
    near_duplicates as near_duplicates,
)
from jaxloss.audit.issues import (
    find_issues as find_issues,
    suggested_labels as suggested_labels,
)
from jaxloss.audit.joint import (
    confident_joint as confident_joint,
    inverse_noise_matrix as inverse_noise_matrix,
    noise_matrix as noise_matrix,
)
from jaxloss.audit.margins import (
    probabilities as probabilities,
    ranking as ranking,
    scores as scores,
    suspicion as suspicion,
)
from jaxloss.audit.slices import Slice as Slice, worst_slices as worst_slices
