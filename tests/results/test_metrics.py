"""Comparisons by several metrics: one table, a verdict for each, p-values corrected for all."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import lighter
from lighter.cli import cli
from lighter.errors import RunError
from lighter.results.metrics import MetricsComparison
from tests.results.jobs import ACCURACY, BASE, LOSS, OURS, make_fits

BOTH = ["val/metrics/accuracy", "val/loss"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_fits(tmp_path, "base", BASE)
    make_fits(tmp_path, "ours", OURS, hour=11)
    return tmp_path


def compared(root: Path, *metrics: str, **options: object) -> MetricsComparison:
    comparison = lighter.compare("base", "ours", metric=metrics or BOTH, root=root, **options)  # type: ignore[arg-type]
    assert isinstance(comparison, MetricsComparison)
    return comparison


def test_a_verdict_for_each_and_one_table(root: Path) -> None:
    comparison = compared(root)
    first, second = comparison.verdict.splitlines()
    assert first.startswith("`ours` is better than `base`: val/metrics/accuracy is higher by 0.098 (95%")
    assert second.startswith("`ours` is better than `base`: val/loss is lower by 0.098 (95%")
    assert list(comparison.metrics) == [ACCURACY, LOSS]
    assert "| ours | 5 | **0.908 ± 0.024** | **0.092 ± 0.024** |" in comparison.markdown()
    assert "- All p-values are corrected for 2 metrics." in comparison.markdown()
    assert str(comparison) == comparison.verdict


def test_p_values_are_corrected_for_all_metrics(root: Path) -> None:
    together = compared(root).metrics[ACCURACY].rows[1].against
    alone = lighter.compare("base", "ours", metric=ACCURACY, root=root).rows[1].against  # type: ignore[union-attr]
    assert together is not None
    assert together.p_adjusted == pytest.approx(2 * alone.p_adjusted)  # type: ignore[union-attr, operator, index]


def test_formats(root: Path) -> None:
    comparison = compared(root)
    rows = list(csv.DictReader(io.StringIO(comparison.csv())))
    assert [(row["metric"], row["side"]) for row in rows] == [
        (ACCURACY, "ours"),
        (ACCURACY, "base"),
        (LOSS, "ours"),
        (LOSS, "base"),
    ]
    data = json.loads(json.dumps(comparison.public(), allow_nan=False))
    assert list(data["metrics"]) == [ACCURACY, LOSS]
    assert comparison.latex().count(r"\textbf{") == 2
    assert comparison._repr_html_().count("<table") == 1
    assert f"# {LOSS}" in comparison.checklist()


def test_other_tests_have_their_region(root: Path) -> None:
    notes = compared(root, test="bayes", region=0.2).markdown()
    assert "100.0% that they differ by no more than 0.2" in notes


def test_a_note_of_one_metric_has_its_name(root: Path) -> None:
    make_fits(root, "x", BASE, hour=12, metrics={"val/a": 0.5, "val/b": 0.25})
    make_fits(root, "y", BASE, hour=13, metrics={"val/a": 0.5, "val/b": 0.5})
    comparison = lighter.compare("x", "y", metric=("val/a", "val/b"), root=root)
    assert "- val/b: No interval: All differences are equal: " in comparison.markdown()
    assert "- val/a: No interval: All differences are 0: both sides may be the same runs" in comparison.markdown()


def test_on_the_command_line(root: Path) -> None:
    words = ["compare", "base", "ours", "--dir", str(root), *(word for name in BOTH for word in ("--metric", name))]
    lines = CliRunner().invoke(cli, words, env={"COLUMNS": "80"}).output.splitlines()
    assert max(map(len, lines)) <= 80
    assert ["ours", "5", "0.908", "±", "0.024", "0.092", "±", "0.024"] in [line.split() for line in lines]


def test_what_is_refused(root: Path) -> None:
    with pytest.raises(RunError, match="val/loss/epoch is named twice"):
        compared(root, "val/loss", "val/loss/epoch")
    with pytest.raises(RunError, match="metrics of fits and of tests are compared one after the other"):
        compared(root, "val/loss", "test/loss")
    with pytest.raises(RunError, match="none of these runs has the metric `val/x`"):
        compared(root, "val/loss", "val/x")
