"""Answer what the NeurIPS paper checklist asks about error bars (7) and compute (8), from the records of the runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lighter.errors import RunError
from lighter.experiments.folder import all_experiments
from lighter.files import run_folder as paths
from lighter.results.views import covered, footnotes
from lighter.runs.log import duration
from lighter.runs.read import FINISHED, PAUSED, Run, read_run

if TYPE_CHECKING:
    from lighter.results.comparison import Comparison

_ERROR_BARS = (
    "7. Experiment statistical significance: does the paper report error bars suitably and correctly defined, or other"
    " appropriate information about the statistical significance of the experiments?"
)
_COMPUTE = (
    "8. Experiments compute resources: for each experiment, does the paper provide sufficient information on the"
    " computer resources (type of compute workers, memory, time of execution) needed to reproduce the experiments?"
)


def checklist(comparison: Comparison) -> str:
    """Return the answers as Markdown."""
    lines = [f"**{_ERROR_BARS}**", "", *_items(_of_error_bars(comparison)), ""]
    return "\n".join([*lines, f"**{_COMPUTE}**", "", *_items(_of_compute(comparison))])


def _items(lines: Iterable[str]) -> list[str]:
    return [f"- {line}" for line in lines]


def _of_error_bars(comparison: Comparison) -> Iterator[str]:
    yield comparison.verdict
    counts = ", ".join(f"{row.side.name}: {len(row.values)} ({_members(row.side.runs)})" for row in comparison.rows)
    yield f"Members: {counts}."
    yield from footnotes(comparison)
    yield from covered(comparison)
    yield from (f"Compared in spite of: {doubt}" for doubt in comparison.doubts)
    left_out = [line for row in comparison.rows for line in row.side.left_out]
    yield f"Left out: {'; '.join(left_out)}." if left_out else "No member is left out."


def _members(runs: Iterable[Any]) -> str:
    runs = list(runs)
    seeds, folds = {each.seed for each in runs}, {each.fold for each in runs} - {None}
    told = [f"{len(seeds)} seed{'s' * (len(seeds) != 1)}"]
    return ", ".join(told + ([f"{len(folds)} folds"] if folds else []))


def _of_compute(comparison: Comparison) -> Iterator[str]:
    runs = [each.run for row in comparison.rows for each in row.side.runs]
    for machine, count in Counter(map(_machine, runs)).items():
        yield f"{count} run{'s' * (count != 1)} on: {machine}."
    for row in comparison.rows:
        seconds = [each.run.seconds or 0.0 for each in row.side.runs]
        mean = duration(sum(seconds) / len(seconds))
        yield f"{row.side.name}: {mean} per run on average, {duration(sum(seconds))} for all {len(seconds)}."
    yield from _of_experiments(comparison)
    roots = dict.fromkeys(paths.root_of(run.folder.path).absolute() for run in runs)
    for root in roots:
        everything = list(_all_runs(root))
        yield f"All runs in this folder of runs, preliminary and failed ones too: {_total(everything)}."


def _of_experiments(comparison: Comparison) -> Iterator[str]:
    for folder in dict.fromkeys(row.side.experiment for row in comparison.rows):
        if folder is not None:
            yield f"All of the experiment {paths.name_of(folder)}: {_total(list(_read(paths.members_in(folder))))}."


def _total(runs: list[Run]) -> str:
    failed = sum(run.status not in (FINISHED, PAUSED) for run in runs)
    hours = sum((run.seconds or 0.0) * _devices(run.facts) for run in runs) / 3600
    ended = f"{failed} of them failed or stopped" if failed else "none failed"
    return f"{len(runs)} run{'s' * (len(runs) != 1)}, {ended}, {hours:.3g} device hours"


def _all_runs(root: Path) -> Iterator[Run]:
    yield from _read(paths.all_runs(root))
    for experiment in all_experiments(root):
        yield from _read(paths.members_in(experiment.path))


def _read(folders: Iterable[paths.RunFolder]) -> Iterator[Run]:
    for folder in folders:
        with suppress(RunError):
            yield read_run(folder.path)


def _devices(facts: Mapping[str, Any]) -> int:
    trainer = facts.get("trainer") or {}
    counts = [trainer.get(name) for name in ("devices", "nodes")]
    return math.prod(count for count in counts if isinstance(count, int) and count > 0)


def _machine(run: Run) -> str:
    hardware, trainer = run.facts.get("hardware") or {}, run.facts.get("trainer") or {}
    count = _devices(run.facts)
    device = str(
        trainer.get("gpu") or hardware.get("cpu") or hardware.get("machine") or "a machine that is not on record"
    )
    parts = [f"{count} x {device}" if count > 1 else device]
    threads = trainer.get("threads") if not trainer.get("gpu") else None
    facts = {
        f"thread{'s' * (threads != 1)}": threads,
        "CPU cores": hardware.get("cpus"),
        "GB of memory": hardware.get("memory_gb"),
    }
    return ", ".join([*parts, *(f"{value} {noun}" for noun, value in facts.items() if value)])
