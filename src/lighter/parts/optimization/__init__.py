"""Optimizers, schedulers and parameter groups."""
