"""The tables that `lighter runs` prints."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lighter.config.problems import shortened
from lighter.files import run_folder as paths
from lighter.runs.checkpoint_files import Checkpoints
from lighter.runs.compare import Difference, config_values
from lighter.runs.curves import curves_of, drawn
from lighter.runs.log import duration
from lighter.runs.read import Run

_COLOURS = {"running": "cyan", "finished": "green", "failed": "red", "interrupted": "yellow", "lost": "red"}
_MOST_METRICS = 3
_MOST_CURVES = 12
_UNLIMITED = 10_000
_WIDEST = 60
Row = Mapping[str, Any]


def print_json(data: object) -> None:
    print(json.dumps(data, indent=1))


def public(row: Row) -> dict[str, Any]:
    """Return a summary for programs."""
    # Process and start time only tell whether it still runs, which the status says.
    return {key: value for key, value in row.items() if key not in ("pid", "process_started")}


def say(text: str) -> None:
    print(text, flush=True)


def print_rows(rows: Sequence[Row], options: Mapping[str, Any], note: str = "") -> None:
    shown = rows[: options["limit"] or None]
    console = Console(markup=False)
    if not shown:
        console.print(f"There is no such run under {options['root']}.", highlight=False)
        return
    names = options["metrics"] or _usual_metrics(shown)
    heads = [name.removesuffix("/epoch") for name in names]
    tags = ["tags"] if any(row["tags"] for row in shown) else []
    table = _table("run", "stage", "status", "time", *heads, *tags)
    for row in shown:
        config = {}
        if any("::" in name for name in names):
            config = config_values(Run(paths.RunFolder(Path(row["path"])), {}))
        values = [_setting(config.get(name)) if "::" in name else _number(row["metrics"].get(name)) for name in names]
        cells = [row["id"], row["stage"] or "", _status(row["status"]), duration(row["seconds"]), *values]
        table.add_row(*cells, *(" ".join(row["tags"]) for _ in tags))
    wide = Measurement.get(console, console.options.update(max_width=_UNLIMITED), table).maximum
    # Names of metrics break at their slashes, before values break anywhere.
    if wide > console.width:
        for column, head in zip(table.columns[4:], heads, strict=False):
            column.header = head.replace("/", "/\n").replace("::", "::\n")
    console.print(table)
    rest = len(rows) - len(shown)
    more = f"{rest} more: --limit 0 shows all" if rest > 0 else ""
    if note or more:
        console.print("; ".join(filter(None, (note, more))), style="dim", highlight=False)


def _usual_metrics(rows: Sequence[Row]) -> list[str]:
    counts = Counter(name for row in rows for name in row["metrics"] if "/optimizer/" not in name)
    # Values of validation and test say more than those of training.
    order = sorted(counts, key=lambda name: (name.startswith("train/"), -counts[name], "loss" not in name, name))
    return order[:_MOST_METRICS]


def print_run(run: Run, metrics: Sequence[str]) -> None:
    console, facts = Console(markup=False), run.facts
    table = _table("", "", header=False)
    for name, value in _overview(run):
        table.add_row(Text(name, style="dim"), value)
    console.print(table)
    every = curves_of(run)
    curves = [curve for curve in every if (curve.name in metrics if metrics else _is_curve(curve.name))]
    shown = curves[: None if metrics else _MOST_CURVES]
    if shown:
        lines = _table("curve", "first", "", "last", "lowest", "highest")
        for curve in shown:
            ends = [_number(one) for one in (curve.values[0], curve.values[-1], min(curve.values), max(curve.values))]
            lines.add_row(curve.name, ends[0], Text(drawn(curve.values), style="cyan"), *ends[1:])
        console.print()
        console.print(lines)
        if len(shown) < len(curves):
            names = ", ".join(curve.name for curve in curves[len(shown) :])
            console.print(f"{len(curves) - len(shown)} more: --metric NAME shows one: {names}", highlight=False)
    elif metrics:
        names = ", ".join(curve.name for curve in every) or "none"
        console.print(f"There is no curve of {' or '.join(metrics)}; there is: {names}", highlight=False)
    # Of a run that was stopped, the signal says it all.
    if facts.get("error") and not facts.get("signal"):
        console.print(f"\n{facts['error']['type']}: {facts['error']['message']}", style="red", highlight=False)


def print_differences(differences: Sequence[Difference], first: str, second: str) -> None:
    console = Console(markup=False)
    if not differences:
        console.print("They differ in nothing that is on record.")
        return
    table = _table("", first, second)
    about = ""
    for difference in differences:
        if difference.about != about:
            about = difference.about
            table.add_row(Text(about, style="bold"), "", "")
        table.add_row(f"  {difference.name}", _short(difference.before), _short(difference.after))
    console.print(table)


def _overview(run: Run) -> Iterator[tuple[str, str | Text]]:
    facts = run.facts
    source, progress = facts.get("source") or {}, facts.get("progress") or {}
    starts = [*facts["starts"], {**facts, "status": run.status}] if facts.get("starts") else []
    rows: dict[str, str | Text | None] = {
        "run": run.id,
        "folder": str(run.folder.path),
        "status": _status(run.status),
        "stage": facts.get("stage"),
        "command": " ".join(facts.get("command") or []),
        "started": f"{facts.get('started')} on {facts.get('host')}, process {facts.get('pid')}",
        "time": duration(run.seconds),
        "starts": "\n".join(
            f"{start.get('started')}  {start.get('status')}  {duration(start.get('seconds'))}".rstrip()
            for start in starts
        ),
        "seed": str(facts.get("seed")),
        "progress": f"epoch {progress.get('epoch')}, step {progress.get('step')}" if progress else "",
        "commit": _commit(source) if source else "",
        "tags": " ".join(run.tags),
        "from": facts.get("checkpoint"),
        "checkpoints": "\n".join(_checkpoints(run)),
    }
    yield from ((name, value) for name, value in rows.items() if value)


def _commit(source: Mapping[str, Any]) -> str:
    count = len(source.get("untracked") or [])
    changes = ["with uncommitted changes"] if source.get("changed") else []
    changes += [f"{count} file{'s' * (count != 1)} that git does not know (in {paths.SOURCE}/)"] if count else []
    return f"{str(source.get('commit'))[:12]} {', '.join(changes)}"


def _checkpoints(run: Run) -> Iterator[str]:
    """Yield the files that exist, the newest first: which `last` and `best` mean, and what they scored."""
    checkpoints = Checkpoints(run.folder, run.facts)
    for one in checkpoints.newest:
        inside = run.folder.path in one.path.parents
        words = [str(one.path.relative_to(run.folder.path) if inside else one.path)]
        words += [f"step {one.step}"] if one.step is not None else []
        words += ["last"] if one.path == checkpoints.last else []
        words += [f"best by {best.monitor or 'its name'}" for best in checkpoints.bests if best.path == one.path]
        score = checkpoints.score_of(one.path)
        yield "  ".join([*words, *([_number(score)] if score is not None else [])])


def _is_curve(name: str) -> bool:
    return "/optimizer/" not in name and ("/epoch" in name or not name.startswith(("train/", "val/", "test/")))


def _table(*columns: str, header: bool = True) -> Table:
    table = Table(box=None, pad_edge=False, show_header=header)
    for index, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=index == 0)
    return table


def _status(status: str) -> Text:
    return Text(status, style=_COLOURS.get(status, ""))


def _short(value: object) -> str:
    return shortened(value if isinstance(value, str) else json.dumps(value), _WIDEST)


def _setting(value: object) -> str:
    return "" if value is None else _short(value)


def _number(value: float | str | None) -> str:
    return "" if value is None else f"{float(value):.4g}"
