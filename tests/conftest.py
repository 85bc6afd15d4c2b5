"""Strict for every test: nothing is broadcast, promoted or warned about silently."""

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
