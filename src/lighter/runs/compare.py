"""The differences between two runs: config, code, environment, data, results."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from lighter.config.load import load
from lighter.config.tree import join
from lighter.errors import ConfigError
from lighter.files import run_folder as paths
from lighter.runs.read import Run

ABSENT = "-"
_NOTHING = object()


class Difference(NamedTuple):
    """One difference between two runs."""

    about: str  # `config`, `code`, `environment`, `data` or `results`
    name: str  # a config path, a package, ...
    before: Any
    after: Any


class Change(NamedTuple):
    """A change of a config: a value, or a subtree that only one of two has."""

    path: str
    kind: str  # `added`, `removed` or `changed`, where each of both has a value
    before: Any
    after: Any


def differences(first: Run, second: Run) -> list[Difference]:
    """Return all that differs, in this order: config, code, environment, data, results."""
    one, other = first.facts, second.facts
    return [
        *_between("config", config_values(first), config_values(second)),
        *_code(first, second),
        *environment(one, other),
        *_between("data", flat(one.get("data")), flat(other.get("data"))),
        *_between("results", _results(first), _results(second)),
    ]


def config_changes(first: Run, second: Run) -> list[Change]:
    """Return the changes between the configs of two runs: whole subtrees where one of them has none."""
    return list(_changes_within("", _config(first), _config(second)))


def _changes_within(path: str, one: Any, other: Any) -> Iterator[Change]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in {**one, **other}:
            yield from _changes_at(join(path, key), one.get(key, _NOTHING), other.get(key, _NOTHING))
    elif isinstance(one, list) and isinstance(other, list):
        yield from _changes_of_lists(path, one, other)
    elif one != other or type(one) is not type(other):
        yield Change(path, "changed", one, other)


def _changes_at(path: str, one: Any, other: Any) -> Iterator[Change]:
    if one is _NOTHING:
        yield Change(path, "added", None, other)
    elif other is _NOTHING:
        yield Change(path, "removed", one, None)
    else:
        yield from _changes_within(path, one, other)


def _changes_of_lists(path: str, one: list[Any], other: list[Any]) -> Iterator[Change]:
    """Compare lists by their items, so that a layer that is inserted does not change all that follow."""
    before, after = ([json.dumps(item, sort_keys=True, default=str) for item in items] for items in (one, other))
    for what, start, end, to, until in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if what == "equal":
            continue
        same = min(end - start, until - to)
        for offset in range(same):
            yield from _changes_within(join(path, to + offset), one[start + offset], other[to + offset])
        for index in range(start + same, end):
            yield Change(join(path, index), "removed", one[index], None)
        for index in range(to + same, until):
            yield Change(join(path, index), "added", None, other[index])


def environment(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[Difference]:
    """Compare Python, the packages and the machine of two records."""
    return list(_between("environment", _environment(one), _environment(other)))


def _environment(facts: Mapping[str, Any]) -> dict[str, Any]:
    software = facts.get("software") or {}
    return {
        "python": software.get("python"),
        **{f"package {name}": version for name, version in (software.get("packages") or {}).items()},
        **{f"hardware {name}": value for name, value in (facts.get("hardware") or {}).items()},
        **{f"trainer {name}": value for name, value in (facts.get("trainer") or {}).items()},
    }


def config_values(run: Run) -> dict[str, Any]:
    """Return the values of a run's config, by their paths; none if it cannot be read any more."""
    config = _config(run)
    return flat(config) if config else {}


def _config(run: Run) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = load([run.folder.config]).plain() if run.folder.config.is_file() else {}
    except ConfigError:
        return {}
    return plain


def flat(data: Any, path: str = "") -> dict[str, Any]:
    """Return the values in nested data by their paths; empty dicts and lists are values."""
    if not isinstance(data, (Mapping, list, tuple)) or not data:
        return {path: data}
    items = data.items() if isinstance(data, Mapping) else enumerate(data)
    return {inner: value for key, child in items for inner, value in flat(child, join(path, key)).items()}


def changed(before: Mapping[str, Any], after: Mapping[str, Any], absent: Any = None) -> Iterator[tuple[str, Any, Any]]:
    """Yield the names of values that differ, with both values."""
    for name in {**before, **after}:
        old, new = before.get(name, absent), after.get(name, absent)
        if old != new:
            yield name, old, new


def _between(about: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    for name, *values in changed(before, after):
        yield Difference(about, name, *(ABSENT if value is None else value for value in values))


def _results(run: Run) -> dict[str, Any]:
    progress = run.facts.get("progress") or {}
    return {"status": run.status, "stage": run.facts.get("stage"), **progress, **run.metrics}


def _code(first: Run, second: Run) -> Iterator[Difference]:
    one, other = (run.facts.get("source") or {} for run in (first, second))
    yield from _between("code", {"commit": one.get("commit")}, {"commit": other.get("commit")})
    if one.get("digest") != other.get("digest"):
        for name, *texts in changed(_changes(first), _changes(second)):
            yield Difference("code", name, *map(_lines, texts))


def _changes(run: Run) -> dict[str, str]:
    changes: dict[str, str] = {}
    patch = run.folder.path / paths.PATCH
    text = patch.read_text(encoding="utf-8", errors="surrogateescape") if patch.is_file() else ""
    for part in re.split(r"^diff --git ", text, flags=re.MULTILINE)[1:]:
        changes[part.split("\n")[0].rpartition(" b/")[2]] = part
    for name in (run.facts.get("source") or {}).get("untracked", []):
        with suppress(OSError, UnicodeDecodeError):  # the folder may have been changed since
            changes[name] = (run.folder.path / paths.SOURCE / name).read_text(encoding="utf-8")
    return changes


def _lines(text: str | None) -> str:
    if text is None:
        return "as committed"
    added, removed = (len(re.findall(rf"^{sign}(?!{sign})", text, re.MULTILINE)) for sign in (r"\+", "-"))
    return f"+{added} -{removed} lines" if "@@" in text else f"{text.count(chr(10))} lines, not committed"
