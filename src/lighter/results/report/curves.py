"""Reduce the logged values of runs to as many points as a chart shows.

A curve of more values than that is cut into spans of steps, the same for all runs, with the mean, the lowest and the
highest value of each span. Nothing is dropped that a reader could see: every outlier stays within the lowest and the
highest value, and the page says which curves were reduced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lighter.runs.curves import Curve

MOST_POINTS = 400
"""Points of a curve: more than pixels of a chart are no use."""
_ALL_POINTS = 60_000
_FEWEST_POINTS = 40
_OPTIMIZER = "/optimizer/"
Points = dict[str, list[Any]]


def shown_curves(of_runs: Sequence[Iterable[Curve]]) -> dict[str, list[tuple[int, Curve]]]:
    """Return the curves to be drawn by their names, each with the number of its run; none of a single value.

    Of what an optimizer logs, only what changes is worth a chart.
    """
    curves: dict[str, list[tuple[int, Curve]]] = {}
    for number, of_run in enumerate(of_runs):
        for curve in of_run:
            curves.setdefault(curve.name, []).append((number, curve))
    return {name: of_name for name, of_name in curves.items() if _is_shown(name, of_name)}


def within_budget(
    curves: Mapping[str, list[tuple[int, Curve]]], first: str | None
) -> tuple[dict[str, list[tuple[int, Curve]]], list[str]]:
    """Return the curves that fit on a page, and the names of those that do not: steps and optimizers come last."""
    order = sorted(
        curves, key=lambda name: (name != first, _OPTIMIZER in name, "/step" in name, name.startswith("train/"))
    )
    kept: dict[str, list[tuple[int, Curve]]] = {}
    count, left_out = 0, []
    for name in order:
        count += len(curves[name])
        if kept and count > _ALL_POINTS // _FEWEST_POINTS:
            left_out.append(name)
            count -= len(curves[name])
        else:
            kept[name] = curves[name]
    return {name: curves[name] for name in curves if name in kept}, left_out


def public(curves: Mapping[str, Sequence[tuple[int, Curve]]]) -> dict[str, list[dict[str, Any]]]:
    """Return curves as data of the page, reduced where they are long."""
    count = sum(len(of_name) for of_name in curves.values())
    most = int(np.clip(_ALL_POINTS // max(count, 1), _FEWEST_POINTS, MOST_POINTS))
    data = {}
    for name, of_name in curves.items():
        end = max(curve.steps[-1] for _, curve in of_name)
        start = min(curve.steps[0] for _, curve in of_name)
        data[name] = [{"run": number, **points(curve, most, (start, end))} for number, curve in of_name]
    return data


def points(curve: Curve, most: int, span: tuple[int, int]) -> dict[str, Any]:
    """Return the points of a curve: `step` and `value`; of a reduced one also `low`, `high` and its length, `of`."""
    steps, values = np.array(curve.steps), np.array(curve.values, float)
    if len(values) <= most:
        return {"step": steps.tolist(), "value": [_number(value) for value in values]}
    width = (span[1] - span[0] + 1) / most
    bins = ((steps - span[0]) / width).astype(int)
    order = np.argsort(bins, kind="stable")
    bins, steps, values = bins[order], steps[order], values[order]
    starts = np.flatnonzero(np.r_[True, bins[1:] != bins[:-1]])
    sizes = np.diff(np.r_[starts, len(bins)])
    with np.errstate(invalid="ignore", over="ignore"):
        means = np.add.reduceat(values, starts) / sizes
        low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    middle = span[0] + ((bins[starts] + 0.5) * width)
    columns = {"value": means, "low": low, "high": high}
    reduced = {name: [_number(value) for value in column] for name, column in columns.items()}
    return {"step": middle.astype(int).tolist(), **reduced, "of": len(values)}


def _is_shown(name: str, of_name: Sequence[tuple[int, Curve]]) -> bool:
    if all(len(curve.values) < 2 for _, curve in of_name):
        return False
    return _OPTIMIZER not in name or any(len(set(curve.values)) > 1 for _, curve in of_name)


def _number(value: float) -> float | None:
    """Return six digits of a number: more than a chart shows. JSON has no NaN and Inf."""
    return float(f"{value:.6g}") if np.isfinite(value) else None
