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
from jaxloss.losses.contrastive import circle_loss as circle_loss, ntxent as ntxent
from jaxloss.losses.embedding import (
    cosine_embedding_loss as cosine_embedding_loss,
    hinge_embedding_loss as hinge_embedding_loss,
    margin_ranking_loss as margin_ranking_loss,
    pairwise_distance as pairwise_distance,
    triplet_margin_loss as triplet_margin_loss,
    triplet_margin_with_distance_loss as triplet_margin_with_distance_loss,
)
from jaxloss.losses.hinge import hinge_loss as hinge_loss
from jaxloss.losses.ranking import ranking_softmax_loss as ranking_softmax_loss
from jaxloss.losses.regression import (
    absolute_error as absolute_error,
    huber_loss as huber_loss,
    l2_loss as l2_loss,
    squared_error as squared_error,
)
from jaxloss.losses.scores import margin as margin
from jaxloss.losses.segmentation import (
    binary_dice_loss as binary_dice_loss,
    dice_loss as dice_loss,
    multiclass_generalized_dice_loss as multiclass_generalized_dice_loss,
    tversky_loss as tversky_loss,
)
