"""Losses and metrics of a step and of an epoch."""
