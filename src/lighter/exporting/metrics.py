"""Metrics of the network, of its artifact and of the run's record, compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lighter.errors import ExportError
from lighter.files.run_folder import RunFolder
from lighter.runs.curves import curves_of
from lighter.runs.read import read_run
from lighter.runs.resume.saved_state import State


def recorded_metrics(run: RunFolder, path: Path, checkpoint: Mapping[str, Any]) -> dict[str, float]:
    """Return the values that a run logged at the step of a checkpoint, which is the content of the file at `path`."""
    step = _logged_step(path, checkpoint)
    values = {}
    for curve in curves_of(read_run(run.path)) if step is not None else ():
        at_step = [value for at, value in zip(curve.steps, curve.values, strict=True) if at == step]
        if at_step:
            values[curve.name] = at_step[-1]
    return values


def _logged_step(path: Path, checkpoint: Mapping[str, Any]) -> int | None:
    with suppress(KeyError, TypeError):  # of a file that is not Lightning's
        return State(path, checkpoint).logged_step
    # it counts the steps of all optimizers, and loggers count batches, from 0: the same with one optimizer
    step = checkpoint.get("global_step")
    return step - 1 if isinstance(step, int) else None


def compare_with_record(
    metrics: Mapping[str, float], recorded: Mapping[str, float], tolerance: float
) -> dict[str, float]:
    """Return what a record has of metrics that were computed again.

    Raises:
        ExportError: one of them is another one now.
    """
    both = {name: recorded[name] for name in metrics if name in recorded}
    for name, value in both.items():
        if not tolerated(value, metrics[name], tolerance):
            raise ExportError(
                f"`{name}` is {metrics[name]:.6g} now, and was recorded as {value:.6g}: code, data"
                " or precision have changed. Export with the code of the run, or accept the difference with"
                f" --tolerance {_above(value, metrics[name]):.1g}"
            )
    return both


def compare(
    metrics: Mapping[str, float], of_artifact: Mapping[str, float], tolerance: float
) -> dict[str, tuple[float, float]]:
    """Return each metric of the network and of its artifact.

    Raises:
        ExportError: they differ.
    """
    for name, value in metrics.items():
        other = of_artifact.get(name, math.nan)
        if not tolerated(value, other, tolerance):
            raise ExportError(
                f"`{name}` is {value:.6g} of the network and {other:.6g} of what was exported, and they may differ by"
                f" {tolerance:g}"
            )
    return {name: (value, of_artifact[name]) for name, value in metrics.items()}


def tolerated(one: float, other: float, tolerance: float) -> bool:
    """Return whether two values are equal within a tolerance, absolute up to 1 and relative above."""
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return one == other or abs(one - other) <= tolerance * max(1.0, abs(one))


def _above(one: float, other: float) -> float:
    needed = abs(one - other) / max(1.0, abs(one))
    return 10.0 ** math.ceil(math.log10(needed)) if 0 < needed < math.inf else 1.0
