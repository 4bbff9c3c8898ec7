"""Lightning's loops with a lean path for a batch."""
