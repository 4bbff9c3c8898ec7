"""The values of a trial as words of the command line, which set exactly these values in a config."""

from __future__ import annotations

from typing import Any

from lighter.config.flow import as_yaml as as_yaml
from lighter.config.tree import Node
from lighter.experiments.trials import Values


def overrides(values: Values, merged: Node) -> list[str]:
    """Return one override for each path; a dict or list replaces what the merged config has there."""
    return [f"{_operator(path, value, merged)}{path}={as_yaml(value)}" for path, value in values.items()]


def _operator(path: str, value: Any, merged: Node) -> str:
    # Without it, a dict would merge with what is there, and a list extend it; where nothing is, it is a mistake.
    return "=" if isinstance(value, (dict, list)) and merged.find(path) is not None else ""
