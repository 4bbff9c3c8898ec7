"""Print experiments for `lighter experiment`: tables, or their data as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lighter.config.load import load
from lighter.display import terminal
from lighter.display.table import Cell, Column, Line, Table
from lighter.display.table import status as status_cell
from lighter.experiments import results, status
from lighter.experiments.overrides import overrides
from lighter.experiments.results import Result, representative
from lighter.experiments.status import Overview
from lighter.experiments.tables import head, pieces_of_best, pieces_of_experiment

_LEAST_OBJECTIVE = 16


def status_data(overview: Overview) -> dict[str, Any]:
    running = status.running_members(overview.folder.path, overview.members)
    trials = [results.public(each, overview.facts.objectives) for each in overview.results]
    return {
        **status.public(overview),
        "running": [status.public_running(each) for each in running],
        "results": trials,
    }


def print_status(overview: Overview, limit: int) -> None:
    console = terminal.stdout_console()
    terminal.show(*pieces_of_experiment(overview, terminal.width(console), limit), console=console)


def print_list(overviews: Sequence[Overview], limit: int, root: Path) -> None:
    shown = overviews[: limit or None]
    if not shown:
        terminal.show(Line(f"There is no experiment under {root}."))
        return
    heads = [head(each.facts.objectives[0]).removesuffix("/epoch") for each in shown]
    is_same = len({*heads}) == 1
    has_failed = any(_failed(each) for each in shown)
    columns = [
        Column("experiment"),
        Column("state", rank=1),
        Column("trials", is_number=True, rank=2),
        *([Column("failed", is_number=True, rank=3)] if has_failed else []),
        Column(heads[0] if is_same else "best", is_number=True),
        *([] if is_same else [Column("objective", least=_LEAST_OBJECTIVE)]),
    ]
    objectives = [[] if is_same else [name] for name in heads]
    rows = [_row(each, last, with_failed=has_failed) for each, last in zip(shown, objectives, strict=True)]
    terminal.show(Table(columns, rows))
    if len(overviews) > len(shown):
        terminal.show(Line(f"{len(overviews) - len(shown)} more: --limit 0 shows all", "dim"))


def _failed(each: Overview) -> int:
    return status.counts(each.trials).get("failed", 0)


def _row(each: Overview, objective: list[str], *, with_failed: bool) -> list[Cell | str]:
    failed = [str(_failed(each) or "")] if with_failed else []
    total = f"{len(each.trials)} of {each.facts.trials}" if each.facts.trials is not None else f"{len(each.trials)}"
    best = str(each.best[0].estimates[0]) if each.best else ""
    return [each.folder.id, status_cell(each.state, each.reason), total, *failed, best, *objective]


def best_data(overview: Overview) -> list[dict[str, Any]]:
    """Return the best trials, each with the commands of the member that stands for it.

    Raises:
        RunError: nothing has a result yet.
    """
    if not overview.best:
        raise status.no_result(overview)
    return [_best(each, overview) for each in overview.best]


def print_best(overview: Overview) -> None:
    console = terminal.stdout_console()
    pieces = pieces_of_best(overview.folder.path, overview.best, overview.facts, terminal.width(console))
    terminal.show(*pieces, console=console)


def _best(result: Result, overview: Overview) -> dict[str, Any]:
    member = representative(result, overview.facts.objectives[0])
    words = overrides(result.trial.values, load([overview.folder.config]))
    row = results.public(result, overview.facts.objectives)
    return {**row, "member": member.name, "overrides": words, **status.commands_of(overview.folder.path, member)}
