"""Every public loss of torch.nn.functional and torch.nn beside ours."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional

from jaxloss import losses, per_sample
from jaxloss.kernels import linear_softmax_cross_entropy
from tests.parity.rows import (
    BATCH,
    WIDTH,
    Row,
    assert_parity,
    counts,
    distributions,
    fixed,
    hard,
    labels,
    log_distributions,
    positives,
    probabilities,
    reals,
    sides,
)


def mean(elements):
    return elements.mean(-1)


def as_it_is(values):
    return values


def forms(name, cls, ours, data, *, then=as_it_is, before=None, case="", **options):
    """Two rows: the function and the class, which take the same options.

    `before` makes the positional arguments of PyTorch from the data, `then` the losses
    of the examples from its result.
    """
    options = {"reduction": "none", **options}

    def row(public, build):
        def peer(*arguments):
            return then(build()(*(before(*arguments) if before else arguments)))

        return Row(public + case, peer, ours, data)

    function = functools.partial(getattr(functional, name), **options)
    return [
        row(name, lambda: function),
        row(cls, lambda: getattr(torch.nn, cls)(**options)),
    ]


def mean_of_two(distance):
    """Any distance of one's own, for both libraries."""
    return lambda first, second: distance(first - second).sum(-1)


def log_softmax_first(logits, tokens, frames, length):
    return logits.log_softmax(-1).transpose(0, 1), tokens, frames, length


def of_hidden(hidden, weight, label):
    return functional.linear_cross_entropy(
        hidden, weight, label, reduction="none", label_smoothing=0.2
    )


def of_hidden_as_module(hidden, weight, label):
    module = torch.nn.LinearCrossEntropyLoss(
        *weight.T.shape, bias=False, dtype=weight.dtype, reduction="none"
    )
    with torch.no_grad():
        module.linear.weight.copy_(weight)
    return module(hidden, label)


def ignoring(logits, label):
    """A label to be ignored is one whose weight is 0."""
    kernel = per_sample(losses.softmax_cross_entropy_with_integer_labels)
    return jnp.where(label == -100, 0.0, kernel(logits, jnp.maximum(label, 0)))


def dense(logits, label):
    kernel = per_sample(losses.softmax_cross_entropy_with_integer_labels, batch_ndim=3)
    return kernel(jnp.moveaxis(logits, 1, -1), label)


def weighted(loss, **options):
    """Class weights that are cast to the dtype in use."""
    return lambda *data: per_sample(
        loss, class_weights=jnp.asarray(WEIGHTS, data[0].dtype), **options
    )(*data)


def with_pos_weight(*data):
    return per_sample(
        losses.sigmoid_binary_cross_entropy, pos_weight=jnp.array(WEIGHTS)
    )(*data)


def elementwise_weighted(loss):
    """PyTorch multiplies each element by its weight; ours is the caller's to weigh."""
    kernel = per_sample(loss, batch_ndim=2)
    return lambda prediction, target, weight: kernel(prediction, target) * weight


def torch_adaptive(module):
    return lambda hidden, label: -module(hidden, label).output


def jax_adaptive(module):
    def matrix(linear):
        return jnp.asarray(linear.weight.detach().numpy().T)

    def ours(hidden, label):
        tails = [(matrix(tail[0]), matrix(tail[1])) for tail in module.tail]
        bias = jnp.asarray(module.head.bias.detach().numpy())
        kernel = per_sample(
            losses.adaptive_log_softmax_loss, in_axes=(0, 0, None, None, None)
        )
        return kernel(hidden, label, matrix(module.head), tails, bias)

    return ours


def adaptive_module():
    generator = torch.Generator().manual_seed(0)
    module = torch.nn.AdaptiveLogSoftmaxWithLoss(
        4, 12, cutoffs=[3, 7], div_value=2.0, head_bias=True, dtype=torch.float64
    )
    for parameter in module.parameters():
        parameter.data = torch.randn(
            parameter.shape, generator=generator, dtype=torch.float64
        )
    return module


WEIGHTS = [0.5, 1.5, 0.25, 3.0, 0.75]
TORCH_WEIGHTS = torch.tensor(WEIGHTS, dtype=torch.float64)
ADAPTIVE = adaptive_module()
PAIR = (reals(), reals())
LABELLED = (reals(), labels())
SEQUENCES = (
    reals(BATCH, 6, 5),
    lambda rng: rng.integers(1, 5, size=(BATCH, 3)),
    fixed(6, 5, 6, 4),
    fixed(3, 2, 1, 2),
)
TRIPLET = (reals(), reals(), reals())

