"""The tables that `lighter runs` prints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lighter.config.problems import shortened
from lighter.display import terminal
from lighter.display.table import Cell, Column, Line, Table, status
from lighter.files import run_folder as paths
from lighter.runs.compare import Difference, config_values
from lighter.runs.filter import usual_metrics
from lighter.runs.log import duration
from lighter.runs.read import Run
from lighter.runs.views import number, pieces_of_list

_MOST_METRICS = 3
_WIDEST = 60
_LEAST_TAGS = 12
Row = Mapping[str, Any]


def public(row: Row) -> dict[str, Any]:
    """Return a summary for programs."""
    # Process and start time only tell whether it still runs, which the status says.
    return {key: value for key, value in row.items() if key not in ("pid", "process_started", "launch")}


def say(text: str) -> None:
    print(text, flush=True)


def print_rows(rows: Sequence[Row], options: Mapping[str, Any], note: str = "") -> None:
    shown = rows[: options["limit"] or None]
    console = terminal.stdout_console()
    if not shown:
        console.print(f"There is no such run under {options['root']}.", highlight=False)
        return
    names = options["metrics"] or usual_metrics(shown)[:_MOST_METRICS]
    columns = [Column(name.removesuffix("/epoch"), is_number=True, rank=at) for at, name in enumerate(names)]
    tags = [Column("tags", least=_LEAST_TAGS, rank=len(names) + 3)] if any(row["tags"] for row in shown) else []
    ranks = {"stage": len(names) + 1, "status": len(names), "time": len(names) + 2}
    first = [Column("run"), *(Column(name, is_number=name == "time", rank=rank) for name, rank in ranks.items())]
    lines = [_row(row, names, with_tags=bool(tags)) for row in shown]
    empty = [name for at, name in enumerate(names, len(first)) if "::" in name and not any(line[at] for line in lines)]
    table = Table([*first, *columns, *tags], lines)
    rest = len(rows) - len(shown)
    more = f"{rest} more: --limit 0 shows all" if rest > 0 else ""
    absent = f"{', '.join(empty)}: no value in these configs" if empty else ""
    said = "; ".join(filter(None, (note, absent, more)))
    terminal.show(table, Line(said, "dim", is_close=True) if said else None, console=console)


def _row(row: Row, names: Sequence[str], *, with_tags: bool) -> list[Cell | str]:
    config = {}
    if any("::" in name for name in names):
        config = config_values(Run(paths.RunFolder(Path(row["path"])), {}))
    values = [_setting(config.get(name)) if "::" in name else number(row["metrics"].get(name)) for name in names]
    tags = [" ".join(row["tags"])] if with_tags else []
    how = status(row["status"], row.get("reason") or "")
    return [row["id"], row["stage"] or "", how, duration(row["seconds"]), *values, *tags]


def print_differences(differing: Sequence[Difference], first: str, second: str) -> None:
    terminal.show(*pieces_of_list(differing, first, second))


def _setting(value: object) -> str:
    if value is None:
        return ""
    return shortened(value if isinstance(value, str) else json.dumps(value), _WIDEST)
