"""Tables of experiments as plain values: results, members that run, counts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lighter.config.problems import shortened
from lighter.config.tree import SEPARATOR, split
from lighter.display.fit import fits
from lighter.display.table import Cell, Column, Line, Piece, Table, pairs, status
from lighter.experiments.facts import Facts
from lighter.experiments.overrides import as_yaml
from lighter.experiments.results import Result, flat_values, representative, varied
from lighter.experiments.status import (
    Overview,
    RunningMember,
    at_rungs,
    commands_of,
    counts,
    members_of_trial,
    running_members,
    shown_rung,
)
from lighter.experiments.trials import Objective, Trial
from lighter.runs.log import duration
from lighter.runs.views import job_text

_COMMANDS = {"train it": "fit", "test it": "test"}
_WIDEST_VALUE = 24
_MOST_RUNNING = 8


def counts_text(trials: Sequence[Trial], total: int | None) -> str:
    """Return the trials in numbers: `24 of 60: 4 running, 18 paused, 2 finished`."""
    number = f"{len(trials)} of {total}" if total is not None else f"{len(trials)}"
    told = ", ".join(f"{count} {status}" for status, count in counts(trials).items())
    return f"{number}: {told}" if told else number


def rungs_text(ranked: Sequence[Result], facts: Facts) -> str:
    """Return how many trials have come to each rung: `1: 24, 3: 8, 9: 2, end: 1 (max_epochs)`."""
    numbers = ", ".join(f"{at}: {number}" for at, number in at_rungs(ranked, facts))
    return f"{numbers} ({split(facts.schedule.by)[-1]})" if numbers else ""


def head(objective: Objective) -> str:
    return f"{'max' if objective.is_maximized else 'min'} {objective.metric}"


def labels(paths: Sequence[str]) -> dict[str, str]:
    """Return for each path its last steps, as many as tell it from the others; a target has the name of its object."""
    steps = {path: split(path.removesuffix(f"{SEPARATOR}_target_")) for path in paths}
    found = {}
    for path, own in steps.items():
        count = 1
        while count < len(own) and sum(other[-count:] == own[-count:] for other in steps.values()) > 1:
            count += 1
        found[path] = SEPARATOR.join(own[-count:])
    return found


def shown_value(path: str, value: object) -> str:
    """Return a value of a trial as a cell of a table."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = value if isinstance(value, str) else json.dumps(value)
    if path.endswith("_target_"):
        text = text.rpartition(".")[2]
    # A folder may be anybody's, and a terminal obeys control characters.
    return shortened(text if text.isprintable() else json.dumps(text), _WIDEST_VALUE)


def pieces_of_experiment(overview: Overview, width: int | None, limit: int = 0) -> list[Piece]:
    """Return how far an experiment is, its running members, and its results: all of them for a limit of 0."""
    facts, folder = overview.facts, overview.folder
    running = running_members(folder.path, overview.members)
    about: list[tuple[str, str | Cell]] = [
        ("experiment", folder.id),
        ("folder", str(folder.path)),
        ("state", status(overview.state, overview.reason)),
        ("job", _job(overview)),
        ("trials", counts_text(overview.trials, facts.trials)),
        ("members", _members(overview)),
        ("rungs", rungs_text(overview.results, facts)),
    ]
    shown = overview.results[: limit or None]
    pieces: list[Piece] = [pairs(about)]
    pieces += [running_table(running, facts)] if running else []
    pieces += [result_table(shown, facts, width, overview.results)] if shown else []
    rest = len(overview.results) - len(shown)
    return [*pieces, Line(f"{rest} more: --limit 0 shows all", "dim", is_close=True)] if rest else pieces


def _job(overview: Overview) -> str:
    job = overview.job
    return job_text(job.number, job.restarts, job.name) if job is not None else ""


def _members(overview: Overview) -> str:
    asked, facts = overview.asked_members, overview.facts
    if members_of_trial(facts) == 1:
        return ""
    folds = f" x {len(facts.folds)} folds" if len(facts.folds) > 1 else ""
    seeds = f"{len(facts.seeds)} seed{'s' * (len(facts.seeds) > 1)}"
    number = f"{len(overview.members)} of {asked}" if asked is not None else str(len(overview.members))
    return f"{number}: {seeds}{folds} each"


