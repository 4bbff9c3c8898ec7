"""The section `experiment::search::method` to a search, with all its problems."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lighter.config.check.calls import NOTHING, Targets, check_call
from lighter.config.locate import locate
from lighter.config.problems import Problem, indefinite, nearest
from lighter.config.safe import SafeMode
from lighter.config.tree import Node, Origin, Source, is_target, join
from lighter.errors import ConfigError
from lighter.experiments.parameters import Range
from lighter.experiments.parse_parameters import SEARCH
from lighter.experiments.search.base import RandomSearch, Search
from lighter.experiments.search.grid import GridSearch, check_grid
from lighter.experiments.search.sobol import SobolSearch
from lighter.experiments.space import Space
from lighter.experiments.trials import Objective

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

METHODS = ("random", "grid", "sobol", "tpe")
PATH = join(SEARCH, "method")
_INSTEAD = {"GridSampler": "method: grid", "QMCSampler": "method: sobol"}
_NEEDS = {"CmaEsSampler": "cmaes", "GPSampler": "scipy"}  # which Optuna itself installs without


def make_search(
    method: Node | None, space: Space, seed: int, objectives: Sequence[Objective], problems: list[Problem]
) -> Search | None:
    """Return the search that `method` names, or that a definition of one of Optuna's samplers stands for.

    Without a method, it is a grid where the space has no ranges, and random otherwise. Return None, and add problems,
    where the method or the space is not one that it can search.
    """
    name = _default(space) if method is None else method.value
    if is_target(name) and method is not None:
        return _of_sampler(method, space, seed, objectives, problems)
    if name == "tpe":
        return _tpe(method, space, seed, objectives, problems)
    if name == "grid":
        before = len(problems)
        check_grid(space, problems)
        return GridSearch(space, seed) if len(problems) == before else None
    if name in ("random", "sobol"):
        return RandomSearch(space, seed) if name == "random" else SobolSearch(space, seed)
    if method is not None:
        hint = nearest(name, METHODS) if isinstance(name, str) else "method: {_target_: optuna.samplers.GPSampler}"
        message = f"there is no method of search {indefinite(method.plain())}"
        problems.append(Problem(message, method.origin, PATH, hint))
    return None


def _default(space: Space) -> str:
    return "random" if any(isinstance(parameter, Range) for parameter in space.dimensions) else "grid"


def _tpe(
    method: Node | None, space: Space, seed: int, objectives: Sequence[Objective], problems: list[Problem]
) -> Search | None:
    try:
        from lighter.experiments.search.optuna import TPESearch
    except ImportError as error:
        problems.append(_not_installed(method, error))
        return None
    return TPESearch(space, seed, objectives)


def _of_sampler(
    method: Node, space: Space, seed: int, objectives: Sequence[Objective], problems: list[Problem]
) -> Search | None:
    try:
        from lighter.experiments.search.optuna import OptunaSearch, quiet
    except ImportError as error:
        problems.append(_not_installed(method, error))
        return None
    before = len(problems)
    _check_definitions(method, space.config.safe, problems)
    if len(problems) > before:
        return None
    try:
        with quiet():
            sampler = _made(method, space.config.safe, 0)
    except ConfigError as error:
        problems += error.problems
    except (TypeError, ValueError) as error:
        problems.append(Problem(f"this sampler cannot be made: {error}", method.origin, PATH))
    else:
        _check_sampler(sampler, method, problems)
    if len(problems) > before:
        return None
    return OptunaSearch(space, seed, objectives, lambda seed: _made(method, space.config.safe, seed))


def _check_definitions(method: Node, safe: SafeMode | None, problems: list[Problem]) -> None:
    targets = Targets(problems, problems, safe)
    for path, node in method.walk(PATH):
        target = targets.of(node, path) if is_target(node.value) else NOTHING
        if target is not NOTHING:
            check_call(path, node, target, problems)
        if is_target(node.value) and "seed" in node.value:
            hint = "It comes from the config's `seed`, another one for each trial."
            place = node.value["seed"].place
            problems.append(Problem("a sampler has no seed of its own", place, join(path, "seed"), hint))


def _check_sampler(sampler: object, method: Node, problems: list[Problem]) -> None:
    from optuna.samplers import BaseSampler

    name = type(sampler).__name__
    if not isinstance(sampler, BaseSampler):
        message = f"a method of search is a sampler of Optuna's; this is {name}"
        problems.append(Problem(message, method.origin, PATH, f"Or one of: {', '.join(METHODS)}."))
    elif name in _INSTEAD:
        message = f"a {name} counts what it has suggested, which an experiment does not keep"
        problems.append(Problem(message, method.origin, PATH, f"The same: {_INSTEAD[name]}"))
    elif name in _NEEDS and find_spec(_NEEDS[name]) is None:
        problems.append(
            Problem(f"{name} needs the package {_NEEDS[name]}", method.origin, PATH, f"pip install {_NEEDS[name]}")
        )


def _made(method: Node, safe: SafeMode | None, seed: int) -> BaseSampler:
    from lighter.config.objects import Objects

    origin = Origin(Source("search"))
    search = Node({"method": _seeded(method, safe, seed)}, origin)
    tree = Node({"experiment": Node({"search": search}, origin)}, origin)
    sampler: BaseSampler = Objects(tree, safe).get(PATH)
    return sampler


def _seeded(node: Node, safe: SafeMode | None, seed: int) -> Node:
    """Return a definition in which each sampler that takes a seed is given one."""
    if isinstance(node.value, list):
        return Node([_seeded(item, safe, seed) for item in node.value], node.origin, node.key_origin)
    if not isinstance(node.value, dict):
        return node
    value = {key: _seeded(child, safe, seed) for key, child in node.value.items()}
    if is_target(value) and _takes_seed(str(value["_target_"].value), safe):
        value.setdefault("seed", Node(seed, node.origin))
    return Node(value, node.origin, node.key_origin)


def _takes_seed(name: str, safe: SafeMode | None) -> bool:
    target = (safe.locate if safe is not None else locate)(name)
    try:
        return callable(target) and "seed" in inspect.signature(target).parameters
    except (TypeError, ValueError):
        return False


def _not_installed(method: Node | None, error: ImportError) -> Problem:
    message = f"this method of search needs Optuna 5: {error}"
    hint = "pip install 'lighter[sweeps]'\nWithout it there are: random, grid, sobol."
    return Problem(message, method.origin if method is not None else None, PATH, hint)
