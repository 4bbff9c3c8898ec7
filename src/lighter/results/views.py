"""A comparison as pieces to draw: verdict, table, footnotes, and what the verdict does not cover."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lighter.display.markup import latex, markdown, to_csv
from lighter.display.table import Cell, Column, Line, Piece, Table
from lighter.results.wording import difference_text, interval_text, mean_text

if TYPE_CHECKING:
    from lighter.results.comparison import Comparison, Row
    from lighter.results.testing import Against

TIE = "†"
ARE_TIED = f"{TIE} not distinguishable from the best."
NONE = "-"
_WIDTH_OF_NAME, _MOST_ROWS = 22, 20
CSV = (
    *(
        "side",
        "members",
        "mean",
        "half_width",
        "is_best",
        "is_tied",
        "reference",
        "difference",
        "low",
        "high",
        "p_value",
    ),
    *("p_adjusted", "probability_better", "pairing", "pairs", "test", "method", "more_members_needed"),
)


def pieces(comparison: Comparison) -> list[Piece]:
    """Return all of a comparison, for a terminal or a notebook."""
    found: list[Piece] = [Line(comparison.verdict, "bold"), table(comparison, _MOST_ROWS)]
    rest = len(comparison.rows) - _MOST_ROWS
    found += [Line(f"{rest} more: --format csv has all", "dim", is_close=True)] if rest > 0 else []
    found += [Line(note, "dim") for note in footnotes(comparison)]
    found += [Line("")] if (comparison.doubts or comparison.sampled or comparison.notes) else []
    found += [Line(f"Allowed: {doubt}", "warning") for doubt in comparison.doubts]
    found += [Line(text) for text in covered(comparison)]
    return found + [Line(f"- {note}") for note in comparison.notes]


def table(comparison: Comparison, most: int | None = None) -> Table:
    """Return the table that the verdict stands on: a row for each side, the best first; at most so many."""
    name = comparison.metric.removesuffix("/epoch")
    shown = [row.against for row in comparison.rows if row.against is not None]
    is_to_best = any(row.is_best and row.against is None for row in comparison.rows)
    reference = "the best" if is_to_best else shown[0].reference
    correction = comparison.correction.partition("'")[0]  # Holm, or Bonferroni
    columns = [
        Column("side", least=_WIDTH_OF_NAME),
        Column("n", is_number=True, rank=1),
        Column(f"{'max' if comparison.is_maximized else 'min'} {name}", is_number=True),
        Column(f"to {reference}", is_number=True),
        Column("95% interval", is_number=True),
        Column("p" if len(shown) < 2 or not correction else f"p ({correction})", is_number=True),
        Column("better", is_number=True, rank=2),
    ]
    return Table(columns, [_cells(row) for row in comparison.rows[:most]])


def _cells(row: Row) -> list[Cell | str]:
    style = "bold" if row.is_best else ""
    mean = mean_text(row.mean, row.half_width)
    first: list[Cell | str] = [Cell(row.side.name, style), str(len(row.values)), Cell(mean + TIE * row.is_tied, style)]
    if row.against is None:
        return [*first, "", "", "", ""]
    return [*first, *_numbers(row.against)]


def _numbers(against: Against) -> list[str]:
    p_value = NONE if against.p_adjusted is None else short_p(against.p_adjusted)
    chance = against.probability_better
    better = NONE if isinstance(chance, str) else f"{chance:.0%}"
    return [difference_text(against), interval_text(against) or NONE, p_value, better]


def short_p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.2g}"


def footnotes(comparison: Comparison) -> list[str]:
    """Return what the table's columns are, by their methods' names; and why a number is not there."""
    rows = comparison.rows
    shown = [row.against for row in rows if row.against is not None]
    has_folds = any(each.fold is not None for row in rows for each in row.side.runs)
    narrow = "; over folds it is too narrow, as they share data" if has_folds else ""
    notes = [f"± half of the mean's 95% interval (Student's t){narrow}."] if any(row.half_width for row in rows) else []
    methods = list(dict.fromkeys(each.method for each in shown if not isinstance(each.interval, str)))
    tests = list(dict.fromkeys(each.test for each in shown if each.p_adjusted is not None))
    notes += [f"95% interval of the difference: {'; '.join(methods)}."] if methods else []
    notes += [f"p: {'; '.join(tests)}."] if tests else []
    if any(not isinstance(each.probability_better, str) for each in shown):
        notes.append("better: the probability that a new member of the side beats a new one of the reference.")
    if any(row.is_tied for row in rows):
        notes.append(ARE_TIED)
    notes += [f"{row.side.name}, {row.against.also}" for row in rows if row.against is not None and row.against.also]
    undecided = [each.more_members_needed for each in shown if not each.is_decided]
    for reason in dict.fromkeys(each for each in undecided if isinstance(each, str)):
        notes.append(f"How many more members would decide it: {reason}")
    for name, key in (("interval", "interval"), ("p", "p_value")):
        reasons = dict.fromkeys(value for each in shown if isinstance(value := getattr(each, key), str))
        notes += [f"No {name}: {reason}" for reason in reasons if f"No interval: {reason}" not in notes]
    return notes


def covered(comparison: Comparison) -> list[str]:
    """Return which sources of variance the verdict covers, and which it does not."""
    sampled = [f"Covered: {', '.join(comparison.sampled)}."] if comparison.sampled else []
    fixed = [f"Not covered, since held fixed: {', '.join(comparison.fixed)}."] if comparison.fixed else []
    return sampled + fixed


def to_markdown(comparison: Comparison) -> str:
    notes = _all_notes(comparison)
    return "\n".join([comparison.verdict, "", markdown(table(comparison)), "", *(f"- {note}" for note in notes)])


def to_latex(comparison: Comparison) -> str:
    return latex(table(comparison), [comparison.verdict, *_all_notes(comparison)])


def _all_notes(comparison: Comparison) -> list[str]:
    allowed = [f"Allowed: {doubt}" for doubt in comparison.doubts]
    return [*footnotes(comparison), *covered(comparison), *allowed, *comparison.notes]


def csv(comparison: Comparison) -> str:
    return to_csv(CSV, csv_rows(comparison))


def csv_rows(comparison: Comparison) -> list[Sequence[object]]:
    return [_row(row) for row in comparison.rows]


def _row(row: Row) -> Sequence[object]:
    first = [row.side.name, len(row.values), row.mean, row.half_width, row.is_best, row.is_tied]
    against = row.against
    if against is None:
        return [*first, *[None] * (len(CSV) - len(first))]
    low, high = (None, None) if isinstance(against.interval, str) else against.interval
    tests = [
        _known(against.p_value),
        against.p_adjusted,
        _known(against.probability_better),
        against.pairing,
        against.pairs,
    ]
    needed = _known(against.more_members_needed)
    return [*first, against.reference, against.difference, low, high, *tests, against.test, against.method, needed]


def _known(value: float | str | None) -> float | None:
    return None if isinstance(value, str) else value
