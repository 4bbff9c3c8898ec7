"""Runs that go on where they stopped, and runs that are repeated."""
