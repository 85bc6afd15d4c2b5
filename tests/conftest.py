"""Strict for every test: nothing is broadcast, promoted or warned about silently."""

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
# What concerns no mesh runs on the first of them alone.
jax.config.update("jax_num_cpu_devices", 8)
# Else JAX adds a note to an error, which a doctest of early 3.11 takes for its end.
jax.config.update("jax_traceback_filtering", "off")


# The losses that the other rooms, the README and the examples stand on.
CORE = {"binary", "categorical", "classification", "hinge", "regression", "scores"}


def pytest_addoption(parser):
    parser.addoption(
        "--core",
        action="store_true",
        help="try the laws on the core losses without options, not on every row",
    )


def pytest_collection_modifyitems(config, items):
    if config.getoption("--core"):
        kept = [item for item in items if _is_core(item)]
        config.hook.pytest_deselected(items=[i for i in items if not _is_core(i)])
        items[:] = kept


def _is_core(item) -> bool:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    if "row" not in parameters:
        return True
    module = getattr(parameters["row"].loss, "__module__", "")
    return "-" not in parameters["name"] and module.rpartition(".")[2] in CORE
