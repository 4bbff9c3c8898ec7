"""Put together all data of a page, as JSON has it. The page draws from it alone, and programs read it there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from lighter import __version__
from lighter.experiments.intervals import estimate
from lighter.experiments.results import finite_or_text
from lighter.experiments.status import Overview
from lighter.files.run_folder import name_of
from lighter.results.report import curves, differences
from lighter.results.report.arrays import arrays
from lighter.results.report.data import is_same_data
from lighter.results.report.groups import Group, grouped
from lighter.results.report.recorded import Recorded, disagreements, jsonable
from lighter.results.report.resources import resources
from lighter.results.report.search import public, search_data
from lighter.results.report.subject import Entry, Subject
from lighter.results.report.verdicts import verdict
from lighter.results.sides import reason_against
from lighter.runs.filter import best_rows, mode_of_metric
from lighter.runs.read import PAUSED
from lighter.runs.secrets import Secrets

FORMAT = 1
_MODES = ("train", "val", "test", "predict")
_MOST_METRICS = 24  # columns of the table
_MOST_VALUES = 40  # columns of the table
_MOST_CONFIGS = 6  # of which all values are shown


def document(subject: Subject) -> dict[str, Any]:
    """Return all data of the page of a subject, without secrets."""
    return _Document(subject).data()


class _Document:
    def __init__(self, subject: Subject) -> None:
        self.subject, self.entries = subject, subject.entries
        self.groups = grouped(self.entries)
        self.notes = list(subject.notes)

    def data(self) -> dict[str, Any]:
        recorded = Recorded().read(self.entries, self.groups)
        of_runs, left_out = curves.within_budget(
            curves.shown_curves([entry.curves for entry in self.entries]), self.metric
        )
        drawn = curves.public(of_runs)
        self.notes += recorded.notes
        if left_out:
            what = left_out[0] if len(left_out) == 1 else f"{len(left_out)} values"
            self.notes.append(f"The curves of {what} are left out, as the page would be too large.")
        text = {
            "format": FORMAT,
            "lighter": __version__,
            **self._heads(),
            "metric": self.metric,
            "mode": mode_of(self.metric, self.subject) if self.metric else None,
            "groups": [self._group(group) for group in self.groups],
            "runs": [self._run(number, entry) for number, entry in enumerate(self.entries)],
            "table": self._table(),
            "verdict": verdict(self.subject, self.groups, self.metric) if self.metric else None,
            "searches": [search_data(each, self.entries) for each in self.subject.experiments],
            "config": differences.config_table(self.entries, self.groups),
            "differences": differences.other_differences(self.entries, self.groups),
            "configs": self._configs(),
            "patches": differences.patches(self.entries, self.groups),
            "evaluations": recorded.evaluations,
            "arrays": arrays(self.entries, self.groups),
            "disagreements": disagreements(self.entries, self.groups),
            "resources": resources(self.entries),
            "modes": {name: mode_of(name, self.subject) for name in {**dict.fromkeys(self.metrics), **drawn}},
        }
        data: dict[str, Any] = Secrets().data(jsonable(text))
        # An image has nothing that a secret is recognized by, and curves are numbers: to search them takes seconds.
        return {**data, "curves": drawn, "pictures": jsonable(recorded.pictures), "notes": Secrets().data(self.notes)}

    @cached_property
    def metrics(self) -> list[str]:
        """The metrics of the table: of validation and test first, then those that most runs have."""
        counts = Counter(name for row in self._summaries for name in row["metrics"])
        shown = [name for name in counts if "/optimizer/" not in name and "/step" not in name and name != "train/lr"]
        order = sorted(shown, key=lambda name: (name.startswith("train/"), -counts[name], "loss" not in name, name))
        first = [each.metric for overview in _experiments(self.subject) for each in overview.facts.objectives]
        return list(dict.fromkeys([*(name for name in first if name in counts), *order]))[:_MOST_METRICS]

    @property
    def metric(self) -> str | None:
        """The metric that verdicts are about: the objective of an experiment, or the first of the table."""
        return next(iter(self.metrics), None)

    @cached_property
    def _summaries(self) -> list[Mapping[str, Any]]:
        return [*(_summary(entry) for entry in self.entries), *self.subject.rows]

    def _heads(self) -> dict[str, Any]:
        names = [entry.side or row["name"] for entry, row in zip(self.entries, self._summaries, strict=False)]
        names = list(dict.fromkeys([*names, *(str(row["name"]) for row in self.subject.rows)]))
        if not any(entry.side for entry in self.entries):
            names = [name_of(overview.folder.path) for overview in self.subject.experiments] or names
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        if self.subject.all_under is not None:
            shown = f"All runs of {self.subject.all_under.name}"
        return {
            "title": shown or "Nothing to show",
            "kind": "experiment" if self.subject.experiments else "run" if len(self._summaries) == 1 else "runs",
            "models": _most_common(_model(entry) for entry in self.entries),
            "datasets": _most_common(_dataset(entry) for entry in self.entries),
            "samples": self._samples(),
            "same_data": self._is_on_same_data(),
            "statuses": dict(Counter(row["status"] for row in self._summaries)),
            "running": self.subject.is_running,
        }

    def _samples(self) -> dict[str, int]:
        """Return the number of samples of each mode, where all runs have the same."""
        lengths: dict[str, set[int]] = {}
        for entry in self.entries:
            for mode, sets in (entry.run.facts.get("data") or {}).items():
                known = (
                    [each.get("length") for each in sets if isinstance(each, dict)] if isinstance(sets, list) else []
                )
                numbers = [length for length in known if isinstance(length, int)]
                if numbers:
                    lengths.setdefault(mode, set()).add(sum(numbers))
        order = [mode for mode in _MODES if mode in lengths]
        return {mode: max(lengths[mode]) for mode in order if len(lengths[mode]) == 1}

    def _group(self, group: Group) -> dict[str, Any]:
        known = {"label": group.label, "runs": list(group.members), "values": dict(group.values)}
        counted = [entry for entry in map(self.entries.__getitem__, group.members) if _counts(entry)]
        values = [value for entry in counted if (value := entry.metrics.get(self.metric or "")) is not None]
        odd = [value for value in values if not math.isfinite(value)]
        one = estimate(values) if values and not odd else None
        told = f"{len(odd)} of {len(values)} {'is' if len(odd) == 1 else 'are'} {odd[0]}" if odd else None
        place = {"trial": group.trial, "experiment": group.experiment}
        return {**known, **place, "estimate": one and public(one), "not_finite": told}

    def _is_on_same_data(self) -> bool:
        """Return False where groups were measured on other data, so that one axis for their values would mislead."""
        metric = self.metric or ""
        members = [[self.entries[number] for number in group.members] for group in self.groups]
        having = [own for group in members if (own := [each for each in group if metric in each.metrics])]
        return is_same_data(having, mode_of_metric(metric))

    def _run(self, number: int, entry: Entry) -> dict[str, Any]:
        facts = entry.run.facts
        error = facts.get("error") if not facts.get("signal") else None
        return {
            "id": _id(entry),
            "path": str(entry.run.folder.path),
            "group": next(index for index, group in enumerate(self.groups) if number in group.members),
            "seed": entry.seed,
            "fold": entry.fold,
            "trial": entry.trial,
            "status": entry.run.status,
            "counts": _counts(entry),
            "error": f"{error['type']}: {error['message']}" if error else None,
            "command": " ".join(facts.get("command") or []),
            "progress": facts.get("progress"),
            "commit": (facts.get("source") or {}).get("commit"),
            "changed": (facts.get("source") or {}).get("changed"),
            "metrics": {name: finite_or_text(value) for name, value in entry.metrics.items()},
            "ranges": {name: entry.ranges[name] for name in self.metrics if name in entry.ranges},
        }

    def _table(self) -> dict[str, Any]:
        paths = list(dict.fromkeys(path for group in self.groups for path in group.values))[:_MOST_VALUES]
        short = differences.short_names(paths)
        has_members = any(entry.trial is not None for entry in self.entries)
        columns = [{"name": "run", "kind": "text"}]
        has_folds = any(entry.fold is not None for entry in self.entries)
        of_members = ("trial", "seed", "fold") if has_folds else ("trial", "seed")
        columns += [{"name": name, "kind": "number"} for name in of_members if has_members]
        columns += [{"name": "seed", "kind": "number"}] if not has_members and self.entries else []
        columns += [{"name": short[path], "kind": "value", "path": path} for path in paths]
        columns += [{"name": name.removesuffix("/epoch"), "kind": "metric", "path": name} for name in self.metrics]
        columns += [{"name": "status", "kind": "status"}, {"name": "time", "kind": "seconds"}]
        columns += [{"name": "started", "kind": "date"}, {"name": "stage", "kind": "text"}]
        columns += [{"name": "tags", "kind": "text"}] if any(row["tags"] for row in self._summaries) else []
        return {"columns": columns, "rows": [self._row(number, columns) for number in range(len(self._summaries))]}

    def _row(self, number: int, columns: Sequence[Mapping[str, Any]]) -> list[Any]:
        row = self._summaries[number]
        entry = self.entries[number] if number < len(self.entries) else None
        values = self._values[number] if number < len(self.entries) else {}
        facts = {"run": row["id"], "time": row["seconds"], "started": str(row.get("started") or "")[:16]}
        facts |= {"status": row["status"], "stage": row.get("stage"), "tags": " ".join(row["tags"])}
        facts |= {"seed": entry.seed, "fold": entry.fold, "trial": entry.trial} if entry is not None else {}
        # NaN is no metric that was not logged
        metrics = {name: finite_or_text(value) for name, value in row["metrics"].items()}
        of_kind = {"value": values, "metric": metrics}
        return [of_kind.get(one["kind"], facts).get(one.get("path", one["name"])) for one in columns]

    @cached_property
    def _values(self) -> list[Mapping[str, Any]]:
        values: list[Mapping[str, Any]] = [{}] * len(self.entries)
        for group in self.groups:
            for number in group.members:
                values[number] = group.values
        return values

    def _configs(self) -> list[dict[str, Any]]:
        shown = self.groups[:_MOST_CONFIGS]
        firsts = [(group.label, self.entries[group.members[0]]) for group in shown]
        return [{"label": label, "values": differences.whole_config(entry)} for label, entry in firsts]


def _experiments(subject: Subject) -> list[Overview]:
    """Return the experiments of a page, also those of which a trial or a member alone is on it."""
    of_entries = {entry.experiment.folder.id: entry.experiment for entry in subject.entries if entry.experiment}
    return [*{**{each.folder.id: each for each in subject.experiments}, **of_entries}.values()]


def mode_of(metric: str, subject: Subject) -> str:
    """Return whether `min` or `max` of a metric is good: as an objective says, or as its name tells."""
    for overview in _experiments(subject):
        for objective in overview.facts.objectives:
            if objective.metric == metric:
                return "max" if objective.is_maximized else "min"
    return best_rows([{"metrics": {metric: 0.0}, "ranges": {metric: [0.0, 0.0]}}], metric, None)[1]


def _summary(entry: Entry) -> dict[str, Any]:
    facts = entry.run.facts
    kept = {key: facts.get(key) for key in ("name", "stage", "started")}
    own = {"id": _id(entry), "status": entry.run.status, "seconds": entry.run.seconds, "tags": list(entry.run.tags)}
    return {**kept, **own, "metrics": entry.metrics}


def _counts(entry: Entry) -> bool:
    """Return whether a run's values are results: of one that ended early they are not, unless that was a rung."""
    return entry.run.status == PAUSED or not reason_against(entry.run)


def _id(entry: Entry) -> str:
    return entry.run.folder.path.name if entry.experiment is not None else entry.run.id


def _model(entry: Entry) -> str | None:
    """Return what a config calls its model: the module's class, or of one of ours its network's."""
    targets = [entry.config.get(f"{path}::_target_") for path in ("model", "model::network", "system::model")]
    named = next((str(each) for each in targets if each and not str(each).startswith("lighter.")), None)
    return named.rpartition(".")[2] if named else None


def _dataset(entry: Entry) -> str | None:
    values = entry.config
    loaders = [
        values.get(f"data::{mode}_dataloader::dataset::_target_") for mode in ("train", "val", "test", "predict")
    ]
    named = next((str(each) for each in loaders if each), None)
    if named is None:
        recorded = entry.run.facts.get("data") or {}
        sets: list[Any] = next((each for each in recorded.values() if isinstance(each, list) and each), [{}])
        named = str(sets[0].get("class") or "") if isinstance(sets[0], dict) else ""
    return ".".join(named.split(".")[-2:]) or None


def _most_common(names: Any) -> list[str]:
    return [name for name, _ in Counter(filter(None, names)).most_common(3)]
