"""The facts of an experiment that its results are read with, from its folder, or from the section as it is parsed.

Reading them needs less than running it: no search method, no package that one needs, nothing of the user's code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

from lighter.config.check.sections import MAX_SEED
from lighter.config.load import load
from lighter.config.problems import Problem, indefinite
from lighter.config.tree import Node, join
from lighter.errors import ConfigError, RunError
from lighter.experiments.folds import n_folds, parse_folds
from lighter.experiments.parameters import Parameter
from lighter.experiments.parse_parameters import SEARCH, parse_parameters, parse_zip
from lighter.experiments.schedule import Schedule
from lighter.experiments.schedule_section import parse_schedule
from lighter.experiments.trials import Objective
from lighter.files import run_folder as paths

_DEFAULT_OBJECTIVE = "min val/loss/epoch"
_SECTION = "experiment"
_OF_SPACE = ("space", "zip")


class Facts(Protocol):
    """The part of what was asked for that results are read with; `section.Asked` has it too.

    `folds` are their numbers, (None,) without folds; `trials` is how many in all, None if only the search knows.
    """

    @property
    def objectives(self) -> Sequence[Objective]: ...

    @property
    def seeds(self) -> Sequence[int]: ...

    @property
    def folds(self) -> Sequence[int | None]: ...

    @property
    def trials(self) -> int | None: ...

    @property
    def schedule(self) -> Schedule: ...


@dataclass(frozen=True)
class ReadFacts:
    """Facts read from the folder of an experiment."""

    objectives: tuple[Objective, ...]
    seeds: tuple[int, ...]
    folds: tuple[int | None, ...]
    trials: int | None
    schedule: Schedule
    parameters: tuple[Parameter, ...] = ()


def read_facts(folder: Path) -> ReadFacts:
    """Read what was asked for from an experiment's `config.yaml`, which was checked when it began.

    Raises:
        RunError: it cannot be read.
    """
    path = folder / paths.CONFIG
    try:
        root = load([path])
    except (ConfigError, OSError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    section, schedule = root.section(_SECTION), root.find("experiment::search::schedule")
    problems: list[Problem] = []
    objectives = parse_objectives(section.get("objective"), problems)
    seed = root.child("seed")
    first = seed.value if seed is not None and isinstance(seed.value, int) else 0
    facts = ReadFacts(
        objectives,
        parse_seeds(section.get("seeds"), first, problems),
        _folds(section.get("folds")),
        _trials(section.get("search"), path),
        parse_schedule(schedule, root, objectives, problems) or Schedule(Objective("")),
        _parameters(section.get("search")),
    )
    if problems:
        raise RunError(f"{path} is no config of an experiment: {problems[0].message}")
    return facts


def parse_objectives(node: Node | None, problems: list[Problem]) -> tuple[Objective, ...]:
    """Return the objectives that a section names: `min` or `max` and a logged value, or a list of those."""
    if node is None or node.value is None:
        return (Objective(_DEFAULT_OBJECTIVE.split()[1]),)
    objectives = []
    for index, item in enumerate(node.value) if isinstance(node.value, list) else [(None, node)]:
        direction, _, metric = str(item.plain()).strip().partition(" ")
        if direction in ("min", "max") and metric.strip():
            objectives.append(Objective(metric.strip(), is_maximized=direction == "max"))
            continue
        path = join(_SECTION, "objective")
        message = f"an objective is `min` or `max` and the name of a logged value; found {indefinite(item.plain())}"
        hint = f"objective: {_DEFAULT_OBJECTIVE}"
        problems.append(Problem(message, item.origin, path if index is None else join(path, index), hint))
    if node.value == []:
        problems.append(Problem("there is no objective in this list", node.origin, join(_SECTION, "objective")))
    return tuple(objectives)


def parse_seeds(node: Node | None, first: int, problems: list[Problem]) -> tuple[int, ...]:
    """Return the seeds: those of a list, or so many from the config's own, `first`, on."""
    path = join(_SECTION, "seeds")
    if node is None or node.value is None:
        return (first,)
    if not isinstance(node.value, list):
        if type(node.value) is int and node.value >= 1 and first + node.value - 1 <= MAX_SEED:
            return tuple(range(first, first + node.value))
        message = f"seeds are a number from 1 on, or a list; found {indefinite(node.plain())}"
        problems.append(Problem(message, node.origin, path, "seeds: 3, or seeds: [1, 2, 3]"))
        return (first,)
    seeds = [item.value for item in node.value]
    for index, item in enumerate(node.value):
        if not (type(item.value) is int and 0 <= item.value <= MAX_SEED):
            message = f"a seed is an integer from 0 to {MAX_SEED}; found {indefinite(item.plain())}"
            problems.append(Problem(message, item.origin, join(path, index)))
        elif item.value in seeds[:index]:
            message = f"the seed {item.value} is there twice, and would give the same fit"
            problems.append(Problem(message, item.origin, join(path, index)))
    if not seeds:
        problems.append(Problem("there is no seed in this list", node.origin, path, "seeds: 3"))
    return tuple(seeds)


def _folds(node: Node | None) -> tuple[int | None, ...]:
    folds = parse_folds(node, [])
    return tuple(range(n_folds(folds))) if folds is not None else (None,)


def _trials(search: Node | None, path: Path) -> int | None:
    if search is None or not any(child is not None and child.value for child in map(search.child, _OF_SPACE)):
        return 1
    trials = search.child("trials")
    if trials is not None and isinstance(trials.value, int):
        return trials.value
    return _size_of_space(path)


def _parameters(search: Node | None) -> tuple[Parameter, ...]:
    space, rows = map(search.child, _OF_SPACE) if search is not None else (None, None)
    found = parse_parameters(space, []) if space is not None else []
    return (*found, *(parse_zip(rows, []) if rows is not None else ()))


def points_of_space(folder: Path, most: int) -> int | None:
    """Count the points that the constraints of an experiment allow, up to `most`; None where they cannot be counted."""
    from lighter.config import examine
    from lighter.experiments.space import parse_space

    config, _ = examine([folder / paths.CONFIG])
    search = config.expanded.find(SEARCH) if config is not None else None
    if config is None or search is None:
        return None
    problems: list[Problem] = []
    space = parse_space(search, config, problems)
    if problems or not space.is_countable:
        return None
    try:
        return len(list(islice(filter(space.allows, space.grid()), most)))
    except ConfigError:  # a constraint that cannot be worked out for some point
        return None


def _size_of_space(path: Path) -> int | None:
    """Return how many trials a grid has, say; None where the section cannot be parsed here and now."""
    from lighter.config import examine
    from lighter.experiments.section import parse  # which imports this module

    config, _ = examine([path])
    asked = parse(config)[0] if config is not None else None
    return asked.trials if asked is not None else None
