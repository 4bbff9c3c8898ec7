"""Exact resume: a fit that resumes from a checkpoint does what it would have done had it not stopped."""
