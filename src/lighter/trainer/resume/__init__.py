"""A fit that goes on from a checkpoint does what it would have done had it not stopped."""
