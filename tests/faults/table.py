"""What a fault script tried, and how often it held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass
class Row:
    """One promise, tried many times."""

    promise: str
    tried: int = 0
    broken: list[str] = field(default_factory=list)

    def add(self, case: str, *, held: bool, why: str = "") -> None:
        """One more try."""
        self.tried += 1
        if not held:
            self.broken.append(f"{case}: {why}" if why else case)


class Results:
    """The rows of a script's table."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.rows: dict[str, Row] = {}

    def row(self, promise: str) -> Row:
        """The row of a promise; a new one if there is none yet."""
        return self.rows.setdefault(promise, Row(promise))

    @property
    def broken(self) -> list[str]:
        """All that did not hold."""
        return [f"{row.promise}: {case}" for row in self.rows.values() for case in row.broken]

    def show(self) -> None:
        """Print the table, and after it what did not hold."""
        table = Table(title=self.title, title_justify="left")
        table.add_column("promise")
        table.add_column("held", justify="right")
        for row in self.rows.values():
            table.add_row(row.promise, f"{row.tried - len(row.broken)} of {row.tried}")
        console = Console(width=120)
        console.print(table)
        for line in self.broken:
            console.print(f"broken: {line}", markup=False, highlight=False)


def main(run: Callable[[bool], Results]) -> int:
    """What a script does when it is called: the whole, or with `--short` what CI runs; returns the exit code."""
    import sys

    results = run("--short" in sys.argv[1:])
    results.show()
    return 1 if results.broken or not results.rows else 0
