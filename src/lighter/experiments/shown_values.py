"""Values of a trial as they are shown: a subtree that was chosen by its name by this name, not by all that is in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lighter.config.tree import SEPARATOR
from lighter.experiments.parameters import Choices, Parameter, Subtrees, look_up
from lighter.experiments.trials import Values
from lighter.runs.compare import flat


def shown_values(parameters: Iterable[Parameter], values: Values) -> dict[str, Any]:
    """Return values by their paths: of a named subtree its name, and the values of the parameters inside it."""
    subtrees = {SEPARATOR.join(map(str, each.steps)): each for each in parameters if isinstance(each, Subtrees)}
    shown: dict[str, Any] = {}
    for path, value in values.items():
        shown |= _of_subtree(subtrees[path], path, value) if path in subtrees else flat(value, path)
    return shown


def _of_subtree(subtrees: Subtrees, path: str, value: Any) -> dict[str, Any]:
    option = next((option for option in subtrees.options if option.read(value) is not None), None)
    if option is None:  # the records are of an earlier space
        return flat(value, path)
    inner: dict[str, Any] = {}
    for parameter in option.parameters:
        for steps in parameter.paths if isinstance(parameter, Choices) else [parameter.steps]:
            inner[SEPARATOR.join(map(str, steps))] = look_up(value, steps)
    below = shown_values(option.parameters, inner)
    return {path: option.name, **{f"{path}{SEPARATOR}{name}": each for name, each in below.items()}}
