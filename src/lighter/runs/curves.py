"""The logged values of a run, step by step, and bars that show them on a terminal."""

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

_MOST_STEPS = 2**63  # what an array of 8 bytes holds
_BARS = "▁▂▃▄▅▆▇█"
WIDTH = 48


class Curve(NamedTuple):
    """The values of one name, with the step of each: eight bytes a number, of which a run logs millions."""

    name: str
    steps: array[int]
    values: array[float]


def curves_of(run: Run) -> list[Curve]:
    """Read everything that a CSV logger of the run wrote; nothing if it has none."""
    curves: dict[str, Curve] = {}
    for file in _files(run):
        of_file: dict[str, Curve] = {}  # of its own, as nothing is taken from a file that is damaged further down
        try:
            with file.open(encoding="utf-8", newline="") as lines:
                for row in csv.DictReader(lines):
                    _add(row, of_file)
        except (OSError, UnicodeDecodeError, csv.Error):
            continue
        for name, curve in of_file.items():
            curve_so_far = curves.setdefault(name, Curve(name, array("q"), array("d")))
            curve_so_far.steps.extend(curve.steps)
            curve_so_far.values.extend(curve.values)
    return sorted(curves.values(), key=lambda curve: (curve.name.split("/")[0], "loss" not in curve.name, curve.name))


def _files(run: Run) -> list[Path]:
    """Return the files of a run's CSV loggers, each once."""
    loggers = run.facts.get("loggers") or []
    folders = [Path(one["folder"]) for one in loggers if one.get("class") == "CSVLogger" and one.get("folder")]
    # the run's own file is mostly among the recorded ones
    files = [run.folder.metrics.absolute(), *(_in_copy(folder, run) / paths.METRICS for folder in folders)]
    return [file for file in dict.fromkeys(files) if file.is_file()]


def _in_copy(folder: Path, run: Run) -> Path:
    """Return where a logger's folder is now: of a run that was copied or moved, inside its folder of today."""
    home, steps = run.folder.path.absolute(), folder.parts
    # the name when it ran, if the folder was renamed
    for name in (home.name, Path(str(run.facts.get("id") or "")).name):
        if name and name in steps:
            after = len(steps) - steps[::-1].index(name)
            here = home.joinpath(*steps[after:])
            return here if (here / paths.METRICS).is_file() else folder
    return folder


def _add(row: Mapping[str, str], curves: dict[str, Curve]) -> None:
    step = _number(row.get("step"))
    step = int(step) if step is not None and abs(step) < _MOST_STEPS else 0
    for name, text in row.items():
        value = _number(text)
        if name not in (None, "step", "epoch") and value is not None:
            curve = curves.setdefault(name, Curve(name, array("q"), array("d")))
            curve.steps.append(step)
            curve.values.append(value)


def drawn(values: Sequence[float], width: int = WIDTH) -> str:
    """Draw a line of bars; of more values than that, each bar is the mean of some that follow each other."""
    low = min(filter(math.isfinite, values), default=None)
    high = max(filter(math.isfinite, values), default=None)
    if low is None or high is None:
        return "?" * min(len(values), width)
    bars, count = [], min(width, len(values))
    edges = [round(index * len(values) / count) for index in range(count + 1)]
    for start, end in itertools.pairwise(edges):
        finite = [value for value in values[start:end] if math.isfinite(value)]
        if not finite:
            bars.append("?")
            continue
        height = (sum(finite) / len(finite) - low) / (high - low) if high > low else 0.0
        bars.append(_BARS[round(height * (len(_BARS) - 1))])
    return "".join(bars)


def _number(text: object) -> float | None:
    try:
        return float(str(text)) if text not in (None, "") else None
    except ValueError:
        return None
