"""Read an experiment in Python: its trials, members, runs, metrics, and the best config."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from lighter.config.load import load
from lighter.display.html import to_html
from lighter.experiments.folder import find_experiment
from lighter.experiments.member_files import run_of
from lighter.experiments.overrides import overrides
from lighter.experiments.results import Result, Row, rows_of_members
from lighter.experiments.status import Overview, no_result, read_experiment
from lighter.experiments.tables import pieces_of_experiment
from lighter.experiments.trials import Member, Trial
from lighter.files.run_folder import OUTPUTS
from lighter.runs.read import Run

_MOST_ROWS = 20  # of a notebook's table


class Experiment:
    """An experiment, as its folder is when it is first read; a new handle reads it anew.

    Args:
        path: its folder, an id, the beginning of one, a name, or `last`.
        root: where runs and experiments are, for those that are not given by a path.

    Example:
        ```python
        experiment = lighter.Experiment("last")
        experiment.best.trial.values            # {"model::optimizer::lr": 0.003}
        pandas.DataFrame(experiment.metrics())
        lighter.build(experiment.best_config)
        ```

    Raises:
        RunError: there is no such experiment; or, when it is read, a file in it is damaged.
    """

    def __init__(self, path: str | Path, root: str | Path = OUTPUTS) -> None:
        self._folder = find_experiment(str(path), Path(root))

    def __repr__(self) -> str:
        return f"Experiment({str(self.path)!r})"

    def _repr_html_(self) -> str:
        return to_html(pieces_of_experiment(self._overview, None, _MOST_ROWS))

    @property
    def path(self) -> Path:
        return self._folder.path

    @property
    def id(self) -> str:
        """For example `2026-11-29/14-03-55-digits`."""
        return self._folder.id

    @property
    def state(self) -> str:
        """`running`, `finished`, or `stopped` where something of what was asked for is left to do.

        While the coordinator's job waits in SLURM, `pending` or `requeued`.
        """
        return self._overview.state

    @property
    def trials(self) -> list[Trial]:
        """All trials, by their numbers, each with its members."""
        return self._overview.trials

    @property
    def members(self) -> list[Member]:
        """All members, by trial, seed and fold."""
        return self._overview.members

    @cached_property
    def runs(self) -> dict[str, Run]:
        """The runs of the members that have started, by the names of the members' folders."""
        runs = {member.name: run_of(self.path, member) for member in self.members}
        return {name: run for name, run in runs.items() if run is not None}

    @property
    def results(self) -> list[Result]:
        """All trials with means and intervals of their objectives, the best first."""
        return self._overview.results

    @property
    def front(self) -> list[Result]:
        """The best trials: the Pareto front of several objectives; of one, a list of one. Empty without results."""
        return self._overview.best

    @property
    def best(self) -> Result:
        """The best trial; of several objectives, the one of the Pareto front that is best in the first.

        Raises:
            RunError: no trial has a result yet.
        """
        if not self.front:
            raise no_result(self._overview)
        return self.front[0]

    @property
    def best_config(self) -> dict[str, Any]:
        """The experiment's config with the values of the best trial, as an input of `Runner` and `build`."""
        config = [self._folder.config]
        words = overrides(self.best.trial.values, load(config))
        plain: dict[str, Any] = load([*config, *words]).plain()
        return {key: value for key, value in plain.items() if key != "experiment"}

    def metrics(self) -> list[Row]:
        """Return a row for each member: `trial`, `seed`, `fold`, `status`, the trial's values, and its last metrics."""
        return list(rows_of_members(self.path, self.members))

    @cached_property
    def _overview(self) -> Overview:
        return read_experiment(self._folder)
