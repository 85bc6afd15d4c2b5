"""One row per loss: how to draw an example, and an independent value for it.

A module for each module of `jaxloss.losses`, with its `ROWS`. References are plain
float64 formulas of NumPy and SciPy, written from the definition and sharing nothing
with the library.
"""

import importlib
import pkgutil

from tests.catalogue._row import Row as Row

CATALOGUE: dict[str, Row] = {}
for module in pkgutil.iter_modules(__path__):
    if not module.name.startswith("_"):
        CATALOGUE |= importlib.import_module(f"{__name__}.{module.name}").ROWS

#: Public names that make inputs of losses and are none themselves.
HELPERS = {"Candidates", "log_uniform_candidates", "smooth_labels"}
