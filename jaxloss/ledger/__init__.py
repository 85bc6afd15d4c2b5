"""What happened to each example over a training: a pytree, updated inside ``jit``.

Examples are known by their index in the dataset, 0 to ``N - 1``. Every record is an
array over them, so that the ledger is an ordinary pytree: it may be donated, sharded
over the examples on a mesh, and saved beside the parameters.
"""

from jaxloss.ledger.checkpoint import restore as restore, save as save
from jaxloss.ledger.monitoring import summary as summary
from jaxloss.ledger.reading import (
    class_probabilities as class_probabilities,
    correctness as correctness,
    label_probability_mean as label_probability_mean,
    label_probability_variance as label_probability_variance,
    loss_mean as loss_mean,
    loss_variance as loss_variance,
    margin_mean as margin_mean,
    margin_variance as margin_variance,
)
from jaxloss.ledger.records import (
    Ledger as Ledger,
    Moments as Moments,
    grow as grow,
    init as init,
    merge as merge,
)
from jaxloss.ledger.writing import update as update
