"""Pure functions that judge one example; one file per kind of prediction."""

from jaxloss.losses.adaptive import (
    adaptive_log_softmax_loss as adaptive_log_softmax_loss,
)
from jaxloss.losses.alignment import (
    soft_dtw as soft_dtw,
)
from jaxloss.losses.binary import (
    binary_cross_entropy as binary_cross_entropy,
    multilabel_soft_margin_loss as multilabel_soft_margin_loss,
    sigmoid_binary_cross_entropy as sigmoid_binary_cross_entropy,
    soft_margin_loss as soft_margin_loss,
    weighted_sigmoid_cross_entropy as weighted_sigmoid_cross_entropy,
)
from jaxloss.losses.categorical import (
    categorical_cross_entropy as categorical_cross_entropy,
    nll_loss as nll_loss,
    sparse_categorical_cross_entropy as sparse_categorical_cross_entropy,
)
from jaxloss.losses.classification import (
    safe_softmax_cross_entropy as safe_softmax_cross_entropy,
    smooth_labels as smooth_labels,
    softmax_cross_entropy as softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels as softmax_cross_entropy_with_integer_labels,  # noqa: E501 (a name is a name)
)
from jaxloss.losses.contrastive import (
    circle_loss as circle_loss,
    ntxent as ntxent,
)
from jaxloss.losses.divergence import (
    convex_kl_divergence as convex_kl_divergence,
    generalized_kl_divergence as generalized_kl_divergence,
    kl_divergence as kl_divergence,
    kl_divergence_with_log_targets as kl_divergence_with_log_targets,
)
from jaxloss.losses.embedding import (
    cosine_embedding_loss as cosine_embedding_loss,
    hinge_embedding_loss as hinge_embedding_loss,
    margin_ranking_loss as margin_ranking_loss,
    pairwise_distance as pairwise_distance,
    triplet_margin_loss as triplet_margin_loss,
    triplet_margin_with_distance_loss as triplet_margin_with_distance_loss,
)
from jaxloss.losses.fenchel_young import (
    make_fenchel_young_loss as make_fenchel_young_loss,
    multiclass_sparsemax_loss as multiclass_sparsemax_loss,
    sparsemax_loss as sparsemax_loss,
)
from jaxloss.losses.focal import (
    poly_loss_cross_entropy as poly_loss_cross_entropy,
    sigmoid_focal_loss as sigmoid_focal_loss,
    softmax_focal_loss as softmax_focal_loss,
    softmax_focal_loss_with_integer_labels as softmax_focal_loss_with_integer_labels,
)
from jaxloss.losses.hinge import (
    hinge_loss as hinge_loss,
    perceptron_loss as perceptron_loss,
    squared_hinge_loss as squared_hinge_loss,
)
from jaxloss.losses.likelihood import (
    gaussian_nll_loss as gaussian_nll_loss,
    gaussian_nll_loss_with_log_variance as gaussian_nll_loss_with_log_variance,
    poisson_nll_loss as poisson_nll_loss,
)
from jaxloss.losses.multiclass_hinge import (
    categorical_hinge_loss as categorical_hinge_loss,
    multi_margin_loss as multi_margin_loss,
    multiclass_hinge_loss as multiclass_hinge_loss,
    multiclass_perceptron_loss as multiclass_perceptron_loss,
)
from jaxloss.losses.multilabel import (
    multilabel_margin_loss as multilabel_margin_loss,
    multilabel_margin_loss_with_integer_labels as multilabel_margin_loss_with_integer_labels,  # noqa: E501 (a name is a name)
)
from jaxloss.losses.ranking import (
    ranking_softmax_loss as ranking_softmax_loss,
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
from jaxloss.losses.robust import (
    categorical_generalized_cross_entropy as categorical_generalized_cross_entropy,
    generalized_cross_entropy as generalized_cross_entropy,
)
from jaxloss.losses.sampled import (
    Candidates as Candidates,
    log_uniform_candidates as log_uniform_candidates,
    nce_loss as nce_loss,
    sampled_softmax_cross_entropy as sampled_softmax_cross_entropy,
)
from jaxloss.losses.scores import (
    error_norm as error_norm,
    margin as margin,
)
from jaxloss.losses.segmentation import (
    binary_dice_loss as binary_dice_loss,
    dice_loss as dice_loss,
    multiclass_generalized_dice_loss as multiclass_generalized_dice_loss,
    tversky_loss as tversky_loss,
)
from jaxloss.losses.sequence import (
    ctc_loss as ctc_loss,
    ctc_loss_with_forward_probs as ctc_loss_with_forward_probs,
)
from jaxloss.losses.similarity import (
    cosine_distance as cosine_distance,
    cosine_similarity as cosine_similarity,
)
from jaxloss.losses.structured import (
    crf_nll as crf_nll,
)
from jaxloss.losses.transducer import (
    rnnt_loss as rnnt_loss,
)