ROWS = [
    *forms(
        "binary_cross_entropy",
        "BCELoss",
        per_sample(losses.binary_cross_entropy, min_log=-100.0),
        (probabilities(), probabilities()),
        then=mean,
    ),
    *forms(
        "binary_cross_entropy_with_logits",
        "BCEWithLogitsLoss",
        with_pos_weight,
        (reals(), probabilities()),
        then=mean,
        pos_weight=TORCH_WEIGHTS,
    ),
    *forms(
        "cosine_embedding_loss",
        "CosineEmbeddingLoss",
        per_sample(losses.cosine_embedding_loss, margin=-0.9),
        (reals(), reals(), fixed(1.0, -1.0, 1.0, -1.0)),
        margin=-0.9,
    ),
    *forms(
        "cross_entropy",
        "CrossEntropyLoss",
        weighted(losses.softmax_cross_entropy_with_integer_labels, label_smoothing=0.2),
        LABELLED,
        weight=TORCH_WEIGHTS,
        label_smoothing=0.2,
    ),
    *forms(
        "cross_entropy",
        "CrossEntropyLoss",
        weighted(losses.softmax_cross_entropy, label_smoothing=0.2),
        (reals(), distributions()),
        case="-probabilities",
        weight=TORCH_WEIGHTS,
        label_smoothing=0.2,
    ),
    *forms(
        "cross_entropy",
        "CrossEntropyLoss",
        ignoring,
        (reals(), fixed(2, -100, 0, -100)),
        case="-ignored",
    ),
    *forms(
        "cross_entropy",
        "CrossEntropyLoss",
        dense,
        (reals(BATCH, WIDTH, 2, 3), labels(BATCH, 2, 3)),
        case="-dense",
    ),
    *forms(
        "ctc_loss",
        "CTCLoss",
        per_sample(losses.ctc_loss),
        SEQUENCES,
        before=log_softmax_first,
    ),
    *forms(
        "gaussian_nll_loss",
        "GaussianNLLLoss",
        per_sample(losses.gaussian_nll_loss, full=True, epsilon=1e-6),
        (reals(), reals(), positives()),
        then=mean,
        full=True,
    ),
    Row(
        "gaussian_nll_loss-variance",
        lambda variance, prediction, target: mean(
            functional.gaussian_nll_loss(prediction, target, variance, reduction="none")
        ),
        lambda variance, prediction, target: per_sample(losses.gaussian_nll_loss)(
            prediction, target, variance
        ),
        (positives(), reals(), reals()),
    ),
    *forms(
        "hinge_embedding_loss",
        "HingeEmbeddingLoss",
        per_sample(losses.hinge_embedding_loss, margin=1.3),
        (positives(), sides()),
        then=mean,
        margin=1.3,
    ),
    *forms(
        "huber_loss",
        "HuberLoss",
        per_sample(losses.huber_loss, delta=0.8),
        PAIR,
        then=mean,
        delta=0.8,
    ),
    Row(
        "huber_loss-weight",
        lambda prediction, target, weight: functional.huber_loss(
            prediction, target, weight=weight, reduction="none"
        ),
        elementwise_weighted(losses.huber_loss),
        (reals(), reals(), positives()),
    ),
    *forms(
        "kl_div",
        "KLDivLoss",
        per_sample(losses.kl_divergence),
        (log_distributions, distributions()),
        then=lambda elements: elements.sum(-1),
    ),
    *forms(
        "kl_div",
        "KLDivLoss",
        per_sample(losses.kl_divergence_with_log_targets),
        (log_distributions, log_distributions),
        case="-log_target",
        then=lambda elements: elements.sum(-1),
        log_target=True,
    ),
    *forms("l1_loss", "L1Loss", per_sample(losses.absolute_error), PAIR, then=mean),
    *forms(
        "margin_ranking_loss",
        "MarginRankingLoss",
        per_sample(losses.margin_ranking_loss, margin=0.7),
        (reals(), reals(), sides()),
        then=mean,
        margin=0.7,
    ),
    *forms("mse_loss", "MSELoss", per_sample(losses.squared_error), PAIR, then=mean),
    Row(
        "mse_loss-weight",
        lambda prediction, target, weight: functional.mse_loss(
            prediction, target, weight=weight, reduction="none"
        ),
        elementwise_weighted(losses.squared_error),
        (reals(), reals(), positives()),
    ),
    *forms(
        "multi_margin_loss",
        "MultiMarginLoss",
        weighted(losses.multi_margin_loss, p=2, margin=0.8),
        LABELLED,
        p=2,
        margin=0.8,
        weight=TORCH_WEIGHTS,
    ),
    *forms(
        "multi_margin_loss",
        "MultiMarginLoss",
        per_sample(losses.multi_margin_loss),
        LABELLED,
        case="-p1",
    ),
    *forms(
        "multilabel_margin_loss",
        "MultiLabelMarginLoss",
        per_sample(losses.multilabel_margin_loss_with_integer_labels),
        (
            reals(),
            fixed(
                [3, 0, -1, 1, 2], [4, -1, 4, 4, 4], [0, 1, 2, -1, 0], [2, 1, -1, 1, 1]
            ),
        ),
    ),
    *forms(
        "multilabel_soft_margin_loss",
        "MultiLabelSoftMarginLoss",
        weighted(losses.multilabel_soft_margin_loss),
        (reals(), hard()),
        weight=TORCH_WEIGHTS,
    ),
    *forms(
        "nll_loss",
        "NLLLoss",
        weighted(losses.nll_loss),
        (log_distributions, labels()),
        weight=TORCH_WEIGHTS,
    ),
    *forms(
        "poisson_nll_loss",
        "PoissonNLLLoss",
        per_sample(losses.poisson_nll_loss, full=True),
        (reals(), counts()),
        then=mean,
        full=True,
    ),
    *forms(
        "poisson_nll_loss",
        "PoissonNLLLoss",
        per_sample(losses.poisson_nll_loss, log_input=False, epsilon=1e-3),
        (positives(), counts()),
        case="-rate",
        then=mean,
        log_input=False,
        eps=1e-3,
    ),
    *forms(
        "smooth_l1_loss",
        "SmoothL1Loss",
        per_sample(losses.smooth_l1_loss, beta=0.6),
        PAIR,
        then=mean,
        beta=0.6,
    ),
    *forms(
        "soft_margin_loss",
        "SoftMarginLoss",
        per_sample(losses.soft_margin_loss),
        (reals(), sides()),
        then=mean,
    ),
    *forms(
        "triplet_margin_loss",
        "TripletMarginLoss",
        per_sample(
            losses.triplet_margin_loss,
            margin=4.0,
            norm_degree=3.0,
            swap=True,
            eps=1e-6,
            eps_mode="elementwise",
        ),
        TRIPLET,
        margin=4.0,
        p=3.0,
        swap=True,
    ),
    *forms(
        "triplet_margin_with_distance_loss",
        "TripletMarginWithDistanceLoss",
        per_sample(
            losses.triplet_margin_with_distance_loss,
            distance_fn=mean_of_two(jnp.cosh),
            margin=40.0,
            swap=True,
        ),
        TRIPLET,
        distance_function=mean_of_two(torch.cosh),
        margin=40.0,
        swap=True,
    ),
    Row(
        "AdaptiveLogSoftmaxWithLoss",
        torch_adaptive(ADAPTIVE),
        jax_adaptive(ADAPTIVE),
        (reals(6, 4), fixed(1, 11, 0, 4, 7, 3)),
    ),
    # Distances, which are no losses by themselves.
    Row(
        "cosine_similarity",
        functional.cosine_similarity,
        per_sample(losses.cosine_similarity, epsilon=1e-8),
        PAIR,
    ),
    Row(
        "CosineSimilarity",
        torch.nn.CosineSimilarity(),
        per_sample(losses.cosine_similarity, epsilon=1e-8),
        (reals(), reals()),
    ),
    Row(
        "pairwise_distance",
        lambda *data: functional.pairwise_distance(*data, p=3.0),
        per_sample(losses.pairwise_distance, norm_degree=3.0, eps=1e-6),
        PAIR,
    ),
    Row(
        "linear_cross_entropy",
        of_hidden,
        lambda hidden, weight, label: linear_softmax_cross_entropy(
            hidden,
            label,
            weight.T,
            label_smoothing=0.2,
            implementation="chunked",
            chunk_size=3,
        ),
        (reals(), reals(7, WIDTH), labels(classes=7)),
    ),
    Row(
        "LinearCrossEntropyLoss",
        of_hidden_as_module,
        lambda hidden, weight, label: linear_softmax_cross_entropy(
            hidden, label, weight.T
        ),
        (reals(), reals(7, WIDTH), labels(classes=7)),
    ),
    Row(
        "PairwiseDistance",
        torch.nn.PairwiseDistance(p=1.0),
        per_sample(losses.pairwise_distance, norm_degree=1.0, eps=1e-6),
        PAIR,
    ),
]

PENDING = {}


def of_torch(loss, data):
    # PyTorch wants 64 bits for an index.
    tensors = (
        torch.tensor(x if np.issubdtype(x.dtype, np.floating) else x.astype(np.int64))
        for x in data
    )
    prediction, *rest = tensors
    prediction.requires_grad_()
    value = loss(prediction, *rest)
    (gradient,) = torch.autograd.grad(value.sum(), prediction)
    return value.detach().numpy(), gradient.numpy()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_value_and_gradient_are_those_of_torch(row):
    assert_parity(row, of_torch)
