"""The search of an experiment: its trials with values and objectives, parameters with their importance, and rungs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from lighter.experiments.intervals import Estimate
from lighter.experiments.results import Result, flat_values, varied
from lighter.experiments.status import Overview, at_rungs, counts, shown_rung
from lighter.experiments.tables import labels
from lighter.experiments.trials import Objective, Trial
from lighter.results.report.importance import METHOD, importance, is_number
from lighter.results.report.subject import Entry

_LOG_FROM = 20.0
"""A range is drawn on a logarithmic axis if its end is so many times its start, and all values are positive."""


def search_data(overview: Overview, entries: Sequence[Entry]) -> dict[str, Any]:
    """Return all about an experiment's search. `entries` are those of the page; others are not looked at."""
    facts = overview.facts
    objective = facts.objectives[0]
    known = {each.trial.number: each for each in overview.results if each.is_known}
    compared_at = _common_rung(list(known.values()))
    own = [entry for entry in entries if entry.experiment is overview]
    paths = varied(overview.trials)
    data = {
        "experiment": overview.folder.id,
        "state": overview.state,
        "objectives": [_objective(each) for each in facts.objectives],
        "counts": counts(overview.trials),
        "asked": facts.trials,
        "seeds": list(facts.seeds),
        "folds": [fold for fold in facts.folds if fold is not None],
        "trials": [_trial(each, objective, own, overview) for each in overview.results],
        "best": [each.trial.number for each in overview.best],
        "rungs": [{"at": at, "trials": number} for at, number in at_rungs(overview.results, facts)],
        "by": facts.schedule.by.rpartition("::")[2],
    }
    names = labels(paths)
    compared = [] if compared_at is None else [each.trial for each in known.values()]
    data["parameters"] = [_parameter(path, names[path], overview.trials, compared, compared_at or 0) for path in paths]
    data["importance"] = METHOD
    if compared_at is not None and facts.schedule.last:
        data["compared_at"] = shown_rung(compared_at, facts)
    return data


def _common_rung(results: Sequence[Result]) -> int | None:
    """Return the highest rung that all trials with results have reached: there they can be compared."""
    return min((each.rung for each in results if each.rung is not None), default=None)


def _objective(each: Objective) -> dict[str, str]:
    return {"metric": each.metric, "mode": "max" if each.is_maximized else "min"}


def _trial(result: Result, objective: Objective, entries: Sequence[Entry], overview: Overview) -> dict[str, Any]:
    trial, facts = result.trial, overview.facts
    members = [entry for entry in entries if entry.trial == trial.number]
    means = {rung: values[0] for rung in range(facts.schedule.last + 1) if (values := trial.objectives(rung))}
    return {
        "number": trial.number,
        "status": result.status,
        "values": flat_values(trial),
        "rung": None if result.rung is None else shown_rung(result.rung, facts),
        "objectives": [public(each) for each in result.estimates],
        "by_rung": [
            {"at": shown_rung(rung, facts), "length": facts.schedule.length(rung), "mean": _finite(mean)}
            for rung, mean in means.items()
            if rung <= trial.target
        ],
        "seconds": sum(entry.run.seconds or 0 for entry in members),
        "ended": _last_end(members),
    }


def _parameter(path: str, label: str, trials: Sequence[Trial], compared: Sequence[Trial], rung: int) -> dict[str, Any]:
    values = [flat_values(each).get(path) for each in trials]
    is_numeric = bool(values) and all(map(is_number, values))
    pairs = [(flat_values(each).get(path), means[0]) for each in compared if (means := each.objectives(rung))]
    pairs = [(value, mean) for value, mean in pairs if math.isfinite(mean)]
    data: dict[str, Any] = {"path": path, "label": label, "kind": "number" if is_numeric else "category"}
    if is_numeric:
        numbers = [float(str(value)) for value in values]
        is_log = min(numbers) > 0 and max(numbers) / min(numbers) >= _LOG_FROM
        data["scale"] = "log" if is_log else "linear"
    else:
        data["choices"] = list(dict.fromkeys(_text(value) for value in values))
    data["importance"] = importance([value for value, _ in pairs], [mean for _, mean in pairs]) if pairs else None
    return data


def _last_end(members: Sequence[Entry]) -> float | None:
    """Return when the last member of a trial ended, in seconds since 1970."""
    ends = [seconds for entry in members if (seconds := instant(entry.run.facts.get("ended"))) is not None]
    return max(ends) if ends and len(ends) == len(members) else None


def instant(text: object) -> float | None:
    """Return a time of a record in seconds since 1970; None if it cannot be read."""
    try:
        return round(datetime.fromisoformat(str(text)).timestamp(), 3)
    except (ValueError, OverflowError, OSError):
        return None


def public(each: Estimate) -> dict[str, Any]:
    """Return a mean with its interval as data of the page, and as a text."""
    return {"mean": _finite(each.mean), "half_width": each.half_width, "members": each.count, "text": str(each)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
