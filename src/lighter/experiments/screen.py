"""Show an experiment while it runs, and its results at the end.

On a terminal it is a live table; elsewhere one line for each member that has ended.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.live import Live

from lighter.config.problems import shortened
from lighter.display import terminal
from lighter.display.table import Line, Piece, pairs
from lighter.errors import LighterError
from lighter.experiments.facts import Facts
from lighter.experiments.failures import first_line
from lighter.experiments.folder import ExperimentFolder
from lighter.experiments.pace import Pace
from lighter.experiments.results import best, results
from lighter.experiments.status import RunningMember, shown_rung
from lighter.experiments.tables import counts_text, pieces_of_best, result_table, rungs_text, running_table
from lighter.experiments.trials import FAILED, PAUSED, Member, Trial
from lighter.runs.log import duration

_SECONDS = 0.4  # the table is not drawn more often,
_SHARE = 0.05  # nor so that more of the time would go into it: of thousands of trials it takes long
_MOST_BEST, _MOST_RESULTS = 3, 20
_WIDEST_ERROR = 100


class Screen:
    """The screen of one experiment, as a context manager.

    Args:
        facts: what was asked for.
        workers: how many members can run at once, if that is known.
        console: where it is shown; by default the terminal, or whatever standard output is.
    """

    def __init__(
        self,
        folder: ExperimentFolder,
        facts: Facts,
        workers: int | None = None,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.facts, self.workers = folder, facts, workers
        self.console = console or terminal.stdout_console()
        # a dumb terminal cannot draw over what it shows
        self._is_live = self.console.is_interactive and not self.console.is_dumb_terminal
        self._clock, self._pace = clock, Pace(facts, clock)
        self._began = self._next_drawing = clock()
        self._trials: Sequence[Trial] = ()
        self._running: Mapping[str, Mapping[str, Any]] = {}
        self._stderr = sys.stderr
        # Drawn by calls alone: with a thread that draws, processes could be forked while it holds a lock.
        self._live = Live(
            console=self.console, auto_refresh=False, transient=True, redirect_stderr=self._stderr.isatty()
        )

    def __enter__(self) -> Screen:
        if self._is_live:
            self._live.start()
            _move_messages(self._stderr, sys.stderr)
        else:
            self.console.print(f"experiment {self.folder.path}", soft_wrap=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        during = sys.stderr
        self._live.stop()
        _move_messages(during, self._stderr)
        # an error stops the coordinator before it has noted what its members are now
        if self._trials and not isinstance(error, LighterError):
            self._print_results()

    def update(self, trials: Sequence[Trial], running: Mapping[str, Mapping[str, Any]]) -> None:
        """Show the trials as they are now, and the members that run.

        Args:
            running: the progress of running members by the names of their folders, as their records have it:
                `{"epoch": 3, "step": 120}`, or nothing.
        """
        self._trials, self._running = trials, running
        self._pace.running(each for each in _members(trials) if each.name in running)
        if self._is_live and self._clock() >= self._next_drawing:
            began = self._clock()
            self._live.update(self.table(), refresh=True)
            self._next_drawing = self._clock() + max(_SECONDS, (self._clock() - began) / _SHARE)

    def ended(self, member: Member) -> None:
        """Tell that a member has come to a result, or has failed."""
        self._pace.ended(member)
        # On a terminal the table shows results; why something failed would not stay there.
        if not self._is_live or member.status == FAILED:
            self.console.print(self._line(member), soft_wrap=True)

    def table(self) -> RenderableType:
        """Return the live table: trials, rungs, workers, time, running members, the best so far."""
        ranked, width = results(self._trials, self.facts.objectives), terminal.width(self.console)
        about = pairs(
            [
                ("experiment", str(self.folder.path)),
                ("trials", counts_text(self._trials, self.facts.trials)),
                ("rungs", rungs_text(ranked, self.facts)),
                ("workers", self._workers()),
                ("time", self._time()),
            ]
        )
        members = [each for each in _members(self._trials) if each.name in self._running]
        running = running_table([self._running_member(each) for each in members], self.facts) if members else None
        known = [each for each in ranked if each.is_known][:_MOST_BEST]
        leading = result_table(known, self.facts, width, ranked) if known else None
        return terminal.drawn((about, running, leading), width)

    def _workers(self) -> str:
        busy = len(self._running)
        return f"{busy} of {self.workers} busy" if self.workers is not None else f"{busy} busy"

    def _time(self) -> str:
        left = self._pace.seconds_left(self._trials, self._running, self.workers)
        return duration(self._clock() - self._began) + (f", about {duration(left)} left" if left else "")

    def _running_member(self, member: Member) -> RunningMember:
        progress = self._running[member.name]
        seconds = self._pace.seconds_of(member.name)
        return RunningMember(member, progress.get("epoch"), progress.get("step"), seconds)

    def _line(self, member: Member) -> str:
        if member.status == FAILED:
            return f"{member.name}: failed: {shortened(first_line(member.error or ''), _WIDEST_ERROR)}"
        values = member.results.get(member.target, ())
        pairs = zip(self.facts.objectives, values, strict=False)
        found = ", ".join(f"{objective.metric} {value:.4g}" for objective, value in pairs)
        where = f" at {shown_rung(member.target, self.facts)}" if member.status == PAUSED else ""
        leading = best(results(self._trials, self.facts.objectives), self.facts.objectives)[:1]
        so_far = "".join(f"; best: trial {each.trial.number}, {each.estimates[0]}" for each in leading)
        return f"{member.name}: {member.status}{where}: {found}{so_far}"

    def _print_results(self) -> None:
        ranked = results(self._trials, self.facts.objectives)
        shown = ranked[:_MOST_RESULTS]
        width = terminal.width(self.console)
        pieces: list[Piece] = [result_table(shown, self.facts, width, ranked)]
        if len(ranked) > len(shown):
            more = f"{len(ranked) - len(shown)} more: lighter experiment status {self.folder.path} --limit 0"
            pieces.append(Line(more, "dim", is_command=True, is_close=True))
        leading = best(ranked, self.facts.objectives)
        pieces += pieces_of_best(self.folder.path, leading, self.facts, width) if leading else []
        self.console.print()
        terminal.show(*pieces, console=self.console)


def _move_messages(old: TextIO, new: TextIO) -> None:
    """Have messages that go to a stream go to another one: above the table, where they would be written into it."""
    for handler in logging.getLogger("lighter").handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is old:
            handler.setStream(new)


def _members(trials: Sequence[Trial]) -> list[Member]:
    return [member for trial in trials for member in trial.members]
