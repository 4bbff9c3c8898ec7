"""Runs as pieces to draw: all about one, and the differences between two; for a terminal and for a notebook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lighter.config.flow import as_yaml
from lighter.config.problems import closest, nearest
from lighter.config.tree import SEPARATOR, split
from lighter.display.cutting import thinned
from lighter.display.table import Cell, Column, Line, Piece, Table, pairs, status
from lighter.errors import RunError
from lighter.files import run_folder as paths
from lighter.processes import slurm_queue
from lighter.runs.checkpoint_files import Checkpoints
from lighter.runs.compare import Change, Difference, config_changes, differences
from lighter.runs.curves import Curve, curves_of, drawn
from lighter.runs.log import duration
from lighter.runs.read import PENDING, Run, log_of_job

_MOST_CURVES = 12
_LEAST_BARS = 8
_SIGNS = (("-", "the first", "removed"), ("+", "the second", "added"))
_LEAST_NAME, _LEAST_VALUE = 20, 16
_LONGEST_HEAD = 26  # two of them and the names have room in 80 columns


def pieces_of_run(run: Run, metrics: Sequence[str] = ()) -> list[Piece]:
    """Return all about a run, with the curves of some metrics, or of the usual ones.

    Raises:
        RunError: it has no curve of one of the metrics.
    """
    error = run.facts.get("error")
    # Of a run that was stopped, the signal says it all.
    failure = [Line(f"{error['type']}: {error['message']}", "bad")] if error and not run.facts.get("signal") else []
    return [pairs(list(_overview(run))), *_curves(run, metrics), *failure]


def number(value: float | str | None) -> str:
    return "" if value is None else f"{float(value):.4g}"


def _curves(run: Run, metrics: Sequence[str]) -> Iterator[Piece]:
    every = curves_of(run)
    wanted = [_full_name(name, [curve.name for curve in every]) for name in metrics]
    curves = [curve for curve in every if (curve.name in wanted if metrics else _is_usual(curve.name))]
    shown = curves[: None if metrics else _MOST_CURVES]
    if shown:
        yield _curve_table(shown)
        if len(shown) < len(curves):
            names = ", ".join(curve.name for curve in curves[len(shown) :])
            yield Line(f"{len(curves) - len(shown)} more: --metric NAME shows one: {names}")


def _full_name(metric: str, names: Sequence[str]) -> str:
    """Return the name of a curve, for one that may leave out `/epoch`, as tables do."""
    if metric in names:
        return metric
    if f"{metric}/epoch" in names:
        return f"{metric}/epoch"
    if not names:
        raise RunError(f"there is no curve of `{metric}`: the run has none")
    # those that every optimizer logs would hide the metric that is meant
    useful_first = sorted(names, key=lambda name: ("/optimizer/" in name, name))
    short = [name.removesuffix("/epoch") for name in useful_first]
    raise RunError(f"there is no curve of `{metric}`. {closest(metric, short) or nearest(metric, useful_first)}")


def _curve_table(curves: Sequence[Curve]) -> Table:
    columns = [
        Column("curve"),
        Column("first", is_number=True),
        Column(least=_LEAST_BARS, cut=thinned),
        Column("last", is_number=True),
        Column("lowest", is_number=True),
        Column("highest", is_number=True),
    ]
    return Table(columns, [_row(curve) for curve in curves])


def _row(curve: Curve) -> list[Cell | str]:
    first, *ends = map(number, (curve.values[0], curve.values[-1], min(curve.values), max(curve.values)))
    return [curve.name, first, Cell(drawn(curve.values), "active"), *ends]


def _is_usual(name: str) -> bool:
    return "/optimizer/" not in name and ("/epoch" in name or not name.startswith(("train/", "val/", "test/")))


def _overview(run: Run) -> Iterator[tuple[str, str | Cell]]:
    facts = run.facts
    source, progress = facts.get("source") or {}, facts.get("progress") or {}
    starts = [*facts["starts"], {**facts, "status": run.status}] if facts.get("starts") else []
    yield "run", run.id
    yield "folder", str(run.folder.path)
    yield "status", status(run.status, run.reason)
    yield "stage", str(facts.get("stage") or "")
    yield "command", " ".join(facts.get("command") or [])
    is_submitted = facts.get("status") == PENDING and not (facts.get("launch") or {}).get("before")
    began = f"{facts.get('started')} on {facts.get('host')}"
    yield ("submitted", began) if is_submitted else ("started", f"{began}, process {facts.get('pid')}")
    log = log_of_job(facts, run.folder.path) if facts.get("launch") else None
    yield "job", _job(facts, log)
    yield "output", str(log) if log is not None else ""
    yield "time", duration(run.seconds)
    yield "starts", "\n".join(map(_start, starts))
    yield "seed", str(facts.get("seed"))
    yield "progress", f"epoch {progress.get('epoch')}, step {progress.get('step')}" if progress else ""
    yield "commit", _commit(source) if source else ""
    yield "tags", " ".join(run.tags)
    yield "from", str(facts.get("checkpoint") or "")
    yield "checkpoints", "\n".join(_checkpoints(run))


def _job(facts: Mapping[str, Any], log: Path | None) -> str:
    launch, slurm = facts.get("launch"), facts.get("slurm") or {}
    if not launch:
        return ""
    job, _ = slurm_queue.find(launch["name"], launch.get("user"))
    # the record has the job that ran last, which is an earlier one until this one has begun
    restarts = int(slurm.get("restarts") or 0) if facts.get("status") != PENDING else 0
    number = job.id if job is not None else log.name.partition("_")[0] if log is not None else ""
    return job_text(number, restarts, launch["name"])


def job_text(number: str, restarts: int, name: str) -> str:
    """Return a job of SLURM as it is shown; its number may be unknown."""
    how_often = f", requeued {restarts} time{'s' * (restarts > 1)}" if restarts else ""
    return f"{number} of SLURM{how_often}, {name}" if number else f"of SLURM, {name}"


def _start(start: Mapping[str, Any]) -> str:
    return f"{start.get('started')}  {start.get('status')}  {duration(start.get('seconds'))}".rstrip()


def _commit(source: Mapping[str, Any]) -> str:
    count = len(source.get("untracked") or [])
    changes = ["with uncommitted changes"] if source.get("changed") else []
    changes += [f"{count} file{'s' * (count != 1)} that git does not know (in {paths.SOURCE}/)"] if count else []
    return f"{str(source.get('commit'))[:12]} {', '.join(changes)}".rstrip()


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
        yield "  ".join([*words, *([number(score)] if score is not None else [])])


def pieces_of_differences(first: Run, second: Run) -> list[Piece]:
    """Return all that differs between two runs."""
    others = [each for each in differences(first, second) if each.about != "config"]
    names = _short_ids(first.id, second.id)
    if max(map(len, names)) <= _LONGEST_HEAD:
        return _table_of(config_changes(first, second), others, *names)
    legend = pairs([("first", first.id), ("second", second.id)])
    return [legend, *_table_of(config_changes(first, second), others, "first", "second")]


def _short_ids(first: str, second: str) -> tuple[str, str]:
    """Return ids without the date that they share: what follows it finds a run, too."""
    dates = first.rpartition("/")[0], second.rpartition("/")[0]
    if dates[0] != dates[1]:
        return first, second
    return first.rpartition("/")[2], second.rpartition("/")[2]


def pieces_of_list(differing: Sequence[Difference], first: str, second: str) -> list[Piece]:
    """Return differences under other names than those of runs."""
    changes = [Change(each.name, "changed", each.before, each.after) for each in differing if each.about == "config"]
    return _table_of(changes, [each for each in differing if each.about != "config"], first, second)


def _table_of(changes: Sequence[Change], others: Sequence[Difference], first: str, second: str) -> list[Piece]:
    sections: dict[str, list[list[Cell | str]]] = {}
    for change in changes:
        section, *inside = split(change.path)
        sections.setdefault(f"config {section}" if inside else "config", []).append(_of_change(change))
    for each in others:
        row: list[Cell | str] = [f"    {each.name}", *_both(each.before, each.after)]
        sections.setdefault(each.about, []).append(row)
    if not sections:
        return [Line("They differ in nothing that is on record.")]
    columns = [Column(least=_LEAST_NAME), Column(first, least=_LEAST_VALUE), Column(second, least=_LEAST_VALUE)]
    rows: list[list[Cell | str]] = []
    for heading, of_section in sections.items():
        rows += [[Cell(heading, "bold")], *of_section]
    signs = [f"{sign} only in {which}" for sign, which, kind in _SIGNS if any(each.kind == kind for each in changes)]
    return [Table(columns, rows), *([Line("; ".join(signs), "dim", is_close=True)] if signs else [])]


def _of_change(change: Change) -> list[Cell | str]:
    steps = split(change.path)
    name = SEPARATOR.join(map(str, steps[1:] if len(steps) > 1 else steps))
    if change.kind == "added":
        return [Cell(f"  + {name}", "good"), Cell(_told(change.after), "good")]
    if change.kind == "removed":
        return [Cell(f"  - {name}", "bad"), Cell(_told(change.before), "bad")]
    return [f"    {name}", *_both(change.before, change.after)]


def _both(before: object, after: object) -> list[str]:
    """Return two values with as few digits as tell them apart."""
    if isinstance(before, float) and isinstance(after, float):
        for digits in (4, 6, 9, 17):
            texts = [f"{each:.{digits}g}" for each in (before, after)]
            if texts[0] != texts[1]:
                return texts
    return [_told(before), _told(after)]


def _told(value: object) -> str:
    return value if isinstance(value, str) else as_yaml(value)
