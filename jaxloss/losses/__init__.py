"""Pure functions that judge one example; one file per kind of prediction."""

from jaxloss.losses.binary import (
    binary_cross_entropy as binary_cross_entropy,
    sigmoid_binary_cross_entropy as sigmoid_binary_cross_entropy,
)
from jaxloss.losses.classification import (
    categorical_cross_entropy as categorical_cross_entropy,
    softmax_cross_entropy as softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels as softmax_cross_entropy_with_integer_labels,  # noqa: E501 (a name is a name)
)
from jaxloss.losses.divergence import (
    convex_kl_divergence as convex_kl_divergence,
    generalized_kl_divergence as generalized_kl_divergence,
    kl_divergence as kl_divergence,
    kl_divergence_with_log_targets as kl_divergence_with_log_targets,
)
from jaxloss.losses.hinge import hinge_loss as hinge_loss
from jaxloss.losses.likelihood import (
    gaussian_nll_loss as gaussian_nll_loss,
    gaussian_nll_loss_with_log_variance as gaussian_nll_loss_with_log_variance,
    poisson_nll_loss as poisson_nll_loss,
)
from jaxloss.losses.regression import (
    absolute_error as absolute_error,
    huber_loss as huber_loss,
    l2_loss as l2_loss,
    log_cosh as log_cosh,
    smooth_l1_loss as smooth_l1_loss,
    squared_error as squared_error,
)
from jaxloss.losses.relative import (
    absolute_percentage_error as absolute_percentage_error,
    mean_pairwise_squared_error as mean_pairwise_squared_error,
    squared_logarithmic_error as squared_logarithmic_error,
)
from jaxloss.losses.scores import margin as margin
from jaxloss.losses.similarity import (
    cosine_distance as cosine_distance,
    cosine_similarity as cosine_similarity,
)
