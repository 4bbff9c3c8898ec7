"""Faults, injected into real runs: `make faults-all` runs every script here whole; pytest runs a short version of each.

A script prints a table of what was tried and how often it held, and exits with 1 if something did not.
"""
