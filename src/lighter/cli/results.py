"""The short table at the end of a stage: the last values, and the paths of all that was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lighter.display import terminal
from lighter.display.table import Column, Line, Table
from lighter.engine.execution import Outcome
from lighter.files import run_folder as paths
from lighter.runs.loggers import places as logger_places

_MODES = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ()}


def show(stage: str, outcome: Outcome) -> None:
    """Print the table, on the first process only."""
    if not outcome.trainer.is_global_zero:
        return
    values = _values(stage, outcome)
    rows = [(name, f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}") for name, value in values.items()]
    table = Table([Column(stage), Column("value", is_number=True)], rows) if rows else None
    # paths are for copying
    places = [Line(f"{label:<12}{path}", is_command=True) for label, path in _places(outcome)]
    terminal.show(Line(""))
    terminal.show(table, *places)


def _values(stage: str, outcome: Outcome) -> dict[str, float]:
    # Values of single steps and of the optimizer are in the log.
    hidden = tuple(f"{mode}/optimizer/" for mode in _MODES[stage])
    kept = {
        n: v
        for n, v in outcome.metrics.items()
        if not (n.endswith("/step") or "/step/dataloader" in n or n.startswith(hidden))
    }
    return dict(sorted(kept.items(), key=lambda item: (item[0].split("/")[0], "loss" not in item[0], item[0])))


def _places(outcome: Outcome) -> list[tuple[str, Any]]:
    folder = outcome.folder
    known = {*paths.OF_EVERY_RUN, paths.LOSSES, "hparams.yaml", paths.METRICS}
    places: list[tuple[str, Any]] = [("run", folder.path)]
    places += [("metrics", path) for path in [folder.metrics] if path.is_file()]
    of_loggers = [(kind, where) for kind, where in logger_places(outcome.trainer) if where != str(folder.path)]
    places += [("logger", f"{where} ({kind})") for kind, where in of_loggers]
    places += [("file", path) for path in sorted(folder.path.iterdir()) if path.is_file() and path.name not in known]
    places += [("arrays", _with_count(path)) for path in [folder.arrays] if path.is_dir()]
    places += [("predictions", _with_count(path)) for path in sorted(folder.predictions.glob("*")) if path.is_dir()]
    places += [("checkpoint", path) for path in sorted(folder.checkpoints.glob("*.ckpt"))]
    # No more than fits beside the values: a run may have hundreds of checkpoints.
    return places[:12]


def _with_count(folder: Path) -> str:
    count = sum(path.is_file() for path in folder.rglob("*"))
    return f"{folder} ({count} file{'s' * (count != 1)})"
