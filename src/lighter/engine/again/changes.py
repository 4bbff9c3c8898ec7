"""What changed in a config since a run began, and whether the run's state means anything with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lighter.config import Config
from lighter.config.expression import referred
from lighter.config.problems import Problem, indefinite
from lighter.config.tree import join
from lighter.errors import ConfigError
from lighter.run.secrets import REDACTED

ALL, WEIGHTS, NO_OPTIMIZER = TAKES = ("all", "weights", "no-optimizer")

_HARMLESS = {  # arguments of loaders that change how data is fetched, not which
    *("num_workers", "pin_memory", "pin_memory_device", "persistent_workers", "prefetch_factor", "timeout"),
    *("multiprocessing_context", "worker_init_fn", "in_order"),
}
_MEASURES = re.compile(r"(?:train|val|test)_metrics|metrics|criterion|loss_weights|adapters|predict_tasks|finetune_cfg")
_OTHER_DATA = re.compile(r"(?:val|test|predict)(?:_dataloader|_dataset)?")


@dataclass(frozen=True)
class Change:
    """A value that is another now: its path, and what it was and is (None where there is none)."""

    path: str
    was: Any
    now: Any


@dataclass(frozen=True)
class Rule:
    """A kind of change that some of a run's state does not survive.

    Attributes:
        reason: why.
        takes: with which of `TAKES` it is refused.
        hint: what can be done instead.
    """

    reason: str
    takes: tuple[str, ...]
    hint: str


_MODULE = Rule("its weights are those of another network", (ALL, NO_OPTIMIZER), "Only weights that fit: --take weights")
_OPTIMIZER = Rule(
    "the checkpoint has the state of the optimizer as it was", (ALL,), "Without that state: --take no-optimizer"
)
_SCHEDULER = Rule(
    "a scheduler's settings are part of the state that is loaded, so this would not be heeded",
    (ALL,),
    "To begin a new schedule: --take no-optimizer. To keep the old one: {path}={was}",
)
_DATA = Rule(
    "the epoch and the step that it goes on from were counted on other data",
    (ALL, NO_OPTIMIZER),
    "To begin to count anew, in a new run: --take weights",
)


def refuse_changes(before: Config, now: Config, take: str) -> set[str]:
    """Compare a run's config with what it is to be.

    Returns:
        The hyperparameters of optimizers that are others now: `lr`, for example.

    Raises:
        ConfigError: the state means nothing with these changes.
    """
    problems, hyperparameters = [], set()
    for rule, change in _ruled(before, now):
        if rule is None:
            hyperparameters.add(next(step for step in reversed(change.path.split("::")) if not step.isdigit()))
        elif take in rule.takes:
            problems.append(_problem(rule, change, now))
    if problems:
        raise ConfigError(problems)
    return hyperparameters


def _ruled(before: Config, now: Config) -> Iterator[tuple[Rule | None, Change]]:
    """The changes that matter, each with its rule; None for a hyperparameter of an optimizer."""
    section = now.module_section
    if before.module_section != section:
        yield _MODULE, Change(section, before.module_section, section)
        return
    was, is_now = before.objects(), now.objects()
    for change in _changes(was, is_now, section, aside=("optimizer", "scheduler", "dataloaders")):
        key, last = change.path.split("::")[1], change.path.rpartition("::")[2]
        if last == "_target_" and not _MEASURES.fullmatch(key):
            yield _MODULE, change
    for change in _changes(was, is_now, f"{section}::optimizer", outside=section):
        is_value = isinstance(change.was, (int, float, list)) and change.now is not None
        yield (None if is_value and "params" not in change.path.split("::")[-1:] else _OPTIMIZER), change
    for change in _changes(was, is_now, f"{section}::scheduler", outside=section):
        yield _SCHEDULER, change
    data = "data" if section == "model" else "system::dataloaders"
    for change in _changes(was, is_now, data, outside=section):
        steps = change.path.removeprefix(f"{data}::").split("::")
        if not _OTHER_DATA.fullmatch(steps[0]) and not _HARMLESS & set(steps):
            yield _DATA, change


def _changes(was: Any, now: Any, path: str, *, aside: tuple[str, ...] = (), outside: str = "") -> Iterator[Change]:
    """What differs in all that a path leads to, but for some keys below it and for references into a section."""
    one, other = (dict(_values(objects, path, path, outside, (path,))) for objects in (was, now))
    skipped = tuple(join(path, key) for key in aside)
    for key in {**one, **other}:
        is_secret = REDACTED in str(one.get(key))  # which is given anew
        is_skipped = f"{key}::".startswith(tuple(f"{skip}::" for skip in skipped))
        if one.get(key) != other.get(key) and not is_skipped and not is_secret:
            yield Change(key, one.get(key), other.get(key))


def _values(objects: Any, path: str, shown: str, outside: str, seen: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """The values at and below a path, references followed, each by the path at which it is used."""
    try:
        value = objects.definition(path)
    except KeyError:
        return
    if isinstance(value, Mapping):
        for key in value:
            yield from _values(objects, join(path, key), join(shown, key), outside, seen)
    elif isinstance(value, list):
        for index in range(len(value)):
            yield from _values(objects, join(path, index), join(shown, index), outside, seen)
    else:
        refers = referred(value) if isinstance(value, str) else []
        if not refers or value[:1] == "$":
            yield shown, value
        for reference in refers:
            if reference not in seen and not (outside and f"{reference}::".startswith(f"{outside}::")):
                yield from _values(objects, reference, shown, outside, (*seen, reference))


def _problem(rule: Rule, change: Change, now: Config) -> Problem:
    was, is_now = ("not there" if value is None else indefinite(value) for value in (change.was, change.now))
    node = now.merged.find(change.path)
    message = f"this was {was}, and is {is_now}; {rule.reason}"
    return Problem(
        message, node.origin if node else None, change.path, rule.hint.format(path=change.path, was=change.was)
    )
