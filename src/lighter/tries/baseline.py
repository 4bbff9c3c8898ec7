"""The baseline of a try: a run or an experiment, as a config, a metric and seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lighter.config.load import load
from lighter.config.problems import nearest
from lighter.errors import RunError
from lighter.experiments.folder import ExperimentFolder
from lighter.experiments.overrides import overrides
from lighter.experiments.status import read_experiment
from lighter.files import run_folder as paths
from lighter.results.scores import chosen_metric
from lighter.results.sides import Side, side_of
from lighter.runs.filter import full_name, high_is_good, mode_of_metric
from lighter.runs.read import Run
from lighter.tries.ledger import TRIES

_SECTION = "experiment"
_DIRECTIONS = {"min": False, "max": True}


@dataclass(frozen=True)
class Baseline:
    """The baseline that candidates are compared with.

    Attributes:
        name: what messages call it.
        folder: where its tries are.
        config: its merged config without the section `experiment`.
        executor: the settings of where its fits run; None for those of this machine.
        run: one of its runs.
        first_seed: the first that none of its runs has: a baseline is often one that was lucky with its own.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    executor: Any
    run: Run
    metric: str
    is_maximized: bool
    first_seed: int

    @property
    def objective(self) -> str:
        return f"{'max' if self.is_maximized else 'min'} {self.metric}"


def find_baseline(word: str, root: Path, metric: str | None = None) -> Baseline:
    """Find a baseline by the word for a run, an experiment (its best trial), or `EXP/trial-3`.

    Args:
        metric: a name, or `min` or `max` and a name; by default the objective of the experiment, the metric that the
            run's checkpoints were chosen by, or what `lighter runs list` shows first.

    Raises:
        RunError: there is none, it has no result, or the metric is not one of validation.
    """
    side = side_of(word, root, "fit")
    if side.experiment is None and len(side.runs) > 1:
        raise RunError(f"`{word}` stands for {len(side.runs)} runs; a baseline is one run, or one experiment")
    run = side.runs[0].run
    if run.facts.get("stage") != "fit":
        raise RunError(f"{run.id} is a {run.facts.get('stage')}; a baseline is a fit, or an experiment")
    if run.facts.get("safe"):
        raise RunError(f"{run.id} ran in safe mode, and tries run the config of their baseline as one that you trust")
    name, is_maximized = _metric(side, run, metric)
    home, config, executor = _home(side, run)
    known = [each.seed for each in side.runs if each.seed is not None]
    return Baseline(side.name, home, config, executor, run, name, is_maximized, max(known, default=0) + 1)


def _home(side: Side, run: Run) -> tuple[Path, dict[str, Any], Any]:
    if side.experiment is None or side.trial is None:
        plain: dict[str, Any] = load([run.folder.config]).plain()
        return run.folder.path / TRIES, {key: value for key, value in plain.items() if key != _SECTION}, None
    config = side.experiment / paths.CONFIG
    trials = read_experiment(ExperimentFolder(side.experiment)).trials
    values = next(trial.values for trial in trials if trial.number == side.trial)
    plain = load([config, *overrides(values, load([config]))]).plain()
    section = plain.pop(_SECTION, None) or {}
    if isinstance(section, Mapping) and section.get("folds"):
        raise RunError(f"{side.name} has folds. A try trains on one split: take a fit, or an experiment without folds")
    return side.experiment / TRIES / f"trial-{side.trial:04}", plain, section.get("executor")


def _metric(side: Side, run: Run, asked: str | None) -> tuple[str, bool]:
    direction, _, name = (asked or "").rpartition(" ")
    if direction.strip() and direction.strip() not in _DIRECTIONS:
        raise RunError(f"`{direction.strip()}` is no direction. {nearest(direction.strip(), list(_DIRECTIONS))}")
    monitored = _monitored(run) if asked is None and side.objective is None else None
    if monitored is not None:
        metric, is_maximized = monitored
    else:
        metric, is_maximized = chosen_metric([side], name or None)
    if metric not in run.metrics:
        raise RunError(f"{run.id} has no metric `{metric}`. {nearest(metric, sorted(run.metrics))}")
    mode = mode_of_metric(metric)
    if mode in ("train", "test"):
        why = "training may change" if mode == "train" else "a fit logs none of tests"
        raise RunError(f"{metric} is no metric of validation: a try compares by one, as {why}. --metric NAME")
    return metric, _DIRECTIONS.get(direction.strip(), is_maximized)


def _monitored(run: Run) -> tuple[str, bool] | None:
    """Return the metric by which a run's best checkpoint was chosen, and its direction."""
    entries = [each for each in run.facts.get("checkpoints") or [] if each.get("best") and each.get("monitor")]
    if not entries:
        return None
    named = str(entries[0]["monitor"])
    metric = full_name(named, [{"metrics": run.metrics}])
    trainer = load([run.folder.config]).plain().get("trainer") or {}
    callbacks = trainer.get("callbacks") if isinstance(trainer, Mapping) else None
    for each in callbacks if isinstance(callbacks, list) else ():
        if isinstance(each, Mapping) and each.get("monitor") == named and each.get("mode") in _DIRECTIONS:
            return metric, _DIRECTIONS[each["mode"]]
    return metric, high_is_good(metric)
