"""Noise schedules, draws, targets, losses and their weights: algebra only."""
