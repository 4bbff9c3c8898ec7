"""A checked config to a run: the only place that calls a user's constructor."""
