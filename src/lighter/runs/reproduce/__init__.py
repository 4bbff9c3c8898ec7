"""Repeat a recorded run and compare it with the record."""
