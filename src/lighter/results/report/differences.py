"""Differences between the groups of a page: config, code, packages, machines and data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from lighter.experiments.tables import labels
from lighter.files import run_folder as paths
from lighter.results.report.groups import OF_NO_GROUP, Group, varied
from lighter.results.report.subject import Entry
from lighter.runs.compare import differences

_MOST = 200
_MOST_GROUPS = 12
_MOST_PATCHES = 6
_MOST_OF_PATCH = 60_000  # characters
_SHOWN = ("code", "environment", "data")


def config_table(entries: Sequence[Entry], groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return the values of the config that are not the same in all groups: a row for each path.

    First come those that tell groups of one name apart, then those that all have; what only some have is `partial`.
    """
    configs = [entries[group.members[0]].config for group in groups]
    telling = list(dict.fromkeys(path for group in groups for path in group.values))
    others = [path for path in varied(configs) if path not in telling and path.split("::")[0] not in OF_NO_GROUP]
    known = [config for config in configs if config]
    partial = {path for path in others if not all(path in config for config in known)}
    order = [*telling, *sorted(others, key=lambda path: path in partial)]
    return [
        {"path": path, "values": [_text(_value(path, *pair)) for pair in zip(groups, configs, strict=True)]}
        | ({"partial": True} if path in partial else {})
        for path in order[:_MOST]
    ]


def _value(path: str, group: Group, config: Mapping[str, Any]) -> Any:
    return group.values.get(path, config.get(path))


def other_differences(entries: Sequence[Entry], groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return what differs from the first group in code, environment and data, in the first run of each group."""
    firsts = [(group.label, entries[group.members[0]].run) for group in groups]
    known = [(label, run) for label, run in firsts if run.facts.get("trainer")][:_MOST_GROUPS]  # others did not start
    rows: dict[tuple[str, ...], list[str]] = {}
    for label, run in known[1:]:
        for each in differences(known[0][1], run):
            if each.about in _SHOWN:
                key = (each.about, each.name, _text(each.before), _text(each.after))
                rows.setdefault(key, []).append(label)
    heads = ("about", "name", "before", "after")
    return [{**dict(zip(heads, key, strict=True)), "groups": labels} for key, labels in [*rows.items()][:_MOST]]


def patches(entries: Sequence[Entry], groups: Sequence[Group]) -> list[dict[str, str]]:
    """Return what each group had not committed, where it is no more than somebody reads; each patch once."""
    found: dict[str, str] = {}
    for group in groups:
        path = entries[group.members[0]].run.folder.path / paths.PATCH
        with suppress(OSError):
            text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
            if 0 < len(text) <= _MOST_OF_PATCH:
                found.setdefault(text, group.label)
    return [{"label": label, "text": text} for text, label in [*found.items()][:_MOST_PATCHES]]


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Return the last steps of each path, as many as tell it from the others."""
    return labels(paths)


def whole_config(entry: Entry) -> list[tuple[str, str]]:
    """Return all values of a run's config by their paths."""
    return [(path, _text(value)) for path, value in entry.config.items()]


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)
