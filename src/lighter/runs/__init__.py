"""Records of runs: write, read, list, compare; and, below, resume and reproduce them."""
