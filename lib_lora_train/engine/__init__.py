"""Optimisers, learning rates, the step, the run, its state and its resumption."""