def result_table(ranked: Sequence[Result], facts: Facts, width: int | None, among: Sequence[Result] = ()) -> Table:
    """Return a table with a row for each result.

    Where it would be wider than `width`, the values of a trial are in one column.

    Args:
        among: all results, whose values tell which of them differ; by default those in the table.
    """
    paths = varied([each.trial for each in (among or ranked)])
    wide = _Results(facts, paths, is_narrow=False).table(ranked)
    if fits(wide, width):
        return wide
    return _Results(facts, paths, is_narrow=True).table(ranked)


@dataclass
class _Results:
    facts: Facts
    paths: Sequence[str]
    is_narrow: bool

    def __post_init__(self) -> None:
        self.names = labels(self.paths)
        self.has_rungs, self.has_members = self.facts.schedule.last > 0, members_of_trial(self.facts) > 1

    def table(self, ranked: Sequence[Result]) -> Table:
        columns = [Column("trial", is_number=True), *self._columns_of_values()]
        columns += [Column(name, is_number=True, rank=rank) for name, rank in self._heads_of_numbers().items()]
        rows: list[list[Cell | str]] = [
            [str(each.trial.number), *self._values(each), *self._numbers(each), status(each.status)] for each in ranked
        ]
        return Table([*columns, Column("status", rank=1)], rows)

    def _columns_of_values(self) -> list[Column]:
        if self.is_narrow and self.paths:
            return [Column("values", wraps=True)]
        return [Column(name) for name in self.names.values()]

    def _heads_of_numbers(self) -> dict[str, int]:
        """Return the names of the columns of numbers, with their ranks: the first objective always has room."""
        heads = [head(objective).removesuffix("/epoch") for objective in self.facts.objectives]
        ranks = {"rung": 2} if self.has_rungs else {}
        ranks |= {name: 3 * at for at, name in enumerate(heads)}
        return ranks | ({"n": 2} if self.has_members else {})

    def _values(self, result: Result) -> list[str]:
        flat = flat_values(result.trial)
        shown = {self.names[path]: shown_value(path, flat[path]) for path in self.paths if path in flat}
        if self.is_narrow and self.paths:
            return [" ".join(f"{name}={value}" for name, value in shown.items())]
        return [shown.get(name, "") for name in self.names.values()]

    def _numbers(self, result: Result) -> list[str]:
        rung = "" if result.rung is None else shown_rung(result.rung, self.facts)
        means = [str(each) for each in result.estimates] or [""] * len(self.facts.objectives)
        count = str(result.estimates[0].count if result.estimates else 0)
        return [rung] * self.has_rungs + means + [count] * self.has_members


def running_table(running: Sequence[RunningMember], facts: Facts) -> Table:
    """Return a table of the members that run: where they are, and up to where they train."""
    columns = [Column("running"), *(Column(name, is_number=True) for name in ("epoch", "step", "up to", "time"))]
    rows: list[list[Cell | str]] = []
    for each in running[:_MOST_RUNNING]:
        target = shown_rung(each.member.target, facts)
        numbers = ["" if number is None else str(number) for number in (each.epoch, each.step)]
        rows.append([each.member.name, *numbers, target, duration(each.seconds)])
    if len(running) > _MOST_RUNNING:
        rows.append([f"{len(running) - _MOST_RUNNING} more"])
    return Table(columns, rows)


def pieces_of_best(folder: Path, leading: Sequence[Result], facts: Facts, width: int | None) -> list[Piece]:
    """Return the best trial, or the Pareto front, and the commands that train and test the first of them."""
    first = leading[0]
    pieces: list[Piece] = []
    if len(leading) > 1:
        note = f"The commands are those for trial {first.trial.number}; lighter experiment best --json has all."
        pieces += [result_table(leading, facts, width), Line(note, "dim")]
    else:
        pieces.append(best_table(first, facts))
    commands = commands_of(folder, representative(first, facts.objectives[0]))
    told = [f"{name}:\n  {commands[stage]}" for name, stage in _COMMANDS.items() if stage in commands]
    return [*pieces, Line("\n\n".join(told), is_command=True)] if told else pieces


def best_table(result: Result, facts: Facts) -> Table:
    """Return a table of all that is known of a trial."""
    estimates = zip(facts.objectives, result.estimates, strict=True)
    pause = facts.schedule.pause(result.rung or 0)
    return pairs(
        [
            ("trial", f"{result.trial.number} ({result.status})"),
            *((head(objective), str(each)) for objective, each in estimates),
            ("rung", f"{pause[1]:g} ({pause[0]})" if pause is not None else ""),
            ("members", str(len(result.trial.members)) if len(result.trial.members) > 1 else ""),
            *((path, as_yaml(value)) for path, value in flat_values(result.trial).items()),
        ]
    )
