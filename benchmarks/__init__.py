"""Figures of the main path, each beside its peer or its physical limit, in one run. `python -m benchmarks` runs all."""
