"""Compare sides by several metrics at once: a verdict for each, and one table as papers have it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lighter.display import terminal
from lighter.display.html import to_html
from lighter.display.markup import latex, markdown, to_csv
from lighter.display.table import Cell, Column, Line, Piece, Table
from lighter.errors import RunError
from lighter.results import views
from lighter.results.comparison import Comparison, Row, compare
from lighter.results.sides import Side
from lighter.results.testing import Test
from lighter.results.wording import mean_text, merged


@dataclass(frozen=True)
class MetricsComparison:
    """Sides compared by several metrics; `metrics` has the comparison by each.

    The p-values are corrected for all of them.
    """

    metrics: dict[str, Comparison]

    def __str__(self) -> str:
        return self.verdict

    @property
    def verdict(self) -> str:
        """The verdicts by all metrics, a sentence each."""
        return "\n".join(each.verdict for each in self.metrics.values())

    def _repr_html_(self) -> str:
        return to_html(self._pieces())

    def show(self) -> None:
        """Print the verdicts, the table, and what they do not cover."""
        terminal.show(*self._pieces())

    def markdown(self) -> str:
        return "\n".join([self.verdict, "", markdown(self._table()), "", *(f"- {note}" for note in self._notes())])

    def latex(self) -> str:
        """Return a `tabular` with the rules of booktabs; verdicts and footnotes are comments."""
        return latex(self._table(), [self.verdict, *self._notes()])

    def csv(self) -> str:
        rows = [[name, *row] for name, each in self.metrics.items() for row in views.csv_rows(each)]
        return to_csv(("metric", *views.CSV), rows)

    def checklist(self) -> str:
        """Return answers to the NeurIPS checklist's questions, for each metric."""
        return "\n\n".join(f"# {name}\n\n{each.checklist()}" for name, each in self.metrics.items())

    def public(self) -> dict[str, Any]:
        """Return the comparison as data for programs."""
        return {"verdict": self.verdict, "metrics": {name: each.public() for name, each in self.metrics.items()}}

    def _pieces(self) -> list[Piece]:
        verdicts = [Line(each.verdict, "bold") for each in self.metrics.values()]
        return [*verdicts, self._table(), *(Line(note, "dim") for note in self._notes())]

    def _table(self) -> Table:
        """Return a row for each side, in the order of the first metric, and a column for each metric."""
        heads = [f"{'max' if each.is_maximized else 'min'} {_short(name)}" for name, each in self.metrics.items()]
        columns = [Column("side", least=22), Column("n", is_number=True, rank=1)]
        columns += [Column(head, is_number=True, rank=2 * at) for at, head in enumerate(heads)]
        names = [row.side.name for row in next(iter(self.metrics.values())).rows]
        found = [{row.side.name: row for row in each.rows} for each in self.metrics.values()]
        rows: list[list[Cell | str]] = [
            [name, str(len(found[0][name].values)), *(_cell(of[name]) for of in found)] for name in names
        ]
        return Table(columns, rows)

    def _notes(self) -> list[str]:
        # the columns of single comparisons are not here
        footnotes = self._merged(
            lambda each: [note for note in views.footnotes(each) if not note.startswith("better: ")]
        )
        doubts = self._merged(lambda each: [f"Allowed: {doubt}" for doubt in each.doubts])
        rest = [*doubts, *self._merged(views.covered), *self._merged(lambda each: each.notes)]
        return [*footnotes, f"All p-values are corrected for {len(self.metrics)} metrics.", *rest]

    def _merged(self, lines: Callable[[Comparison], Sequence[str]]) -> list[str]:
        return merged({_short(name): lines(each) for name, each in self.metrics.items()})


def compare_metrics(
    sides: Sequence[Side],
    metrics: Sequence[str],
    *,
    allow: Sequence[str] = (),
    against: str | None = None,
    test: Test = "auto",
    region: float = 0.0,
) -> MetricsComparison:
    """Compare sides by several metrics.

    Raises:
        RunError: they cannot be compared as they are by one of them, or a metric is there twice.
    """
    found: dict[str, Comparison] = {}
    for metric in metrics:
        comparison = compare(
            sides, metric, allow=allow, against=against, test=test, region=region, metrics=len(metrics)
        )
        if comparison.metric in found:
            raise RunError(f"{comparison.metric} is named twice")
        found[comparison.metric] = comparison
    return MetricsComparison(found)


def _short(metric: str) -> str:
    return metric.removesuffix("/epoch")


def _cell(row: Row) -> Cell:
    return Cell(f"{mean_text(row.mean, row.half_width)}{views.TIE * row.is_tied}", "bold" * row.is_best)
