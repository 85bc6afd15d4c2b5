"""Per-sample losses for JAX: pure functions of one example, batched by vmap and jit."""

from jaxloss import (
    audit as audit,
    gradients as gradients,
    kernels as kernels,
    ledger as ledger,
    losses as losses,
    reduction as reduction,
    updates as updates,
    weighting as weighting,
)
from jaxloss.batching import checked as checked, per_sample as per_sample
