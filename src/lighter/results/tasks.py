"""Compare sides over several tasks, each of which is a side of its own: by interquartile means over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from lighter.display import terminal
from lighter.display.html import to_html
from lighter.display.markup import latex, markdown, to_csv
from lighter.display.table import Cell, Column, Line, Piece, Table
from lighter.errors import RunError
from lighter.results.comparison import Comparison, compare
from lighter.results.sides import Side, refuse_equal_names
from lighter.results.testing import SIGNIFICANT
from lighter.results.views import ARE_TIED, TIE, covered, short_p
from lighter.results.wording import mean_text, merged, number, p_text

Interval = tuple[float, float]
_LEAST = 3
_NOTES = (
    "Interquartile mean: that of the middle half of all runs and tasks (Agarwal et al. 2021), which counts all tasks"
    " alike: their values must be on one scale.",
    "95% intervals by resampling runs within their tasks (of few runs, that of a mean is too narrow);"
    " p: permutation of runs within their tasks, after Holm.",
    "The tasks are taken as they are: nothing is said of other tasks.",
)
_HEADS = (
    *("side", "tasks", "runs", "interquartile_mean", "low", "high", "is_best", "is_tied"),
    *("difference", "low_of_difference", "high_of_difference", "p_adjusted", "probability_better"),
)


@dataclass(frozen=True)
class TaskRow:
    """A side over all tasks, and beside the best one.

    Attributes:
        runs: how many, in all tasks together.
        mean: the interquartile mean, with its interval.
        difference: to the best side; None of that itself, as are `p_adjusted` and `probability_better`.
    """

    name: str
    runs: int
    mean: float
    interval: Interval
    is_best: bool
    difference: float | None = None
    interval_of_difference: Interval | None = None
    p_adjusted: float | None = None
    probability_better: float | None = None

    @property
    def is_tied(self) -> bool:
        return not self.is_best and not self.is_decided

    @property
    def is_decided(self) -> bool:
        """True if both the test and the interval call a difference to the best."""
        if self.interval_of_difference is None or self.p_adjusted is None:
            return False
        low, high = self.interval_of_difference
        return self.p_adjusted < SIGNIFICANT and (low > 0 or high < 0)


@dataclass(frozen=True)
class TaskComparison:
    """Sides compared over several tasks; `tasks` has the comparison of each task by its name."""

    metric: str
    is_maximized: bool
    verdict: str
    rows: tuple[TaskRow, ...]
    tasks: dict[str, Comparison]

    def __str__(self) -> str:
        return self.verdict

    def _repr_html_(self) -> str:
        return to_html(self._pieces())

    def show(self) -> None:
        """Print the verdict, its table, and that of the tasks."""
        terminal.show(*self._pieces())

    def markdown(self) -> str:
        tables = [markdown(_table(self)), "", markdown(_table_of_tasks(self))]
        return "\n".join([self.verdict, "", *tables, "", *(f"- {note}" for note in self._notes())])

    def latex(self) -> str:
        return "\n\n".join([latex(_table(self), [self.verdict, *self._notes()]), latex(_table_of_tasks(self))])

    def csv(self) -> str:
        return to_csv(_HEADS, [_values(row, len(self.tasks)) for row in self.rows])

    def checklist(self) -> str:
        """Return answers to the NeurIPS checklist's questions, for each task."""
        return "\n\n".join(f"# {name}\n\n{each.checklist()}" for name, each in self.tasks.items())

    def public(self) -> dict[str, Any]:
        """Return the comparison as data for programs."""
        return {
            "metric": self.metric,
            "mode": "max" if self.is_maximized else "min",
            "verdict": self.verdict,
            "sides": [_public(row) for row in self.rows],
            "notes": self.notes,
            "tasks": {name: each.public() for name, each in self.tasks.items()},
        }

    def _pieces(self) -> list[Piece]:
        notes = [Line(note, "dim") for note in self._notes()]
        return [Line(self.verdict, "bold"), _table(self), _table_of_tasks(self), *notes]

    def _notes(self) -> list[str]:
        """Return what the numbers are, and what they do not cover: of each task, as they differ in that."""
        doubts = {name: [f"Allowed: {doubt}" for doubt in each.doubts] for name, each in self.tasks.items()}
        covers = {name: covered(each) for name, each in self.tasks.items()}
        ties = [ARE_TIED] if any(row.is_tied for row in self.rows) else []
        return [*_NOTES, *ties, *merged(covers), *merged(doubts), *self.notes]

    @property
    def notes(self) -> list[str]:
        """Limits of the verdict, with the names of the tasks that it holds for where it is not all."""
        return merged({name: each.notes for name, each in self.tasks.items()})


