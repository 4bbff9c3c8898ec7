"""The settings of a split: from the nodes of `data::split`, or of an experiment's `folds`, with all their problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lighter.config.problems import Problem, indefinite, nearest
from lighter.config.tree import Node, is_reference, is_target, join
from lighter.files.storage import expanded

PLAIN, STRATIFIED, GROUPED, STRATIFIED_GROUPED = "plain", "stratified", "grouped", "stratified_grouped"
TIME_SERIES, REPEATED, REPEATED_STRATIFIED = "time_series", "repeated", "repeated_stratified"
INDICES, SPLITTER = "indices", "splitter"
KINDS = (PLAIN, STRATIFIED, GROUPED, STRATIFIED_GROUPED, TIME_SERIES, REPEATED, REPEATED_STRATIFIED, INDICES)
NEED_GROUPS = (GROUPED, STRATIFIED_GROUPED)
NEED_LABELS = (STRATIFIED, STRATIFIED_GROUPED, REPEATED_STRATIFIED)
NEED_SCIKIT = (STRATIFIED, GROUPED, STRATIFIED_GROUPED, REPEATED_STRATIFIED)

NEEDS_SCIKIT = 'pip install "lighter[folds]"'

REFUSE, WARN, IGNORE = LEAKS = ("refuse", "warn", "ignore")
VALIDATION = "val"

COLUMNS = ("labels", "groups", "times")
_OBJECTS = (*COLUMNS, "dataset", "n_samples", "splitter")
_ANY_KIND = {"kind", "fold", "leaks", *COLUMNS, "dataset", "n_samples"}
_FOLDED = {"n", "seed", "shuffle"}
_REPEATED = {"n", "repeats", "seed"}
_OF_KIND = {
    PLAIN: _FOLDED,
    STRATIFIED: _FOLDED,
    GROUPED: _FOLDED,
    STRATIFIED_GROUPED: _FOLDED,
    TIME_SERIES: {"n", "gap"},
    REPEATED: _REPEATED,
    REPEATED_STRATIFIED: _REPEATED,
    INDICES: {"n", "file"},
    SPLITTER: {"n", "splitter"},
}
SETTINGS = frozenset(_ANY_KIND).union({"predict"}, *_OF_KIND.values())
"""All that a split may have, whatever its kind."""
_LEAST = {"n": 2, "fold": 0, "seed": 0, "gap": 0, "repeats": 1}


class SplitError(Exception):
    """Raised for data that cannot be split as asked; `key` is the setting that it is about."""

    def __init__(self, message: str, key: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.key, self.hint = key, hint


@dataclass(frozen=True)
class SplitSettings:
    """The plain values of a split; labels, groups and the like are worked out by who has the dataset.

    Attributes:
        kind: one of `KINDS`, or `splitter` for an object of scikit-learn's interface.
        n: the number of folds, of each repeat if there are several; None where a file or a splitter says it.
        fold: the number of the fold whose samples are the validation side.
        seed: of the shuffling. It is not the config's, so that the folds are the same for all seeds of an experiment.
        gap: how many samples are left out before the validation side of a time series.
        leaks: what is done about a leak: `refuse`, `warn` or `ignore`.
        predict: `val` if the validation side is what `predict` predicts.
        given: the settings that are there.
    """

    kind: str
    n: int | None = 5
    fold: int = 0
    seed: int = 0
    shuffle: bool = True
    gap: int = 0
    repeats: int = 1
    file: str | None = None
    leaks: str = REFUSE
    predict: str | None = None
    given: frozenset[str] = frozenset()

    @property
    def count(self) -> int | None:
        """The number of folds, all repeats together; None where that shows only when the split is made."""
        return None if self.n is None else self.n * self.repeats


def parse(node: Node, path: str, problems: list[Problem], *, of_experiment: bool = False) -> SplitSettings | None:
    """Return the settings that a node says, and add what is wrong; None if too much is.

    `of_experiment`: they are an experiment's `folds`, whose members get the number of the fold.
    """
    if not isinstance(node.value, dict) or is_target(node.value):
        message = f"a split is a dict; found {indefinite(node.plain())}"
        problems.append(Problem(message, node.origin, path, "For example: {kind: stratified, n: 5, fold: 0}"))
        return None
    kind = _kind(node, path, problems)
    if kind is None:
        return None
    before = len(problems)
    problems += _unknown(node, path, kind, of_experiment=of_experiment)
    values = {key: child.value for key, child in node.value.items() if key not in (*_OBJECTS, "kind")}
    for key, child in node.value.items():
        problems += _wrong(str(key), child, path)
    problems += _missing(node, path, kind)
    if len(problems) > before:
        return None
    given = frozenset(str(key) for key, child in node.value.items() if child.value is not None)
    folds = _of_splitter(node) if kind == SPLITTER else None if kind == INDICES else 5
    shuffle = values.pop("shuffle", kind != GROUPED)
    settings = SplitSettings(kind, given=given, shuffle=shuffle, **{"n": folds, **values})
    problems += _beyond(settings, node, path, of_experiment=of_experiment)
    return settings if len(problems) == before else None


def _kind(node: Node, path: str, problems: list[Problem]) -> str | None:
    kind, splitter = node.value.get("kind"), node.value.get("splitter")
    if kind is not None and splitter is not None:
        problems.append(Problem("a split has a `kind` or a `splitter`, not both", kind.place, join(path, "kind")))
        return None
    if kind is None and splitter is None:
        hint = f"Add `kind`, one of {', '.join(KINDS)}, or a `splitter` of scikit-learn's."
        problems.append(Problem("this split has no `kind`", node.place, path, hint))
        return None
    if kind is not None and kind.value not in KINDS:
        message = f"this kind of split is unknown: {indefinite(kind.plain())}"
        problems.append(Problem(message, kind.origin, join(path, "kind"), nearest(kind.value, KINDS)))
        return None
    return SPLITTER if kind is None else str(kind.value)


def _unknown(node: Node, path: str, kind: str, *, of_experiment: bool) -> Iterator[Problem]:
    allowed = _ANY_KIND | _OF_KIND[kind] | ({"predict"} if not of_experiment else set())
    every = set[str]().union(allowed, *_OF_KIND.values())
    for key, child in node.value.items():
        if key == "fold" and of_experiment:
            message = "the folds of an experiment are all run: each member has one of them"
            yield Problem(message, child.place, join(path, key), "Leave `fold` out.")
        elif key in every - allowed:
            kinds = [name for name, keys in _OF_KIND.items() if key in keys]
            message = f"`{key}` says nothing to this split; it is for: {', '.join(kinds)}"
            yield Problem(message, child.place, join(path, key))
        elif key not in allowed:
            yield Problem("this setting of a split is unknown", child.place, join(path, key), nearest(key, allowed))


def _wrong(key: str, node: Node, path: str) -> Iterator[Problem]:
    """Yield what is wrong with the value of one setting."""
    value, where = node.value, join(path, key)
    if key in _CHECKS and is_reference(value):
        message = f"`{key}` is needed before references are worked out"
        hint = f"Write it out, or copy it: %{value[1:]}" if value[0] == "@" else "Write it out."
        yield Problem(message, node.origin, where, hint)
    elif key in _CHECKS and not _CHECKS[key][0](value):
        yield Problem(f"`{key}` is {_CHECKS[key][1]}; found {indefinite(node.plain())}", node.origin, where)
    elif key == "file" and isinstance(value, str) and not expanded(value).is_file():
        hint = 'It has {"train": [0, 2, ...], "val": [1, ...]}: JSON, or an .npz file such as split.npz of a run.'
        yield Problem(f"there is no file {value}", node.origin, where, hint)
    elif key == "splitter" and not (is_target(value) or is_reference(value)):
        hint = "splitter: {_target_: sklearn.model_selection.GroupShuffleSplit, n_splits: 5, random_state: 0}"
        yield Problem("`splitter` is a definition of an object", node.origin, where, hint)


def _missing(node: Node, path: str, kind: str) -> Iterator[Problem]:
    if kind in NEED_GROUPS and "groups" not in node.value:
        hint = "Add `groups`: an attribute of the dataset, or an expression such as $@vars::table['patient']."
        yield Problem(f"a {kind} split needs the groups of the samples", node.place, path, hint)
    if kind == INDICES and "file" not in node.value:
        hint = 'Add `file`: JSON with {"train": [0, 2, ...], "val": [1, ...]}, or a list of such dicts.'
        yield Problem("a split by indices needs a file of them", node.place, path, hint)


def _beyond(settings: SplitSettings, node: Node, path: str, *, of_experiment: bool) -> Iterator[Problem]:
    if of_experiment and settings.count is None:
        yield Problem("how many folds there are is not known", node.place, path, "Add `n`.")
    if settings.count is not None and settings.fold >= settings.count:
        message = f"there are {settings.count} folds, so `fold` is 0 to {settings.count - 1}; found {settings.fold}"
        yield Problem(message, node.value["fold"].origin, join(path, "fold"))


def _of_splitter(node: Node) -> int | None:
    """Return the number of a splitter's folds, if its definition says it in numbers."""
    counts = [node.find(f"splitter::{key}") for key in ("n_splits", "n_repeats")]
    numbers = [count.value if count is not None else 1 for count in counts]
    is_known = counts[0] is not None and all(type(number) is int for number in numbers)
    return numbers[0] * numbers[1] if is_known else None


def _at_least(least: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and value >= least


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **{key: (_at_least(least), f"a whole number from {least} on") for key, least in _LEAST.items()},
    "shuffle": (lambda value: type(value) is bool, "true or false"),
    "file": (lambda value: isinstance(value, str), "the path of a file"),
    "leaks": (lambda value: value in LEAKS, f"one of {', '.join(LEAKS)}"),
    "predict": (lambda value: value in (VALIDATION, None), f"`{VALIDATION}`"),
}
