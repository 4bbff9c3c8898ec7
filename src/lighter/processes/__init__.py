"""Signals, process identity, ranks and SLURM jobs; no torch."""
