"""The budget of an agent: how many fits and hours its trainings may take in a folder, all servers together.

What was used follows from the jobs' folders, so that a server that starts again has no more than was left.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lighter.agents.jobs import RUNNING, jobs_in
from lighter.errors import RunError

_HOUR = 3600.0


@dataclass(frozen=True)
class Budget:
    """The limits of an agent's training: a number of runs and of hours; without either it trains nothing."""

    root: Path
    max_runs: int | None = None
    max_hours: float | None = None

    def public(self) -> dict[str, Any]:
        """Return what there is, what is used, and what is left."""
        runs, hours = self._used()
        return {
            "max_runs": self.max_runs,
            "max_hours": self.max_hours,
            "used_runs": runs,
            "used_hours": round(hours, 4),
            "left_runs": max(self.max_runs - runs, 0) if self.max_runs is not None else None,
            "left_hours": round(max(self.max_hours - hours, 0.0), 4) if self.max_hours is not None else None,
        }

    def granted(self, at_least: int = 1) -> tuple[int, float]:
        """Return how many fits and seconds are left for a training that takes at least so many fits.

        Raises:
            RunError: too little is left, or another training runs.
        """
        if self.max_runs is None or self.max_hours is None:
            missing = "this server has no budget to train with: it is started with --max_runs N --max_hours H"
            raise RunError(missing)
        running = next((job for job in jobs_in(self.root) if job.status == RUNNING), None)
        if running is not None:
            raise RunError(
                f"job {running.number} is running; one trains at a time: follow it with `status`, or `stop` it"
            )
        runs, hours = self._used()
        if self.max_runs - runs < at_least:
            needed = f", and this takes {at_least}" if at_least > 1 else ""
            raise RunError(f"the budget is used up: {runs} of {self.max_runs} runs{needed}")
        if hours >= self.max_hours:
            raise RunError(f"the budget is used up: {hours:.2f} of {self.max_hours} hours")
        return self.max_runs - runs, (self.max_hours - hours) * _HOUR

    def _used(self) -> tuple[int, float]:
        jobs = jobs_in(self.root)
        return sum(job.fits for job in jobs), sum(job.seconds for job in jobs) / _HOUR
