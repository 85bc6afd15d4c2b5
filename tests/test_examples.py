"""Every example runs as it stands and reaches the assertion at its end."""

import runpy
from pathlib import Path

import jax
import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_reaches_its_end(path):
    # Examples are written for JAX as users have it, not for the strict tests.
    with (
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
    ):
        runpy.run_path(str(path), run_name="__main__")
