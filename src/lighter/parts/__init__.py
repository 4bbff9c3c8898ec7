"""Plain classes and functions that a module holds, each usable without a trainer."""
