"""Per-example gradients of any JAX function, kept in factors instead of written out."""

from jaxloss.gradients.explain import Explanation as Explanation, explain as explain
from jaxloss.gradients.factors import PerExampleGradients as PerExampleGradients
from jaxloss.gradients.noise import (
    NoiseScale as NoiseScale,
    noise_scale as noise_scale,
)
from jaxloss.gradients.queries import (
    clip_weights as clip_weights,
    dot as dot,
    materialise as materialise,
    norms as norms,
    weighted_sum as weighted_sum,
)
from jaxloss.gradients.similarity import gram as gram
from jaxloss.gradients.transforms import (
    clipped_sum as clipped_sum,
    directional as directional,
    norms_streaming as norms_streaming,
    per_example as per_example,
)
