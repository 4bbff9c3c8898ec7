"""Check an experiment beyond its base config: its section, its objectives, and the values of the search space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lighter.config import Config
from lighter.config.check import check_shape
from lighter.config.merge import edit
from lighter.config.problems import ERROR, WARNING, Problem, Problems
from lighter.config.references import followed
from lighter.config.tree import Node, Origin, Source, join, prefixes, split
from lighter.engine.check import check
from lighter.engine.check.context import Context
from lighter.engine.check.monitors import Watcher, check_watched
from lighter.experiments.facts import parse_objectives
from lighter.experiments.section import SECTION, Asked, parse
from lighter.experiments.trials import Values
from lighter.trainer import Trainer

_SPACE = f"{SECTION}::search::space"
_OBJECTIVE = f"{SECTION}::objective"
_NO_SCHEDULE = "`schedule: none`."


def check_experiment(config: Config, context: Context) -> tuple[Asked | None, list[Problem]]:
    """Return what a config asks for, None if its section is wrong, and all problems of the section.

    `context` is that of the base config, checked for `fit`.
    """
    asked, problems = parse(config)
    problems = [*problems, *_of_objectives(config, context)]
    if asked is None or any(problem.severity == ERROR for problem in context.problems):
        return asked, problems
    if asked.schedule.rungs:
        problems += [*_of_pauses(context), *_of_counter(config, asked)]
    known = {(problem.message, problem.path) for problem in context.problems}
    for values in asked.space.extremes():
        for problem in _of_values(config, values):
            if (problem.message, problem.path) not in known:
                known.add((problem.message, problem.path))
                problems.append(problem)
    return asked, problems


def _of_objectives(config: Config, context: Context) -> list[Problem]:
    """Return the objectives that nothing logs."""
    node = config.expanded.find(_OBJECTIVE)
    watched = replace(context, problems=Problems())
    for index, objective in enumerate(parse_objectives(node, [])):
        is_listed = node is not None and isinstance(node.value, list)
        path = join(_OBJECTIVE, index) if is_listed else _OBJECTIVE if node is not None else ""
        check_watched(watched, Watcher(path, path, objective.metric))
    return watched.problems


def _of_values(config: Config, values: Values) -> Sequence[Problem]:
    """Return the problems of the config of a trial, placed where the values stand in the search space."""
    problems = Problems()
    root = config.merged.copy()
    root.value.pop(SECTION, None)
    for path, value in values.items():
        edit(
            root, list(split(path)), _node(value, _origin(config, path)), problems, replace=root.find(path) is not None
        )
    expanded = check_shape(root, problems)
    if not problems:
        context = check(Config(root, expanded, config.safe), "fit")
        problems += [*context.problems, *context.failures]
    return [problem for problem in problems if problem.severity == ERROR]


def _origin(config: Config, path: str) -> Origin:
    node = config.merged.find(f"{_SPACE}::{path}")
    return node.origin if node is not None else Origin(Source("experiment"))


def _node(value: object, origin: Origin) -> Node:
    if isinstance(value, dict):
        return Node({key: _node(child, origin) for key, child in value.items()}, origin, origin)
    if isinstance(value, list):
        return Node([_node(child, origin) for child in value], origin, origin)
    return Node(value, origin, origin)


def _of_pauses(context: Context) -> Sequence[Problem]:
    """Return what keeps fits from pausing at rungs and from resuming there as if they had not."""
    found, path = replace(context, problems=Problems()), context.followed("trainer")
    kind = context.kind(path)
    if kind is not None and not issubclass(kind, Trainer):
        message = f"a schedule pauses fits, and {kind.__module__}.{kind.__qualname__} cannot: only lighter.Trainer can"
        found.problem(message, join(path, "_target_"), f"Leave it out, or {_NO_SCHEDULE}")
    if context.plain(path, "enable_checkpointing") is False:
        message = "a schedule needs checkpoints: a member resumes from its own when its trial is promoted"
        found.problem(message, join(path, "enable_checkpointing"), f"Leave it out, or {_NO_SCHEDULE}")
    for key in ("fast_dev_run", "barebones"):
        if context.plain(path, key) not in (None, False, 0):
            message = f"a schedule pauses fits and resumes them from their checkpoints, and `{key}` saves none"
            found.problem(message, join(path, key), f"Leave it out, or {_NO_SCHEDULE}")
    if context.plain(path, "exact_resume") is False:
        message = (
            "a promoted member resumes with other random numbers than it would have had without the pause, so that "
            "results depend on when trials are promoted, and are not repeatable"
        )
        found.problem(message, join(path, "exact_resume"), "Leave it out: lighter.Trainer resumes exactly.", WARNING)
    return found.problems


def _of_counter(config: Config, asked: Asked) -> Iterator[Problem]:
    """Yield the values of the search space that would end fits elsewhere than the rungs suppose."""
    by = asked.schedule.by
    points = asked.space.extremes()
    for counter in dict.fromkeys((by, followed(config.expanded, by))):
        steps = split(counter)
        for path in prefixes(counter):
            ends = {repr(_inside(values[path], steps[len(split(path)) :])) for values in points if path in values}
            if len(ends) > 1:
                message = f"the schedule compares trials by `{by}`, which cannot differ between them"
                hint = f"Take it out of the space, or {_NO_SCHEDULE}"
                yield Problem(message, _origin(config, path), f"{_SPACE}::{path}", hint)


def _inside(value: object, steps: Sequence[str | int]) -> object:
    for step in steps:
        value = value.get(step) if isinstance(value, dict) else None
    return value
