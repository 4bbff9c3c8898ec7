"""`lighter summary`: parameters, FLOPs and memory of each layer, on a batch of the config's own data."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from lighter.cli.json_output import give
from lighter.cli.options import as_json, inputs, with_traceback

if TYPE_CHECKING:
    from lighter.engine.layers import Layer, Summary

_LEAST, _LABEL = 12, 13  # columns
_UNITS = ("", "K", "M", "G", "T", "P")


@click.command()
@inputs
@click.option("--depth", default=0, show_default="all", help="How deep to go into layers within layers.")
@click.option("--memory", is_flag=True, help="Instead: what a step takes per process, of the network and in all.")
@with_traceback
@as_json
def summary(inputs: tuple[str, ...], depth: int, memory: bool, traceback: bool, as_json: bool) -> None:
    """Show parameters, FLOPs and memory per layer, from one training step. Nothing is written.

    With --memory, the step runs on tensors without memory where it can, so that the largest network can be asked for;
    and with a section `parallel`, as one of its processes.

    INPUT: config files, and overrides (key::path=value).
    """
    from lighter.cli.stage import exit_code

    def summarize_and_show() -> None:
        from lighter.config import read

        if memory:
            from lighter.cli.memory import show_memory

            show_memory(read(inputs), as_json=as_json)
            return
        from lighter.engine.layers import summarize

        result = summarize(read(inputs))
        if as_json:
            give("summary/1", _as_data(result, depth))
        else:
            _show(result, depth)

    raise SystemExit(exit_code(summarize_and_show, traceback=traceback))


def _as_data(result: Summary, depth: int) -> dict[str, Any]:
    layers = [asdict(layer) for layer in result.layers if not depth or layer.depth <= depth]
    return {"batch": result.batch, "device": result.device, "total": asdict(result.total), "layers": layers}


def _show(result: Summary, depth: int) -> None:
    from lighter.display import terminal
    from lighter.display.table import Column, Line, Table

    columns = [Column("layer", least=_LEAST), Column("type", least=_LEAST, rank=2), Column("output", least=_LEAST)]
    # what is left out first, where a terminal is narrow
    numbers = {"parameters": 0, "trainable": 3, "FLOPs": 0, "weights": 4, "activations": 1}
    columns += [Column(name, is_number=True, rank=rank) for name, rank in numbers.items()]
    shown = [layer for layer in result.layers if (layer.calls or layer.parameters)]
    rows = [_row(layer) for layer in shown if not depth or layer.depth <= depth]
    batch = f"{'batch':<{_LABEL}}{_shapes(result.batch)} on {result.device}"
    totals = [f"{label:<{_LABEL}}{text}" for label, text in _totals(result)]
    terminal.show(Line(batch), Table(columns, rows), *map(Line, totals))


def _totals(result: Summary) -> list[tuple[str, str]]:
    total = result.total
    holders = {layer.name.rpartition(".")[0] for layer in result.layers}
    leaves = sum(layer.output_bytes for layer in result.layers if layer.name not in holders)
    return [
        ("parameters", f"{total.parameters:,}, {total.trainable:,} of them train"),
        ("FLOPs", f"{_short(total.flops)} forward; a training step does about three times as many"),
        ("weights", f"{in_bytes(total.parameter_bytes)} with buffers"),
        ("activations", f"{in_bytes(leaves)} returned by the innermost layers"),
    ]


def _row(layer: Layer) -> tuple[str, ...]:
    name = "  " * (layer.depth - 1) + layer.name.rpartition(".")[2]
    called = f" x{layer.calls}" if layer.calls > 1 else ""
    numbers: tuple[Any, ...] = (f"{layer.parameters:,}", f"{layer.trainable:,}")
    if not layer.calls:
        return name, layer.kind, "not called", *numbers, "", in_bytes(layer.parameter_bytes), ""
    return (
        name,
        layer.kind,
        _shapes(layer.output) + called,
        *numbers,
        _short(layer.flops),
        in_bytes(layer.parameter_bytes),
        in_bytes(layer.output_bytes),
    )


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, shape)) or "scalar" for shape in shapes) or "no tensor"


def _short(number: float) -> str:
    """Write three digits and a unit: 12.3 M."""
    unit = 0
    while number >= 1000 and unit < len(_UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return f"{number:.3g} {_UNITS[unit]}".strip()


def in_bytes(number: float) -> str:
    """Write a number of bytes with three digits and a unit."""
    return f"{_short(number)}B" if number >= 1000 else f"{number:.0f} B"
