"""A run's logged values, step by step, and how a terminal shows them."""

from __future__ import annotations

import csv
import itertools
import math
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lighter.files import run_folder as paths
from lighter.runs.read import Run

_MOST_STEPS = 2**63
_BARS = "▁▂▃▄▅▆▇█"
WIDTH = 48


class Curve(NamedTuple):
    """The values of one name, with the step of each: eight bytes a number, of which a run logs millions."""

    name: str
    steps: array[int]
    values: array[float]


def curves_of(run: Run) -> list[Curve]:
    """Everything that a CSV logger of the run wrote; nothing if it has none."""
    found: dict[str, Curve] = {}
    for file in _files(run):
        of_file: dict[str, Curve] = {}
        try:
            with file.open(encoding="utf-8", newline="") as lines:
                for row in csv.DictReader(lines):
                    _add(row, of_file)
        except (OSError, UnicodeDecodeError, csv.Error):
            continue
        for name, curve in of_file.items():
            before = found.setdefault(name, Curve(name, array("q"), array("d")))
            before.steps.extend(curve.steps)
            before.values.extend(curve.values)
    return sorted(found.values(), key=lambda curve: (curve.name.split("/")[0], "loss" not in curve.name, curve.name))


def _add(row: Mapping[str, str], curves: dict[str, Curve]) -> None:
    """Add the values of a row."""
    step = _number(row.get("step"))
    step = int(step) if step is not None and abs(step) < _MOST_STEPS else 0
    for name, text in row.items():
        value = _number(text)
        if name not in (None, "step", "epoch") and value is not None:
            curve = curves.setdefault(name, Curve(name, array("q"), array("d")))
            curve.steps.append(step)
            curve.values.append(value)


def drawn(values: Sequence[float], width: int = WIDTH) -> str:
    """A line of bars; of more values than that, each bar is the mean of some that follow each other."""
    low = min(filter(math.isfinite, values), default=None)
    high = max(filter(math.isfinite, values), default=None)
    if low is None or high is None:
        return "?" * min(len(values), width)
    bars = []
    for start, end in _parts(len(values), min(width, len(values))):
        part = [value for value in values[start:end] if math.isfinite(value)]
        mean = sum(part) / len(part) if part else math.nan
        level = 0 if high == low else round((mean - low) / (high - low) * (len(_BARS) - 1)) if part else -1
        bars.append(_BARS[level] if level >= 0 else "?")
    return "".join(bars)


def _parts(length: int, parts: int) -> list[tuple[int, int]]:
    edges = [round(index * length / parts) for index in range(parts + 1)]
    return list(itertools.pairwise(edges))


def _files(run: Run) -> list[Path]:
    loggers = run.facts.get("loggers") or []
    folders = [Path(one["folder"]) for one in loggers if one.get("class") == "CSVLogger" and one.get("folder")]
    files = dict.fromkeys([run.folder.metrics.absolute(), *(folder / paths.METRICS for folder in folders)])
    return [file for file in files if file.is_file()]


def _number(text: object) -> float | None:
    try:
        return float(str(text)) if text not in (None, "") else None
    except ValueError:
        return None