def compare_tasks(
    sides: Sequence[tuple[str, Sequence[Side]]], metric: str | None = None, *, allow: Sequence[str] = ()
) -> TaskComparison:
    """Compare sides, each of which is a name and a side for each task, in the same order.

    Raises:
        RunError: the sides have other numbers of tasks, or are refused in a task.
    """
    names = [name for name, _ in sides]
    refuse_equal_names(names, names)
    if len(sides) < 2:
        raise RunError(f"`{names[0]}` is one side; a comparison has at least two: lighter compare A=X+Y B=Z+W")
    counts = {name: len(tasks) for name, tasks in sides}
    if 0 in counts.values():
        raise RunError("a side over several tasks names each of them: NAME=SIDE+SIDE")
    if len({*counts.values()}) > 1:
        told = ", ".join(f"`{name}` has {count}" for name, count in counts.items())
        raise RunError(f"each side has the same tasks in the same order: {told}")
    for name, parts in sides:
        _refuse_a_task_twice(name, parts)
    tasks: dict[str, Comparison] = {}
    for number_of_task, of_task in enumerate(zip(*(parts for _, parts in sides), strict=True)):
        named = [replace(side, name=name) for (name, _), side in zip(sides, of_task, strict=True)]
        name = of_task[0].name
        tasks[f"{name} ({number_of_task})" if name in tasks else name] = compare(named, metric, allow=allow)
    first = next(iter(tasks.values()))
    if len({(each.metric, each.is_maximized) for each in tasks.values()}) > 1:
        raise RunError("the tasks have different objectives. Name a metric that all have: --metric NAME")
    is_maximized = first.is_maximized
    rows = _rows({name: _scores(name, tasks) for name, _ in sides}, is_maximized=is_maximized)
    shown = first.metric.removesuffix("/epoch")
    sentence = _verdict(rows, shown, len(tasks), is_maximized=is_maximized)
    return TaskComparison(first.metric, is_maximized, sentence, rows, tasks)


def _refuse_a_task_twice(name: str, tasks: Sequence[Side]) -> None:
    """Raise `RunError` if a run is one of two tasks of a side, and would count twice."""
    homes: set[Path] = set()
    for task in tasks:
        for each in task.runs:
            home = each.run.folder.path.resolve()
            if home in homes:
                raise RunError(f"the run {each.run.id} is in two tasks of `{name}`, and would count twice")
            homes.add(home)


def _scores(name: str, tasks: Mapping[str, Comparison]) -> np.ndarray:
    """Return the values (runs, tasks) of a side.

    Raises:
        RunError: it has not as many members in each task, or less than three.
    """
    values = [row.values for each in tasks.values() for row in each.rows if row.side.name == name]
    counts = [len(each) for each in values]
    if len({*counts}) > 1 or counts[0] < _LEAST:
        told = ", ".join(f"{count} in {task}" for task, count in zip(tasks, counts, strict=True))
        raise RunError(f"over several tasks, a side has as many members in each, three or more; `{name}` has {told}")
    scores: np.ndarray = np.array(values).T
    return scores


def _rows(scores: Mapping[str, np.ndarray], *, is_maximized: bool) -> tuple[TaskRow, ...]:
    from lighter.results import interquartile
    from lighter.results.statistics.corrections import holm
    from lighter.results.statistics.tasks import (
        interquartile_interval,
        interquartile_mean,
        probability_of_improvement,
    )

    sign = 1 if is_maximized else -1
    means = {name: interquartile_mean(each) for name, each in scores.items()}
    best, *others = sorted(scores, key=lambda name: -sign * means[name])
    pairs = list(combinations([best, *others], 2))  # each with each, as the best is known by its results alone
    p_values = dict(zip(pairs, holm([interquartile.p_value(scores[a], scores[b]) for a, b in pairs]), strict=True))
    intervals = {name: interquartile_interval(each) for name, each in scores.items()}
    rows = [TaskRow(best, scores[best].size, means[best], intervals[best], is_best=True)]
    for name in others:
        effect = interquartile.difference(scores[name], scores[best])
        chance = probability_of_improvement(sign * scores[name], sign * scores[best])
        first = (name, scores[name].size, means[name], intervals[name], False)
        rows.append(TaskRow(*first, *effect, p_values[best, name], chance))
    return tuple(rows)


