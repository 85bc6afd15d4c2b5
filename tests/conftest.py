"""Strict for every test: nothing is broadcast, promoted or warned about silently."""

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


def pytest_addoption(parser):
    parser.addoption(
        "--core",
        action="store_true",
        help="try the laws on each loss as it is, not on the rows with options",
    )


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--core"):
        return
    dropped = [item for item in items if _is_of_options(item)]
    items[:] = [item for item in items if not _is_of_options(item)]
    config.hook.pytest_deselected(items=dropped)


def _is_of_options(item) -> bool:
    parameters = getattr(item, "callspec", None)
    return parameters is not None and "-" in str(parameters.params.get("name", ""))
