"""`lighter summary`: parameters, FLOPs and memory of each layer, on a batch of the config's own data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lighter.cli.options import inputs, with_traceback

if TYPE_CHECKING:
    from lighter.engine.layers import Layer, Summary

_WIDTH = 200
_UNITS = ("", "K", "M", "G", "T", "P")


@click.command()
@inputs
@click.option("--depth", default=0, show_default="all", help="How deep to go into layers within layers.")
@with_traceback
def summary(inputs: tuple[str, ...], depth: int, traceback: bool) -> None:
    """Show parameters, FLOPs and memory per layer, from one training step. Nothing is written.

    INPUT: config files, and overrides (key::path=value).
    """
    from lighter.cli.stage import exit_code

    def summarize_and_show() -> None:
        from lighter.config import read
        from lighter.engine.layers import summarize

        _show(summarize(read(inputs)), depth)

    raise SystemExit(exit_code(summarize_and_show, traceback=traceback))


def _show(result: Summary, depth: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("layer", "type", "output"):
        table.add_column(title, no_wrap=True)
    for title in ("parameters", "trainable", "FLOPs", "weights", "activations"):
        table.add_column(title, justify="right", no_wrap=True)
    for layer in result.layers:
        if (layer.calls or layer.parameters) and (not depth or layer.depth <= depth):
            table.add_row(*_row(layer))
    total = result.total
    holders = {layer.name.rpartition(".")[0] for layer in result.layers}
    leaves = sum(layer.output_bytes for layer in result.layers if layer.name not in holders)
    # A wide table is cut by the terminal, not by us.
    console = Console(width=_WIDTH, highlight=False)
    console.print(f"batch       {_shapes(result.batch)} on {result.device}\n")
    console.print(table)
    console.print()
    for label, text in (
        ("parameters", f"{total.parameters:,}, {total.trainable:,} of them train"),
        ("FLOPs", f"{_short(total.flops)} forward; a training step does about three times as many"),
        ("weights", f"{_bytes(total.parameter_bytes)} with buffers"),
        ("activations", f"{_bytes(leaves)} returned by the innermost layers"),
    ):
        console.print(f"{label:<12}{text}")


def _row(layer: Layer) -> tuple[str, ...]:
    name = "  " * (layer.depth - 1) + layer.name.rpartition(".")[2]
    called = f" x{layer.calls}" if layer.calls > 1 else ""
    numbers: tuple[Any, ...] = (f"{layer.parameters:,}", f"{layer.trainable:,}")
    if not layer.calls:
        return name, layer.kind, "not called", *numbers, "", _bytes(layer.parameter_bytes), ""
    return (
        name,
        layer.kind,
        _shapes(layer.output) + called,
        *numbers,
        _short(layer.flops),
        _bytes(layer.parameter_bytes),
        _bytes(layer.output_bytes),
    )


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, shape)) or "scalar" for shape in shapes) or "no tensor"


def _short(number: float) -> str:
    """Write three digits and a unit: 12.3 M."""
    unit = 0
    while number >= 1000 and unit < len(_UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return f"{number:.3g} {_UNITS[unit]}".strip()


def _bytes(number: float) -> str:
    return f"{_short(number)}B" if number >= 1000 else f"{number:.0f} B"