def _verdict(rows: Sequence[TaskRow], metric: str, tasks: int, *, is_maximized: bool) -> str:
    best, *others = rows
    over = f"over {tasks} tasks by the interquartile mean of {metric}"
    tied, facts = [f"`{row.name}`" for row in others if row.is_tied], _facts(others, is_maximized)
    if tied:
        return f"`{best.name}` is ahead {over}, and cannot be told apart from {', '.join(tied)}{facts}."
    return f"`{best.name}` is better than {', '.join(f'`{row.name}`' for row in others)} {over}{facts}."


def _facts(others: Sequence[TaskRow], is_maximized: bool) -> str:
    row = others[0]
    if len(others) > 1 or row.difference is None or row.interval_of_difference is None or row.p_adjusted is None:
        return ""
    sign, direction = (-1, "higher") if is_maximized else (1, "lower")
    low, high = sorted(sign * each for each in row.interval_of_difference)
    width = high - low
    interval = f"95% interval {number(low, width)} to {number(high, width)}"
    return f": {direction} by {number(sign * row.difference, width)} ({interval}, {p_text(row.p_adjusted)})"


def _table(comparison: TaskComparison) -> Table:
    name = comparison.metric.removesuffix("/epoch")
    columns = [
        Column("side", least=22),
        Column("runs", is_number=True, rank=1),
        Column(f"{'max' if comparison.is_maximized else 'min'} {name}", is_number=True),
        Column("95% interval", is_number=True),
        Column("to the best", is_number=True),
        Column("95% interval", is_number=True),
        Column("p", is_number=True),
        Column("better", is_number=True, rank=2),
    ]
    return Table(columns, [_cells(row) for row in comparison.rows])


def _cells(row: TaskRow) -> list[Cell | str]:
    style = "bold" if row.is_best else ""
    mean, interval = _texts(row.mean, row.interval)
    first: list[Cell | str] = [Cell(row.name, style), str(row.runs), Cell(mean + TIE * row.is_tied, style), interval]
    if row.difference is None or row.interval_of_difference is None:
        return [*first, "", "", "", ""]
    effect = _texts(row.difference, row.interval_of_difference)
    return [*first, *effect, short_p(row.p_adjusted or 0.0), f"{row.probability_better:.0%}"]


def _texts(value: float, interval: Interval) -> tuple[str, str]:
    low, high = interval
    return number(value, high - low), f"{number(low, high - low)} to {number(high, high - low)}"


def _table_of_tasks(comparison: TaskComparison) -> Table:
    """Return the mean of each side in each task, the best in bold."""
    names = [row.name for row in comparison.rows]
    columns = [Column("task", least=16), *(Column(name, is_number=True, rank=at) for at, name in enumerate(names))]
    rows: list[list[Cell | str]] = []
    for task, each in comparison.tasks.items():
        of_side = {row.side.name: row for row in each.rows}
        found = [of_side[name] for name in names]
        texts = [mean_text(row.mean, row.half_width) for row in found]
        rows.append([task, *(Cell(text, "bold" * row.is_best) for text, row in zip(texts, found, strict=True))])
    return Table(columns, rows)


def _values(row: TaskRow, tasks: int) -> list[object]:
    first = [row.name, tasks, row.runs, row.mean, *row.interval, row.is_best, row.is_tied]
    effect = [row.difference, *(row.interval_of_difference or (None, None))]
    return [*first, *effect, row.p_adjusted, row.probability_better]


def _public(row: TaskRow) -> dict[str, Any]:
    found: dict[str, Any] = {"name": row.name, "runs": row.runs, "is_best": row.is_best, "is_tied": row.is_tied}
    found |= {"interquartile_mean": row.mean, "interval": list(row.interval), "against": None}
    if row.interval_of_difference is not None:
        effect = {"difference": row.difference, "interval": list(row.interval_of_difference)}
        found["against"] = {**effect, "p_adjusted": row.p_adjusted, "probability_better": row.probability_better}
    return found
