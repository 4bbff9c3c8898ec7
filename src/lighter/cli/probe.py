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


_LEAST = 12  # columns


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
    from lighter.display import terminal
    from lighter.display.table import Column, Line, Table

    columns = [
        Column("module", least=_LEAST),
        Column("class", least=_LEAST, rank=1),
        Column("input", least=_LEAST),
        Column("output", least=_LEAST),
        Column("parameters", is_number=True),
    ]
    rows = [
        (layer.name, layer.kind, layer.inputs, layer.output, f"{layer.parameters:,}" if layer.parameters else "")
        for layer in result.layers
    ]
    where = "on the meta device: shapes, no values" if result.device == "meta" else "on the CPU"
    lines = [f"One training step ran {where}. {result.parameters:,} parameters train."]
    lines += [f"No gradient reached: {', '.join(result.untouched)}"] if result.untouched else []
    lines += [f"Not on the meta device: {result.reason}"] if result.reason else []
    terminal.show(Line(f"batch: {result.batch}"), Table(columns, rows), *map(Line, lines))
