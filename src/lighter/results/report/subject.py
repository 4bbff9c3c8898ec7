"""Find the runs and experiments that a page is about, from the words of the command line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lighter.errors import RunError
from lighter.experiments.member_files import run_of
from lighter.experiments.status import Overview, read_experiment
from lighter.results.report.words import Meant, meant_by
from lighter.runs.compare import config_values
from lighter.runs.curves import Curve, curves_of
from lighter.runs.index import summaries
from lighter.runs.read import Run, read_run
from lighter.runs.secrets import Secrets

DETAILED = 200
"""Runs whose files are read, of those that no word names: of the others there is a row in the table."""


@dataclass(frozen=True)
class Entry:
    """A run of the page, with its place in an experiment, and the name that a word gave it."""

    run: Run
    seed: int | None
    fold: int | None = None
    trial: int | None = None
    experiment: Overview | None = None
    side: str | None = None

    # Each file is read once: a page asks for these many times.
    @cached_property
    def config(self) -> dict[str, Any]:
        """The values of its config by their paths, without secrets that somebody wrote into the file since."""
        values: dict[str, Any] = Secrets().data(config_values(self.run))
        return values

    @cached_property
    def curves(self) -> list[Curve]:
        return curves_of(self.run)

    @cached_property
    def metrics(self) -> dict[str, float]:
        return self.run.metrics

    @cached_property
    def ranges(self) -> dict[str, list[float]]:
        """The lowest and the highest value of each curve; of a metric without one, its value."""
        found = {name: [value, value] for name, value in self.metrics.items()}
        for curve in self.curves:
            finite = [value for value in curve.values if math.isfinite(value)]
            found |= {curve.name: [min(finite), max(finite)]} if finite else {}
        return found


@dataclass(frozen=True)
class Subject:
    """The runs and experiments of a page.

    Attributes:
        entries: the runs that are shown in detail.
        rows: summaries of further runs, which are in the table alone; see `Run.summary`.
        notes: a line for each thing that was left out.
        all_under: the folder whose runs these are, where no word named any.
        words: the words and the folder that they were looked up in, where some are more than single runs.
    """

    entries: tuple[Entry, ...]
    experiments: tuple[Overview, ...] = ()
    rows: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    all_under: Path | None = None
    words: tuple[tuple[str, ...], Path] | None = None

    @property
    def is_running(self) -> bool:
        """True while a run or an experiment of the page goes on."""
        return any(each.folder.is_running for each in self.experiments) or any(
            entry.run.status == "running" for entry in self.entries
        )


@dataclass
class _Chosen:
    entries: list[Entry] = field(default_factory=list)
    experiments: list[Overview] = field(default_factory=list)


def find_subject(words: Sequence[str], root: Path) -> Subject:
    """Find runs and experiments by the words that name them; without words, all runs under a root.

    Raises:
        RunError: a word names nothing, or several; or a record that it names is damaged.
    """
    if not words:
        return _all_runs(root)
    found = _Chosen()
    for word in dict.fromkeys(words):
        meant = meant_by(word, root)
        # several runs of one of several words are a side, as `lighter compare` takes them
        side = meant.name or (word if len(words) > 1 and len(meant.runs) > 1 else None)
        found.entries += [entry_of(read_run(run.path), side) for run in meant.runs]
        if meant.experiment is not None:
            overview = read_experiment(meant.experiment)
            found.experiments += [overview] if meant.trial is None else []
            found.entries += _members(overview, meant)
    unique: dict[Path, Entry] = {}
    for entry in found.entries:
        before = unique.setdefault(entry.run.folder.path.absolute(), entry)
        if before.side and entry.side and before.side != entry.side:
            raise RunError(f"{entry.run.id} is in `{before.side}` and in `{entry.side}`; a run is on one side alone")
    has_sides = any(entry.side or entry.experiment for entry in found.entries)
    return Subject(tuple(unique.values()), tuple(found.experiments), words=(tuple(words), root) if has_sides else None)


def entry_of(run: Run, side: str | None = None) -> Entry:
    seed = run.facts.get("seed")
    return Entry(run, seed if isinstance(seed, int) else None, side=side)


def _all_runs(root: Path) -> Subject:
    notes: list[str] = []
    rows = summaries(root, notes.append)
    entries = []
    for row in rows[:DETAILED]:
        with suppress(RunError):  # it was removed a moment ago
            entries.append(entry_of(read_run(Path(row["path"]))))
    if len(rows) > DETAILED:
        notes.append(f"Curves and configs are those of the newest {DETAILED} runs; the table has all {len(rows):,}.")
    return Subject(tuple(entries), rows=tuple(rows[DETAILED:]), notes=tuple(notes), all_under=root)


def _members(overview: Overview, meant: Meant) -> Iterator[Entry]:
    if meant.trial not in (None, *(trial.number for trial in overview.trials)):
        raise RunError(f"{overview.folder.id} has no trial {meant.trial}; it has {len(overview.trials)}")
    for member in overview.members:
        run = run_of(overview.folder.path, member) if meant.trial in (None, member.trial) else None
        if run is not None:
            yield Entry(run, member.seed, member.fold, member.trial, overview, meant.name)
