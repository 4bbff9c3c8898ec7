"""`lighter check --probe`: one training step, and the shapes in it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lighter.cli.failures import show_failure
from lighter.config import read
from lighter.config.safe import SafeMode
from lighter.errors import ConfigError, SafeModeError

if TYPE_CHECKING:
    from lighter.engine.probe import Probe


_WIDTH = 160  # of a table that no terminal shows


def run_probe(inputs: Sequence[str], safe: SafeMode | None, *, traceback: bool = False) -> int:
    from pytorch_lightning import seed_everything

    from lighter.engine.probe import probe
    from lighter.engine.project import confined, importable
    from lighter.runs.log import logging_to

    config = read(inputs, safe)
    seed_everything(config.seed, workers=True, verbose=False)
    try:
        with confined(config), importable(config, Path.cwd()), logging_to(None):
            result = probe(config)
    except (ConfigError, SafeModeError) as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything
        return show_failure(error, whole=traceback)
    _print(result)
    return 0


def _print(result: Probe) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    table = Table(box=None, pad_edge=False)
    for column in ("module", "class", "input", "output"):
        table.add_column(column, overflow="fold")
    table.add_column("parameters", justify="right")
    for layer in result.layers:
        count = f"{layer.parameters:,}" if layer.parameters else ""
        table.add_row(layer.name, layer.kind, layer.inputs, layer.output, count)
    console.print(f"batch: {result.batch}\n", markup=False)
    console.print(table)
    where = "on the meta device: shapes, no values" if result.device == "meta" else "on the CPU"
    console.print(f"\nOne training step ran {where}. {result.parameters:,} parameters train.", markup=False)
    if result.untouched:
        console.print(f"No gradient reached: {', '.join(result.untouched)}", markup=False)
    if result.reason:
        console.print(f"Not on the meta device: {result.reason}", markup=False)
