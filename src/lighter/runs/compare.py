"""What two runs differ in: only that."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lighter.config.load import load
from lighter.config.tree import join
from lighter.errors import ConfigError
from lighter.files import run_folder as paths
from lighter.runs.read import Run

ABSENT = "-"


class Difference(NamedTuple):
    """One thing that two runs differ in.

    Attributes:
        about: `config`, `code`, `environment`, `data` or `results`.
        name: which: a config path, a package, ...
    """

    about: str
    name: str
    before: Any
    after: Any


def differences(first: Run, second: Run) -> list[Difference]:
    """All that differs, in this order: config, code, environment, data, results."""
    one, other = first.facts, second.facts
    return [
        *_between("config", config_values(first), config_values(second)),
        *_code(first, second),
        *environment(one, other),
        *_between("data", _flat(one.get("data")), _flat(other.get("data"))),
        *_between("results", _results(first), _results(second)),
    ]


def environment(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[Difference]:
    """Python, the packages, the machine."""
    parts = []
    for facts in (one, other):
        software = facts.get("software") or {}
        parts.append(
            {
                "python": software.get("python"),
                **{f"package {name}": version for name, version in (software.get("packages") or {}).items()},
                **{f"hardware {name}": value for name, value in (facts.get("hardware") or {}).items()},
                **{f"trainer {name}": value for name, value in (facts.get("trainer") or {}).items()},
            }
        )
    return list(_between("environment", *parts))


def config_values(run: Run) -> dict[str, Any]:
    """The values of a run's config, by their paths; none if it cannot be read."""
    try:
        return _flat(load([run.folder.config]).plain()) if run.folder.config.is_file() else {}
    except ConfigError:  # it cannot be read any more
        return {}


def _results(run: Run) -> dict[str, Any]:
    progress = run.facts.get("progress") or {}
    return {"status": run.status, "stage": run.facts.get("stage"), **progress, **run.metrics}


def _code(first: Run, second: Run) -> Iterator[Difference]:
    one, other = (run.facts.get("source") or {} for run in (first, second))
    yield from _between("code", {"commit": one.get("commit")}, {"commit": other.get("commit")})
    if one.get("digest") != other.get("digest"):
        yield from _between("code", _changes(first), _changes(second), shown=_lines)


def _changes(run: Run) -> dict[str, Any]:
    """What was changed since the commit, by file."""
    found: dict[str, Any] = {}
    patch = run.folder.path / paths.PATCH
    text = patch.read_text(encoding="utf-8", errors="surrogateescape") if patch.is_file() else ""
    for part in re.split(r"^diff --git ", text, flags=re.MULTILINE)[1:]:
        found[part.split("\n")[0].rpartition(" b/")[2]] = part
    root = run.folder.path / paths.SOURCE
    for name in (run.facts.get("source") or {}).get("untracked", []):
        found[name] = _read(root / name)
    return found


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _lines(text: Any) -> str:
    if text is None:
        return "as committed"
    added, removed = (len(re.findall(rf"^{sign}(?!{sign})", text, re.MULTILINE)) for sign in (r"\+", "-"))
    return f"+{added} -{removed} lines" if "@@" in text else f"{text.count(chr(10))} lines, not committed"


def _between(about: str, one: Mapping[str, Any], other: Mapping[str, Any], shown: Any = None) -> Iterator[Difference]:
    for name in {**one, **other}:
        before, after = one.get(name), other.get(name)
        if before != after:
            yield Difference(about, name, *((shown or _present)(value) for value in (before, after)))


def _present(value: Any) -> Any:
    return ABSENT if value is None else value


def _flat(data: Any, path: str = "") -> dict[str, Any]:
    """Values by their path."""
    if isinstance(data, Mapping) and data:
        return {inner: value for key, child in data.items() for inner, value in _flat(child, join(path, key)).items()}
    if isinstance(data, (list, tuple)) and data:
        items = enumerate(data)
        return {inner: value for key, child in items for inner, value in _flat(child, join(path, key)).items()}
    return {path: data}
