"""Scores of sides: a metric of each member, and of each sample where its evaluation recorded them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lighter.errors import RunError
from lighter.files import run_folder as paths
from lighter.files.atomic import read_text
from lighter.results.arrays import read_arrays
from lighter.results.sides import Side, SideRun
from lighter.runs.checkpoint_files import Checkpoints
from lighter.runs.filter import full_name, high_is_good, mode_of_metric, usual_metrics
from lighter.runs.read import FINISHED, Run, read_run

if TYPE_CHECKING:
    from lighter.results.statistics.effect import Scores

TEST = "test"
_SAME = 1e-4  # relative: a metric is a mean of its samples' scores in single precision, in batches


def chosen_metric(sides: Sequence[Side], metric: str | None) -> tuple[str, bool]:
    """Return the metric by which sides are compared, and whether it is maximized.

    Without a name it is the objective of their experiments, or of single runs what `lighter runs list` shows first.

    Raises:
        RunError: no run has it, or their experiments have different objectives.
    """
    objectives = dict.fromkeys(side.objective for side in sides if side.objective is not None)
    if metric is None and len(objectives) > 1:
        named = ", ".join(f"{'max' if is_maximized else 'min'} {name}" for name, is_maximized in objectives)
        raise RunError(f"these experiments have different objectives: {named}. Name one: --metric NAME")
    if metric is None and objectives:
        return next(iter(objectives))
    rows = [{"metrics": each.run.metrics} for side in sides for each in side.runs]
    if metric is None:
        of_all = [name for name in usual_metrics(rows) if all(name in row["metrics"] for row in rows)]
        if not of_all:
            raise RunError("these runs have no metric in common. Name one that they should have: --metric NAME")
        metric = of_all[0]
    metric = full_name(metric, rows)
    known = [is_maximized for name, is_maximized in objectives if name == metric]
    return metric, known[0] if known else high_is_good(metric)


def with_tests(side: Side, metric: str, root: Path) -> Side:
    """Return a side with the tests of its fits in place of them, where the metric is one of tests that fits lack.

    A test belongs to the fit whose checkpoint it used; of several, the newest counts.
    """
    if stage_of(metric) != TEST or any(_has(each.run, metric) for each in side.runs):
        return side
    tests = _tests_of([each.run for each in side.runs], root)
    found = [replace(each, run=tests[each.run.id]) for each in side.runs if each.run.id in tests]
    lacking = [each for each in side.runs if each.run.id not in tests]
    if not found:
        first = side.runs[0].run
        best = "best" if Checkpoints(first.folder, first.facts).best is not None else "last"
        raise RunError(
            f"no run of `{side.name}` was tested. For each of them: lighter test {first.folder.config}"
            f" --ckpt_path {best}"
        )
    return replace(
        side, runs=tuple(found), left_out=(*side.left_out, *(f"{each.run.id}: not tested" for each in lacking))
    )


def stage_of(metric: str) -> str:
    """Return the stage whose runs have a metric."""
    return TEST if mode_of_metric(metric) == TEST else "fit"


def mode_of(metric: str, run: Run) -> str:
    """Return the data that a metric was measured on: `train`, `val` or `test`."""
    return mode_of_metric(metric) or (TEST if run.facts.get("stage") == TEST else "val")


def scores(side: Side, metric: str, *, is_maximized: bool) -> Scores:
    """Return the values of a side's members, and of their samples.

    Raises:
        RunError: a member has no value, or one that is not finite.
    """
    from lighter.results.statistics.effect import Scores

    values = [_value(side, each, metric) for each in side.runs]
    samples = tuple(
        _samples(each.run, metric, value, is_maximized) for each, value in zip(side.runs, values, strict=True)
    )
    return Scores(
        side.name,
        np.array(values),
        tuple(each.seed for each in side.runs),
        tuple(each.fold for each in side.runs),
        samples if any(each is not None for each in samples) else (),
    )


def share_of_folds(sides: Sequence[Side]) -> float | None:
    """Return the size of a fold's validation data divided by that of its training data; None if it is not on record."""
    splits = [each.run.facts.get("split") or {} for side in sides for each in side.runs]
    sizes = [(split.get("val"), split.get("train")) for split in splits]
    shares = [val / train for val, train in sizes if isinstance(val, int) and isinstance(train, int) and train > 0]
    return sum(shares) / len(shares) if shares and len(shares) == len(splits) else None


def _value(side: Side, each: SideRun, metric: str) -> float:
    metrics = each.run.metrics
    if metric not in metrics:
        names = ", ".join(usual_metrics([{"metrics": metrics}])[:8]) or "none"
        raise RunError(f"{each.run.id} of `{side.name}` has no metric `{metric}`; it has {names}")
    value = metrics[metric]
    if not math.isfinite(value):
        raise RunError(
            f"{metric} of {each.run.id} is {value}, so `{side.name}` has no mean. Compare a metric that all members"
            " have, or leave this one out and say so"
        )
    return value


def _has(run: Run, metric: str) -> bool:
    return metric in run.metrics or f"{metric}/epoch" in run.metrics


def _tests_of(fits: Sequence[Run], root: Path) -> dict[str, Run]:
    """Return the newest finished test of each fit, by the fit's id."""
    homes = {run.folder.path.resolve(): run.id for run in fits}
    tests: dict[str, Run] = {}
    for test in _tests_under(root):
        checkpoint = test.facts.get("checkpoint")
        if not isinstance(checkpoint, str):
            continue
        path = (Path(str(test.facts.get("cwd") or ".")) / checkpoint).resolve()
        fit = next((homes[parent] for parent in path.parents if parent in homes), None)
        if fit is not None:
            tests.setdefault(fit, test)
    return tests


def _tests_under(root: Path) -> Iterator[Run]:
    for folder in paths.all_runs(root):
        with suppress(RunError):
            run = read_run(folder.path)
            if run.facts["stage"] == TEST and run.status == FINISHED:
                yield run


def _samples(run: Run, metric: str, value: float, is_maximized: bool) -> Mapping[int, float] | None:
    """Return what each sample contributes to a metric, higher is better; None where it is no mean over samples.

    An evaluation records each sample's score, prediction and target. The metric may be the mean of the scores, of
    their negatives, or of whether predictions are right: what it is shows in the numbers.
    """
    report = _report(run, mode_of(metric, run))
    if report is None or not isinstance(report.get("scores"), str):
        return None
    arrays = read_arrays(run.folder.path / "report" / Path(report["scores"]).name)
    if arrays is None or "index" not in arrays or "score" not in arrays:
        return None
    index = arrays["index"]
    for each in _contributions(arrays):
        if index.ndim == 1 and each.shape == index.shape and each.size and _is_mean(each, value):
            signed = each if is_maximized else -each
            return dict(zip(index.tolist(), signed.tolist(), strict=True))
    return None


def _contributions(arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    try:
        score = arrays["score"].astype(float)
    except (ValueError, TypeError):  # as the folder may be anybody's
        return []
    found = [score, -score]
    if "target" in arrays and "prediction" in arrays and arrays["target"].shape == arrays["prediction"].shape:
        found.append(np.asarray(arrays["target"] == arrays["prediction"], dtype=float))
    return found


def _report(run: Run, mode: str) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        report = json.loads(read_text(run.folder.path / "report" / f"{mode}.json"))
        return report if isinstance(report, dict) else None
    return None


def _is_mean(values: np.ndarray, value: float) -> bool:
    return bool(np.isfinite(values).all()) and math.isclose(values.mean(), value, rel_tol=_SAME, abs_tol=_SAME / 10)
