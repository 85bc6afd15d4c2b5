"""Speed is no temporaries: an elementwise kernel holds nothing as large as a batch.

What the compiler reports is exact and without noise, so it is a test where seconds are
not. A loss that cannot do without is listed below with its reason; one that no longer
needs its entry fails too. Options of a loss are not measured, only the loss itself.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import per_sample
from tests.catalogue import CATALOGUE

LIMIT = 64 * 1024
SHAPE = (16384, 1024)

EXCEPTIONS = {
    "binary_cross_entropy": "a selection for the 0 log 0 of each of two logarithms",
    "weighted_sigmoid_cross_entropy": "a selection for each of the two weighted terms",
    "hinge_embedding_loss": "a selection between two formulas, by the side",
    "margin_ranking_loss": "the gap is compared in the slope of each of its two scores",
    "squared_logarithmic_error": "a selection between two forms, to be exact near 0",
    "mean_pairwise_squared_error": "each slope needs the mean error of its example",
}


def temporaries(row) -> tuple[int, int]:
    """Bytes for the value, and for the value with its gradient."""
    kernel = per_sample(row.loss)
    arguments = len(row.draw(np.random.default_rng(0)))
    shapes = (jax.ShapeDtypeStruct(SHAPE, jnp.float32),) * arguments

    def value_and_gradient(cotangent, prediction, *data):
        value, pull = jax.vjp(lambda p: kernel(p, *data), prediction)
        return value, pull(cotangent)[0]

    cotangent = jax.ShapeDtypeStruct(SHAPE[:1], jnp.float32)
    both = jax.jit(value_and_gradient).lower(cotangent, *shapes).compile()
    value = jax.jit(kernel).lower(*shapes).compile()
    return _temporary_bytes(value), _temporary_bytes(both)


def _temporary_bytes(compiled) -> int:
    return compiled.memory_analysis().temp_size_in_bytes


MEASURED = [n for n, row in CATALOGUE.items() if row.elementwise and "-" not in n]


@pytest.mark.parametrize("name", MEASURED)
def test_the_compiled_kernel_holds_no_temporary(name):
    needed = max(temporaries(CATALOGUE[name]))
    assert needed >= LIMIT if name in EXCEPTIONS else needed < LIMIT


def test_every_exception_is_measured():
    assert EXCEPTIONS.keys() <= set(MEASURED)
