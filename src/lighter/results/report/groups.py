"""Group runs that differ in nothing but their seed and fold, and label the groups by what tells them apart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lighter.experiments.results import flat_values
from lighter.experiments.tables import labels, shown_value
from lighter.results.report.subject import Entry
from lighter.runs.compare import changed

OF_NO_GROUP = ("seed", "run", "experiment", "project", "launch")
_MOST_IN_LABEL = 3
_WIDEST_LABEL = 60


@dataclass(frozen=True)
class Group:
    """Runs of one config.

    Attributes:
        label: short; tells the group from the others.
        members: the numbers of its runs.
        values: the values that are not the same in all groups, by their config paths.
        trial: the number of the trial, and `experiment` the id, if it is one of an experiment.
    """

    label: str
    members: tuple[int, ...]
    values: Mapping[str, Any]
    trial: int | None = None
    experiment: str | None = None


@dataclass(frozen=True)
class _Key:
    side: str | None
    experiment: str | None
    trial: int | None
    stage: str = "fit"
    config: str = ""


def grouped(entries: Sequence[Entry]) -> list[Group]:
    """Return the groups of runs, in the order of their first ones."""
    members: dict[_Key, list[int]] = {}
    configs: dict[_Key, dict[str, Any]] = {}
    for number, entry in enumerate(entries):
        config = _config(entry)
        key = _key(entry, config)
        members.setdefault(key, []).append(number)
        configs.setdefault(key, config)
    names = [key.side or key.experiment or entries[numbers[0]].run.facts["name"] for key, numbers in members.items()]
    # Runs of different names may be of different projects: each name has values of its own that tell its groups apart.
    telling = {
        name: varied([config for own, config in zip(names, configs.values(), strict=True) if own == name])
        for name in dict.fromkeys(names)
    }
    known = [config for config in configs.values() if config]
    shared = [path for path in varied(known) if all(path in config for config in known)]
    shown = list(dict.fromkeys(path for paths in (*telling.values(), shared) for path in paths))
    labelled = _labels(list(members), list(configs.values()), names, telling)
    return [
        Group(
            label, tuple(numbers), {path: config[path] for path in shown if path in config}, key.trial, key.experiment
        )
        for (key, numbers), config, label in zip(members.items(), configs.values(), labelled, strict=True)
    ]


def varied(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the paths whose values are not the same in all configs, in their order; empty configs are not counted."""
    known = [config for config in configs if config]  # one that is about to be written
    names = {name for other in known[1:] for name, *_ in changed(known[0], other)}
    every = dict.fromkeys(name for config in known for name in config)
    return [name for name in every if name in names]


def _config(entry: Entry) -> dict[str, Any]:
    """Return what a run's group is known by: the config, and for a trial of an experiment its values in it.

    It is empty for a run whose config is not written yet: the values of a trial alone would differ from all others.
    """
    config = dict(entry.config)
    if config and entry.experiment is not None:
        trial = next(each for each in entry.experiment.trials if each.number == entry.trial)
        # a subtree that was chosen is known by its name, in place of all that is in it
        trees = tuple(f"{path}::" for path, value in trial.values.items() if isinstance(value, Mapping))
        config = {path: value for path, value in config.items() if not path.startswith(trees)} | flat_values(trial)
    return {path: value for path, value in config.items() if path.split("::")[0] not in OF_NO_GROUP}


def _key(entry: Entry, config: Mapping[str, Any]) -> _Key:
    if entry.experiment is not None:
        return _Key(entry.side, entry.experiment.folder.id, entry.trial)
    facts = entry.run.facts
    source = facts.get("source") or {}
    code = source.get("digest") or facts.get("code") or {}
    text = json.dumps([code, config], sort_keys=True, default=str)
    return _Key(entry.side, None, None, str(facts.get("stage")), text)


def _labels(
    keys: Sequence[_Key],
    configs: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    telling: Mapping[str, Sequence[str]],
) -> list[str]:
    has_names, has_stages = len({*names}) > 1, len({key.stage for key in keys}) > 1
    found = []
    for key, config, name in zip(keys, configs, names, strict=True):
        short = labels(telling[name])
        own = [path for path in telling[name] if path in config][:_MOST_IN_LABEL]
        text = ", ".join(f"{short[path]}={shown_value(path, config[path])}" for path in own)
        trial = f"trial {key.trial}" if key.trial is not None and names.count(name) > 1 else ""
        label = (
            " · ".join(
                filter(None, [name if has_names or key.side else "", key.stage if has_stages else "", trial, text])
            )
            or name.rpartition("/")[2]
        )
        found.append(label if len(label) <= _WIDEST_LABEL else label[: _WIDEST_LABEL - 1] + "…")
    return _unique(found)


def _unique(texts: Sequence[str]) -> list[str]:
    counts: dict[str, int] = {}
    found = []
    for text in texts:
        counts[text] = counts.get(text, 0) + 1
        found.append(text if texts.count(text) == 1 else f"{text} ({counts[text]})")
    return found
