"""Speed is no temporaries: the compiled kernels hold nothing as large as their input.

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
CLASSES = 7  # what the rows draw, replaced by a large number here

_ROW_REDUCTION = (
    "on this CPU the compiler hands the sum or maximum of a row to a library that "
    "cannot take in a comparison or selection in front of it"
)
_TWO_LOGARITHMS = (
    "0 log 0 = 0 needs a selection for each of the two logarithms, and both read the "
    "probability"
)
EXCEPTIONS = {
    "binary_cross_entropy": _TWO_LOGARITHMS,
    "categorical_cross_entropy": _ROW_REDUCTION,
    "margin": _ROW_REDUCTION,
    "softmax_cross_entropy": _ROW_REDUCTION,
    "softmax_cross_entropy_with_integer_labels": _ROW_REDUCTION,
}


def large_batch(row) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shapes of 16384 x 1024 elements, or of 1024 x 16384 classes."""
    shapes = []
    for argument in row.draw(np.random.default_rng(0)):
        shape = (1024, *(16384 if n == CLASSES else n for n in argument.shape))
        dtype = jnp.float32 if argument.dtype.kind == "f" else jnp.int32
        shapes.append(
            jax.ShapeDtypeStruct((16384, 1024) if row.elementwise else shape, dtype)
        )
    return tuple(shapes)


def temporaries(row) -> tuple[int, int]:
    """Bytes for the value, and for the value with its gradient."""
    kernel = per_sample(row.loss)
    shapes = large_batch(row)

    def value_and_gradient(cotangent, prediction, *data):
        value, pull = jax.vjp(lambda p: kernel(p, *data), prediction)
        return value, pull(cotangent)[0]

    cotangent = jax.ShapeDtypeStruct(shapes[0].shape[:1], jnp.float32)
    both = jax.jit(value_and_gradient).lower(cotangent, *shapes).compile()
    value = jax.jit(kernel).lower(*shapes).compile()
    return _temporary_bytes(value), _temporary_bytes(both)


def _temporary_bytes(compiled) -> int:
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("name", [name for name in CATALOGUE if "-" not in name])
def test_the_compiled_kernel_holds_no_temporary(name):
    if name in EXCEPTIONS:
        assert max(temporaries(CATALOGUE[name])) >= LIMIT, "take it off the list"
    else:
        assert max(temporaries(CATALOGUE[name])) < LIMIT
