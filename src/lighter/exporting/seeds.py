"""Metrics of the runs that differ from a run by seed and fold alone, where it belongs to an experiment."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import numpy as np

from lighter.engine.out_of_fold import fitted_members
from lighter.files.run_folder import RunFolder
from lighter.results.statistics.scipy_import import scipy_stats
from lighter.runs.read import FINISHED, read_run

_MEMBER = re.compile(r"trial-(?P<trial>\d+)-seed-\d+(?:-fold-\d+)?\Z")


def seeds_of(run: RunFolder, names: Iterable[str]) -> dict[str, Any]:
    """Return the mean and the 95% interval (Student's t) of metrics over an experiment's seeds and folds.

    Without SciPy there are no intervals. Nothing, if the run is of no experiment or alone in its trial.
    """
    match = _MEMBER.match(run.path.name)
    if match is None:
        return {}
    members = fitted_members(run.path.parent, int(match["trial"]))
    finished = [member for member in members if read_run(member.folder.path).status == FINISHED]
    if len(finished) < 2:
        return {}
    every = [read_run(member.folder.path).metrics for member in finished]
    return {
        "seeds": sorted({member.seed for member in finished}),
        "folds": sorted({member.fold for member in finished if member.fold is not None}),
        "metrics": {
            name: _interval([metrics[name] for metrics in every])
            for name in names
            if all(name in metrics for metrics in every)
        },
    }


def _interval(values: list[float]) -> dict[str, Any]:
    array = np.asarray(values)
    mean, error = float(array.mean()), float(array.std(ddof=1) / len(array) ** 0.5)
    if find_spec("scipy") is None:
        return {"values": values, "mean": mean}
    half = float(scipy_stats().t.ppf(0.975, len(array) - 1)) * error
    return {"values": values, "mean": mean, "interval": [mean - half, mean + half]}
