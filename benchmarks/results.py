"""RESULTS.md: a section for each benchmark, each written by its own script and left alone by the others."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import quantiles

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "RESULTS.md"
README = Path(__file__).parents[1] / "README.md"
HEAD = "# Benchmarks\n\nEach section is written by the command that it names.\n"
PACKAGES = ("torch", "pytorch-lightning", "torchmetrics", "lighter")

Rows = Sequence[Sequence[str]]


def report(title: str, columns: Sequence[str], rows: Rows, *, before: str, after: str) -> None:
    """Print a table and put it into RESULTS.md.

    Args:
        title: the section's heading; a section of this name is replaced.
        columns: the table's heads; the first column is text, the others are numbers.
        rows: its rows.
        before: what was done.
        after: how to read it.
    """
    table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(width=200)  # also into a file
    console.print(table)
    console.print(f"{after}\n{machine()}", highlight=False, soft_wrap=True)
    section = f"## {title}\n\n{before}\n\n{as_markdown(columns, rows)}\n\n{after}\n\n{machine()}\n"
    RESULTS.write_text(with_section(RESULTS.read_text() if RESULTS.exists() else HEAD, title, section))


def show_in_readme(columns: Sequence[str], rows: Rows) -> None:
    """Put a table between the README's marks for it."""
    start, end = "<!-- benchmark:start -->", "<!-- benchmark:end -->"
    head, rest = README.read_text().split(start)
    README.write_text(f"{head}{start}\n{as_markdown(columns, rows)}\n{end}{rest.partition(end)[2]}")


def middle_half(values: Sequence[float]) -> tuple[float, float]:
    """The quarter points: half of the values lie between them."""
    low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
    return low, high


def with_section(text: str, title: str, section: str) -> str:
    """The text with this section in the place of the one with this title, or at the end."""
    head, *sections = text.split("\n## ")
    kept = {part.partition("\n")[0]: part.rstrip() for part in sections}
    kept[title] = section.removeprefix("## ").rstrip()
    return "\n\n## ".join([head.rstrip(), *kept.values()]) + "\n"


def as_markdown(columns: Sequence[str], rows: Rows) -> str:
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns, rule, *rows))


def machine() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"Measured on {date.today()}: {cpu_model()}, {os.cpu_count()} cores, {platform.system()},"
        f" Python {platform.python_version()}, {versions}."
    )


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
