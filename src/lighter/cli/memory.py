"""`lighter summary --memory`: what a training step takes per process, before anything is started."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lighter.cli.json_output import give
from lighter.cli.summary import in_bytes

if TYPE_CHECKING:
    from lighter.config import Config

_TEXTS = {
    "parameters": "",
    "buffers": "",
    "gradients": "",
    "optimizer": "its state",
    "batch": "",
    "activations": "of the forward pass, and what both passes compute with",
    "peak": "all of these at the moment of a step when they take most",
}


def show_memory(config: Config, *, as_json: bool) -> None:
    """Estimate and show what a step takes."""
    from pytorch_lightning import seed_everything

    from lighter.display import terminal
    from lighter.display.table import Column, Line, Table
    from lighter.engine.memory import estimate_memory
    from lighter.engine.project import importable

    seed_everything(config.seed, workers=True, verbose=False)
    with importable(config, Path.cwd()):
        memory = estimate_memory(config)
    sizes = {**asdict(memory), "peak": memory.peak}
    if as_json:
        give("summary.memory/1", sizes)
        return
    rows = [(kind, in_bytes(sizes[kind]), text) for kind, text in _TEXTS.items() if sizes[kind]]
    terminal.show(Table([Column("per process"), Column("bytes", is_number=True), Column("")], rows))
    if memory.reason:
        terminal.show(Line(f"A real step was made: {memory.reason}"))
