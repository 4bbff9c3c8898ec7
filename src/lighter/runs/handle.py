"""Read a run in Python: its config, metrics, curves and record."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from lighter.config.load import load
from lighter.files.run_folder import OUTPUTS
from lighter.runs import read
from lighter.runs.curves import Curve, curves_of
from lighter.runs.select import find_run

Row = dict[str, float]


class Run:
    """A run, as its folder is when it is first read; a new handle reads it anew.

    Args:
        path: its folder, an id, the beginning of one, a name, or `last`.
        root: where runs are, for those that are not given by a path.

    Example:
        ```python
        run = lighter.Run("last")
        run.metrics["val/loss/epoch"]
        pandas.DataFrame(run.history())
        lighter.build(run.config)
        ```

    Raises:
        RunError: there is no such run, or its record cannot be read.
    """

    def __init__(self, path: str | Path, root: str | Path = OUTPUTS) -> None:
        self._run = read.read_run(find_run(path, Path(root)).path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def _repr_html_(self) -> str:
        return self._run._repr_html_()

    @property
    def path(self) -> Path:
        return self._run.folder.path

    @property
    def id(self) -> str:
        """For example `2026-11-22/14-03-55-digits`."""
        return self._run.id

    @property
    def status(self) -> str:
        """`running`, `finished`, `failed`, `interrupted`, `paused` or `lost`."""
        return self._run.status

    @property
    def tags(self) -> tuple[str, ...]:
        return self._run.tags

    @property
    def record(self) -> dict[str, Any]:
        """The record: command, code, data, hardware, outcome, as `run.json` has it."""
        return self._run.facts

    @property
    def metrics(self) -> dict[str, float]:
        """The last value of each metric."""
        return self._run.metrics

    @cached_property
    def config(self) -> dict[str, Any]:
        """The merged config, as an input of `Runner` and `build`.

        Raises:
            ConfigError: it cannot be read.
        """
        plain: dict[str, Any] = load([self._run.folder.config]).plain()
        return plain

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """All logged values by their names, each with `steps` and `values`."""
        return {curve.name: curve for curve in curves_of(self._run)}

    def history(self) -> list[Row]:
        """Return a row for each logged step: `step`, and the values that were logged there."""
        rows: dict[int, Row] = {}
        for curve in self.curves.values():
            for step, value in zip(curve.steps, curve.values, strict=True):
                rows.setdefault(step, {"step": step})[curve.name] = value
        return [rows[step] for step in sorted(rows)]
