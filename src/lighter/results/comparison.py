"""Compare sides by a metric: the verdict in a sentence, the table that it stands on, and what it does not cover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lighter.config.problems import nearest
from lighter.display import terminal
from lighter.display.html import to_html
from lighter.errors import RunError
from lighter.experiments.intervals import estimate
from lighter.results import views
from lighter.results.doubts import doubts_of, notes_of, refuse
from lighter.results.scores import chosen_metric, scores, share_of_folds
from lighter.results.sides import Side
from lighter.results.testing import Against, Method, Test, Tested
from lighter.results.variance import sources
from lighter.results.wording import notes, verdict

if TYPE_CHECKING:
    from lighter.results.statistics.scores import Scores


@dataclass(frozen=True)
class Row:
    """A side with its values: one line of the table.

    Attributes:
        values: the metric of each member, in the order of `side.runs`.
        half_width: of the 95% interval of the mean; None of one value.
        is_best: of the sides, the one with the best mean; none if a test calls that one worse than another.
        is_tied: tested against the best, and not distinguishable from it after Holm's correction. Never where the
            reference is another side, of which alone a test says something.
        against: the comparison with the reference; None of the reference itself.
    """

    side: Side
    values: tuple[float, ...]
    mean: float
    half_width: float | None
    is_best: bool
    is_tied: bool
    against: Against | None


@dataclass(frozen=True)
class Comparison:
    """Sides compared by one metric.

    Attributes:
        verdict: one sentence: which is better, and how sure that is; or why nothing can be said.
        rows: the sides, the best first.
        doubts: differences between the sides that would have refused the comparison, and were allowed.
        notes: what the verdict does not cover.
        sampled: the sources of variance that the members sample: initialisation, order, augmentation, split.
        fixed: those that were held fixed, so that the verdict says nothing about them.
        correction: of the p-values for several comparisons.
    """

    metric: str
    is_maximized: bool
    verdict: str
    rows: tuple[Row, ...]
    doubts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sampled: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    correction: str = ""

    def __str__(self) -> str:
        return self.verdict

    def _repr_html_(self) -> str:
        return to_html(views.pieces(self))

    def show(self) -> None:
        """Print the verdict, its table, and what it does not cover."""
        terminal.show(*views.pieces(self))

    def markdown(self) -> str:
        return views.to_markdown(self)

    def latex(self) -> str:
        """Return a `tabular` with the rules of booktabs; verdict and footnotes are comments."""
        return views.to_latex(self)

    def checklist(self) -> str:
        """Return answers to the NeurIPS checklist's questions on error bars and compute, as Markdown."""
        from lighter.results.checklist import checklist

        return checklist(self)

    def csv(self) -> str:
        return views.csv(self)

    def public(self) -> dict[str, Any]:
        """Return the comparison as data for programs."""
        return {
            "metric": self.metric,
            "mode": "max" if self.is_maximized else "min",
            "verdict": self.verdict,
            "sides": [_public(row) for row in self.rows],
            "correction": self.correction,
            "allowed": list(self.doubts),
            "notes": list(self.notes),
            "variance": {"sampled": list(self.sampled), "fixed": list(self.fixed)},
        }


def compare(
    sides: Sequence[Side],
    metric: str | None = None,
    *,
    allow: Sequence[str] = (),
    against: str | None = None,
    test: Test = "auto",
    region: float = 0.0,
    metrics: int = 1,
) -> Comparison:
    """Compare sides by a metric.

    Args:
        metric: by default the objective of their experiments, or what `lighter runs list` shows first.
        allow: kinds of doubts for which a comparison is not refused: see `doubts.py`; `all` for all of them.
        against: the name of the side with which the others are compared, if that was known before the results. By
            default each side is compared with each, as the best one is known by its results alone.
        test: `auto` for the test that belongs to the interval; `permutation` in its place; `bayes` or `aso` beside it.
        region: for `bayes`, a difference of at most this much does not matter in practice.
        metrics: how many metrics they are compared by, which the p-values are corrected for.

    Raises:
        RunError: they cannot be compared as they are; the message says why, and how to have it all the same.
    """
    metric, is_maximized = chosen_metric(sides, metric)
    allowed = refuse(doubts_of(sides, metric), allow)
    scored = [scores(side, metric, is_maximized=is_maximized) for side in sides]
    order = sorted(range(len(sides)), key=lambda at: scored[at].values.mean() * (-1 if is_maximized else 1))
    reference = order[0] if against is None else _place(sides, against)
    method = Method(is_maximized, share_of_folds(sides), test, region, metrics)
    tested = method.tested(scored, reference, with_all=against is None)
    best = None if _is_beaten(order[0], tested, is_maximized=is_maximized) else order[0]
    rows = tuple(
        _row(sides[at], scored[at], tested.against.get(at), is_best=at == best, is_to_best=reference == best)
        for at in order
    )
    sampled, fixed = sources(sides, metric, by_samples=tested.by_samples)
    name = metric.removesuffix("/epoch")
    sentence = verdict(rows, name, is_maximized=is_maximized, reference=against, correction=tested.correction)
    remarks = (*notes(rows, metric), *notes_of(sides, metric))
    doubts = tuple(f"{doubt.kind}: {doubt.text}" for doubt in allowed)
    covered = tuple(sampled), tuple(fixed)
    return Comparison(metric, is_maximized, sentence, rows, doubts, remarks, *covered, tested.correction)


def _place(sides: Sequence[Side], name: str) -> int:
    names = [side.name for side in sides]
    if name not in names:
        raise RunError(f"`{name}` is none of the sides. {nearest(name, names)}")
    return names.index(name)


def _is_beaten(best: int, tested: Tested, *, is_maximized: bool) -> bool:
    """Return True if a test, which is of what is paired alone, calls the side of the best mean worse than another."""
    outcomes = {at: against.outcome(is_maximized=is_maximized) for at, against in tested.against.items()}
    return outcomes[best] == "worse" if best in outcomes else "better" in outcomes.values()


def _row(side: Side, scored: Scores, against: Against | None, *, is_best: bool, is_to_best: bool) -> Row:
    mean = estimate(scored.values.tolist())
    is_tied = is_to_best and against is not None and against.is_tested and not against.is_decided
    return Row(side, tuple(scored.values.tolist()), mean.mean, mean.half_width, is_best, is_tied, against)


def _public(row: Row) -> dict[str, Any]:
    side = row.side
    return {
        "name": side.name,
        "runs": [str(each.run.folder.path) for each in side.runs],
        "seeds": [each.seed for each in side.runs],
        "folds": [each.fold for each in side.runs],
        "values": list(row.values),
        "left_out": list(side.left_out),
        "mean": row.mean,
        "half_width": row.half_width,
        "is_best": row.is_best,
        "is_tied": row.is_tied,
        "against": row.against.public() if row.against is not None else None,
    }
