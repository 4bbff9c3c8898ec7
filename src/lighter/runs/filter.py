"""Select and sort the summaries of runs."""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from lighter.errors import RunError
from lighter.files.run_folder import file_name

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_EPOCH = "/epoch"
_FIELDS = ("seconds", "name", "status", "stage", "started")
# of metrics whose direction nobody says; `--mode` overrules it
_LOW_IS_GOOD = re.compile(r"loss|err|mse|mae|rmse|perplexity|nll|hausdorff|distance|entropy|wer\b|cer\b", re.IGNORECASE)
# as this package names metrics, `val/loss`, and as most plain modules do, `val_loss`
_MODE = re.compile(r"(train|val|test)(?:ing|id|idation)?[/_]")
Row = Mapping[str, Any]


def select_rows(rows: Sequence[Row], options: Mapping[str, Any]) -> list[Row]:
    """Return the rows that all options hold for: `status`, `stage`, `name`, `tags`, `where`, `since`, `until`.

    Raises:
        RunError: a condition or a date cannot be read, or nothing has the metric of a condition.
    """
    conditions = [_condition(text, rows) for text in options["where"]]
    since, until = _day(options["since"]), _day(options["until"])
    return [
        row
        for row in rows
        if (not options["status"] or row["status"] in options["status"])
        and options["stage"] in (None, row["stage"])
        and (options["name"] is None or row["name"] in (options["name"], file_name(options["name"])))
        and set(options["tags"]) <= set(row["tags"])
        and (since is None or row["id"][:10] >= since)
        and (until is None or row["id"][:10] <= until)
        and all(name in row["metrics"] and holds(row["metrics"][name], number) for name, holds, number in conditions)
    ]


def sort_rows(rows: Sequence[Row], key: str | None, *, reverse: bool = False) -> list[Row]:
    """Sort by a metric or a field, the lowest first; those without it last. `RunError` if no run has it."""
    if key is None:
        return list(reversed(rows)) if reverse else list(rows)
    if key not in _FIELDS:
        key = full_name(key, rows)
    having = [row for row in rows if _value(row, key) is not None]
    without = [row for row in rows if _value(row, key) is None]
    return [*sorted(having, key=lambda row: _value(row, key), reverse=reverse), *without]


def best_rows(rows: Sequence[Row], metric: str, mode: str | None, epoch: str = "best") -> tuple[list[Row], str]:
    """Return the runs that have a metric, the best first, and whether low or high was taken to be good.

    They are ranked by the value of the `best` or the `last` epoch, which their `metrics` then have. `RunError` if no
    run has the metric.
    """
    metric = full_name(metric, rows)
    mode = mode or ("max" if high_is_good(metric) else "min")
    if epoch == "best":
        end = 0 if mode == "min" else 1
        having = [row for row in rows if metric in row["ranges"]]
        rows = [{**row, "metrics": {**row["metrics"], metric: row["ranges"][metric][end]}} for row in having]
    having = [row for row in rows if _value(row, metric) is not None]
    return sort_rows(having, metric, reverse=mode == "max"), mode


def high_is_good(metric: str) -> bool:
    """Return whether high values of a metric are taken to be good: of all but losses and errors."""
    return _LOW_IS_GOOD.search(metric) is None


def mode_of_metric(metric: str) -> str:
    """Return what a metric was measured in, by its name: `train`, `val` or `test`; an empty text if that says nothing.

    Example:
        ```python
        mode_of_metric("val/loss/epoch"), mode_of_metric("valid_loss"), mode_of_metric("loss")  # "val", "val", ""
        ```
    """
    match = _MODE.match(metric)
    return match[1] if match is not None else ""


def usual_metrics(rows: Sequence[Row]) -> list[str]:
    """Return the metrics of runs, those that a table shows first in front: of validation and test, which most have."""
    counts = Counter(name for row in rows for name in row["metrics"] if "/optimizer/" not in name)
    return sorted(counts, key=lambda name: (mode_of_metric(name) == "train", -counts[name], "loss" not in name, name))


def _value(row: Row, key: str) -> Any:
    value = row[key] if key in _FIELDS else row["metrics"].get(key)
    return None if value != value else value  # NaN has no place in an order


def full_name(metric: str, rows: Sequence[Row]) -> str:
    """Return a metric's name in the runs, for one that leaves out `/epoch`, as tables do.

    Raises:
        RunError: none of them has it.
    """
    names = {name for row in rows for name in row["metrics"]}
    if metric in names or not rows:
        return metric
    if f"{metric}{_EPOCH}" in names:
        return f"{metric}{_EPOCH}"
    from lighter.config.problems import nearest

    # those that every optimizer logs would hide the metric that is meant
    useful_first = sorted(names, key=lambda name: ("/optimizer/" in name, name))
    if not metric.endswith(_EPOCH):  # as it may be left out, it makes names alike that are not
        useful_first = list(dict.fromkeys(name.removesuffix(_EPOCH) for name in useful_first))
    raise RunError(f"none of these runs has the metric `{metric}`. {nearest(metric, useful_first)}".strip())


def _condition(text: str, rows: Sequence[Row]) -> tuple[str, Callable[[float, float], bool], float]:
    match = re.fullmatch(r"\s*(.+?)\s*(<=|>=|!=|=|<|>)\s*(\S+)\s*", text)
    try:
        metric, sign, value = match.groups() if match else ("", "", "")
        number = float(value)
    except ValueError:
        raise RunError(f"`{text}` is no condition. For example: --where 'val/loss/epoch<0.3'") from None
    return full_name(metric, rows), _OPERATORS[sign], number


def _day(text: str | None) -> str | None:
    try:
        return date.fromisoformat(text).isoformat() if text else None
    except ValueError:
        raise RunError(f"`{text}` is no date. For example: 2026-11-22") from None
