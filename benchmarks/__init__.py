"""How fast the losses are beside those of other libraries: `python -m benchmarks`."""
