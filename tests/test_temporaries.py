"""Speed is no temporaries: a kernel holds nothing as large as a batch.

What the compiler reports is exact and without noise, so it is a test where seconds are
not. A loss that cannot do without is listed below with its reason; one that no longer
needs its entry fails too. Options of a loss are not measured, only the loss itself.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import losses, per_sample
from tests.catalogue import CATALOGUE

LIMIT = 64 * 1024
# Few examples of many numbers: one number for each example is not what is looked for.
ELEMENTS = (4096, 4096)
BATCH, WIDTH = 256, 32768

_BY_REASON = {
    "the sums over all alignments, which the gradient reads": (
        *("ctc_loss", "ctc_loss_with_forward_probs"),
        *("crf_nll", "rnnt_loss", "soft_dtw"),
    ),
    "products of the example with many others: keys, or scores of words": (
        *("circle_loss", "ntxent"),
        *("adaptive_log_softmax_loss", "nce_loss", "sampled_softmax_cross_entropy"),
    ),
    "a term for each pair of classes": (
        "multilabel_margin_loss",
        "multilabel_margin_loss_with_integer_labels",
    ),
    "the classes in the order of their scores": ("multiclass_sparsemax_loss",),
    "probabilities that several sums read": (
        *("binary_dice_loss", "dice_loss", "tversky_loss"),
        *("multiclass_generalized_dice_loss", "error_norm"),
    ),
    "for each element one of two forms, to be exact near 0 or 1": (
        *("convex_kl_divergence", "generalized_kl_divergence"),
        *("poly_loss_cross_entropy", "softmax_focal_loss"),
    ),
    "the first of the highest rivals of a target that may be any": (
        "categorical_hinge_loss",
    ),
    "each slope needs the mean error of its example": ("mean_pairwise_squared_error",),
    "whatever the function given needs": ("make_fenchel_young_loss",),
}
EXCEPTIONS = {name for names in _BY_REASON.values() for name in names}
# These hold a number for each column of 16, some also for each column of 16 of those,
# or the indices of the classes, once for the batch.
BY_COLUMNS = {
    *("binary_cross_entropy", "sigmoid_binary_cross_entropy", "sigmoid_focal_loss"),
    *("weighted_sigmoid_cross_entropy", "multilabel_soft_margin_loss"),
    *("soft_margin_loss", "sparsemax_loss"),
    *("softmax_cross_entropy_with_integer_labels", "generalized_cross_entropy"),
    "softmax_focal_loss_with_integer_labels",
    *("kl_divergence", "kl_divergence_with_log_targets", "poisson_nll_loss"),
    *("gaussian_nll_loss", "gaussian_nll_loss_with_log_variance"),
    *("hinge_loss", "squared_hinge_loss", "perceptron_loss", "multi_margin_loss"),
    *("hinge_embedding_loss", "margin_ranking_loss"),
    *("huber_loss", "smooth_l1_loss", "log_cosh"),
    *("absolute_percentage_error", "squared_logarithmic_error"),
    *("margin", "multiclass_hinge_loss", "multiclass_perceptron_loss"),
}
# These hold three numbers for each column of 32, of three sums made in one pass.
BY_SEVERAL_COLUMNS = {
    *("softmax_cross_entropy", "safe_softmax_cross_entropy", "ranking_softmax_loss"),
}


def _floats(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _integers(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.int32)


def _booleans(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.bool_)


_VECTOR = _floats(BATCH, WIDTH)
_IMAGE = _floats(BATCH, 64, 64, 8)
_ANCHOR = (_floats(BATCH, 128), _floats(4096, 128))
_KEPT = _booleans(BATCH, 4096)
_SAMPLED = (
    *(_floats(BATCH, 128), _integers(BATCH), _floats(WIDTH, 128), _floats(WIDTH)),
    *(_integers(1024), _floats(BATCH), _floats(1024)),
)
_WORDS = (
    *(_floats(BATCH, 128), _integers(BATCH), _floats(128, 2001)),
    ((_floats(128, 32), _floats(32, 30000)),),
)
_SERIES = (*(_floats(32, 200, 8),) * 2, *(_integers(32),) * 2)
_TAGGED = (
    *(_floats(32, 200, 16), _integers(32, 200)),
    *(_floats(16, 16), _floats(16), _floats(16), _integers(32)),
)
_FRAMES = (_floats(32, 400, 64), _integers(32, 60), _integers(32), _integers(32))
# A batch of each loss that does not take two vectors, or logits and a label; and its
# axes, where not every argument has one for the batch.
BATCHES = {
    "adaptive_log_softmax_loss": _WORDS,
    "cosine_embedding_loss": (_VECTOR, _VECTOR, _floats(BATCH)),
    "triplet_margin_loss": (_VECTOR,) * 3,
    "triplet_margin_with_distance_loss": (_VECTOR,) * 3,
    "multilabel_margin_loss": (_floats(BATCH, 128),) * 2,
    "multilabel_margin_loss_with_integer_labels": (
        _floats(BATCH, 128),
        _integers(BATCH, 128),
    ),
    "ntxent": (*_ANCHOR, _KEPT, _KEPT),
    "circle_loss": (*_ANCHOR, _KEPT, _KEPT),
    "sampled_softmax_cross_entropy": _SAMPLED,
    "nce_loss": _SAMPLED,
    "dice_loss": (_IMAGE, _IMAGE),
    "tversky_loss": (_IMAGE, _IMAGE),
    "multiclass_generalized_dice_loss": (_IMAGE, _IMAGE),
    "binary_dice_loss": (_VECTOR, _VECTOR),
    "ctc_loss": _FRAMES,
    "ctc_loss_with_forward_probs": _FRAMES,
    "soft_dtw": _SERIES,
    "crf_nll": _TAGGED,
    "rnnt_loss": (
        _floats(8, 100, 31, 512),
        _integers(8, 30),
        _integers(8),
        _integers(8),
    ),
}
AXES = {
    "adaptive_log_softmax_loss": (0, 0, None, None),
    "ntxent": (0, None, 0, 0),
    "circle_loss": (0, None, 0, 0),
    "sampled_softmax_cross_entropy": (0, 0, None, None, None, 0, None),
    "nce_loss": (0, 0, None, None, None, 0, None),
    "crf_nll": (0, 0, None, None, None, 0),
}


def batch_of(name: str):
    row = CATALOGUE[name]
    if row.elementwise:
        return (_floats(*ELEMENTS),) * len(row.draw(np.random.default_rng(0)))
    if row.classes:
        return BATCHES.get(name, (_VECTOR, _integers(BATCH)))
    return BATCHES.get(name, (_VECTOR, _VECTOR))


def temporaries(name: str, batch: Sequence[Any]) -> tuple[int, int]:
    """Bytes for the value, and for the value with its gradient."""
    loss = CATALOGUE[name].loss
    if name == "adaptive_log_softmax_loss":  # its row holds small matrices
        loss = losses.adaptive_log_softmax_loss
    kernel = per_sample(loss, in_axes=AXES.get(name, 0))

    def value_and_gradient(cotangent, prediction, *data):
        value, pull = jax.vjp(lambda p: kernel(p, *data), prediction)
        return value, pull(cotangent)[0]

    cotangent = jax.eval_shape(kernel, *batch)
    both = jax.jit(value_and_gradient).lower(cotangent, *batch).compile()
    value = jax.jit(kernel).lower(*batch).compile()
    return _temporary_bytes(value), _temporary_bytes(both)


def _temporary_bytes(compiled) -> int:
    return compiled.memory_analysis().temp_size_in_bytes


MEASURED = [name for name in CATALOGUE if "-" not in name]
ELEMENTWISE = [
    name for name in MEASURED if CATALOGUE[name].elementwise and name not in EXCEPTIONS
]


@pytest.mark.parametrize("name", MEASURED)
def test_the_compiled_kernel_holds_no_temporary(name):
    batch = batch_of(name)
    needed, array = max(temporaries(name, batch)), 4 * batch[0].size
    if name in BY_COLUMNS:
        assert LIMIT <= needed < array / 12
    elif name in BY_SEVERAL_COLUMNS:
        assert LIMIT <= needed < array / 10
    else:
        assert needed >= LIMIT if name in EXCEPTIONS else needed < LIMIT


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_long_examples_of_bfloat16_are_not_copied_in_float32(name):
    arguments = len(CATALOGUE[name].draw(np.random.default_rng(0)))
    batch = (jax.ShapeDtypeStruct((BATCH, WIDTH), jnp.bfloat16),) * arguments
    value, with_gradient = temporaries(name, batch)
    assert value < 4 * batch[0].size / 12
    # A slope of this one, which is a quotient, is asked twice: whether it is finite.
    if name != "gaussian_nll_loss":
        assert with_gradient < 4 * batch[0].size / 12


def test_every_exception_is_measured():
    assert EXCEPTIONS | BY_COLUMNS | BY_SEVERAL_COLUMNS <= set(MEASURED)
