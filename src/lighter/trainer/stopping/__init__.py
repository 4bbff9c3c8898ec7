"""Stop a run at a batch after a signal, on all processes, and save."""
