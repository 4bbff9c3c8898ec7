"""Resume fits and predictions that stopped."""
