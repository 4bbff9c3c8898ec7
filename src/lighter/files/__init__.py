"""Files of a run: names, atomic writes, locks, remote storage; no torch."""
