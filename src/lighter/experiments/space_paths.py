"""Check the paths of a search space: an override could set each of them, and none is inside another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lighter.config.merge import edit
from lighter.config.problems import Problem
from lighter.config.suggestions import find_step, suggest
from lighter.config.tree import SEPARATOR, Node, Origin, prefixes, split
from lighter.experiments.parameters import Choices, Parameter
from lighter.experiments.parse_parameters import SEARCH

_NOT_SEARCHED = {
    "seed": "Several seeds for each trial: `experiment::seeds`.",
    "experiment": "An experiment does not search over itself.",
    "run": "Each member has a folder of its own in that of the experiment.",
    "project": "",
    "_imports_": "",
}


def check_paths(parameters: Sequence[Parameter], merged: Node, problems: list[Problem]) -> None:
    """Add a problem for each path that stands twice, is inside another, or has no place in the config."""
    root = merged.copy()
    paths: dict[str, Origin] = {}
    for path, origin in _paths(parameters):
        around = next((above for above in reversed(prefixes(path)) if above in paths), None)
        inside = next((other for other in paths if other.startswith(path + SEPARATOR)), None)
        if around is not None or inside is not None:
            problems.append(_overlap(path, str(around or inside), origin))
        elif split(path)[0] in _NOT_SEARCHED:
            hint = _NOT_SEARCHED[split(path)[0]]
            problems.append(Problem(f"`{path}` is not searched over", origin, SEARCH, hint))
        else:
            _check_place(path, origin, root, merged, problems)
        paths[path] = origin


def _paths(parameters: Sequence[Parameter]) -> Iterator[tuple[str, Origin]]:
    for parameter in parameters:
        for steps in parameter.paths if isinstance(parameter, Choices) else (parameter.steps,):
            yield SEPARATOR.join(map(str, steps)), parameter.origin


def _overlap(path: str, other: str, origin: Origin) -> Problem:
    if path == other:
        return Problem(f"`{path}` has values already", origin, SEARCH, "Keep it in `space`, or in one dict of `zip`.")
    inner, outer = sorted((path, other), key=len, reverse=True)
    return Problem(f"`{inner}` is inside another path of the space, `{outer}`", origin, SEARCH)


def _check_place(path: str, origin: Origin, root: Node, merged: Node, problems: list[Problem]) -> None:
    above = path.rpartition(SEPARATOR)[0]
    here, node = find_step(merged, above)
    if here != above and isinstance(node.value, dict):
        message = f"the config has no `{above}` that `{split(path)[-1]}` could be in"
        problems.append(Problem(message, origin, SEARCH, suggest(merged, above)))
    else:  # as for an override, in the same words
        edit(root, split(path), Node(None, origin), problems)
