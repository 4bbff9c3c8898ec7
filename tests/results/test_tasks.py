"""Comparisons over several tasks: the interquartile mean, its interval, and a test that holds for equal sides."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import lighter
from lighter.cli import cli
from lighter.errors import RunError
from lighter.results import interquartile
from lighter.results.tasks import TaskComparison
from tests.results.jobs import ACCURACY, BASE, CONFIG, OURS, make_fits

WORDS = ("ours=ours-a+ours-b", "base=base-a+base-b")
GENERATOR = np.random.default_rng(0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for hour, (name, values) in enumerate((("ours", OURS), ("base", BASE)), 10):
        make_fits(tmp_path, f"{name}-a", values, hour=hour)
        make_fits(tmp_path, f"{name}-b", [value - 0.3 for value in values], hour=hour + 10)
    return tmp_path


def compared(root: Path, *words: str) -> TaskComparison:
    comparison = lighter.compare(*(words or WORDS), metric=ACCURACY, root=root)
    assert isinstance(comparison, TaskComparison)
    return comparison


def test_the_better_side(root: Path) -> None:
    comparison = compared(root)
    sentence = (
        "`ours` is better than `base` over 2 tasks by the interquartile mean of val/metrics/accuracy: higher by 0.098"
    )
    assert comparison.verdict.startswith(sentence)
    ours, base = comparison.rows
    assert (ours.name, ours.runs, ours.is_best, base.is_tied) == ("ours", 10, True, False)
    assert ours.mean == pytest.approx(np.mean(sorted([*OURS, *(value - 0.3 for value in OURS)])[2:8]))
    assert base.probability_better == 0.0
    assert list(comparison.tasks) == ["ours-a", "ours-b"]
    assert comparison.tasks["ours-b"].verdict.startswith("`ours` is better than `base`: ")


def test_of_a_loss_low_is_better(root: Path) -> None:
    comparison = lighter.compare(*WORDS, metric="val/loss", root=root)
    assert "`ours` is better than `base` over 2 tasks by the interquartile mean of val/loss: lower by 0.098" in str(
        comparison
    )


def test_equal_sides_cannot_be_told_apart(root: Path) -> None:
    make_fits(root, "same-a", (0.91, 0.9, 0.93, 0.92, 0.88), hour=12)
    make_fits(root, "same-b", (0.61, 0.6, 0.63, 0.6, 0.59), hour=13)
    comparison = compared(root, *WORDS, "same=same-a+same-b")
    assert "and cannot be told apart from `same`" in comparison.verdict or "from `ours`" in comparison.verdict
    assert [row.is_tied for row in comparison.rows] == [False, True, False]
    assert "- † not distinguishable from the best." in comparison.markdown()


def test_formats(root: Path) -> None:
    comparison = compared(root)
    rows = list(csv.DictReader(io.StringIO(comparison.csv())))
    assert [(row["side"], row["tasks"], row["runs"]) for row in rows] == [("ours", "2", "10"), ("base", "2", "10")]
    data = json.loads(json.dumps(comparison.public(), allow_nan=False))
    assert list(data["tasks"]) == ["ours-a", "ours-b"]
    assert data["sides"][1]["against"]["p_adjusted"] < 0.05
    assert comparison.latex().count(r"\begin{tabular}") == 2
    assert comparison.markdown().count("\n| ---") == 2
    assert comparison._repr_html_().count("<table") == 2
    assert "# ours-b" in comparison.checklist()
    words = ["compare", *WORDS, "--dir", str(root), "--metric", ACCURACY]
    shown = CliRunner().invoke(cli, words, env={"COLUMNS": "80"}).output.splitlines()
    assert max(map(len, shown)) <= 80
    assert any(line.split()[:3] == ["ours-b", "0.608", "±"] for line in shown)


def test_notes_have_the_names_of_their_tasks(root: Path) -> None:
    make_fits(root, "ours-b", [0.5], hour=22, first=9, status="failed")
    make_fits(root, "base-b", [0.5], hour=23, first=9, status="failed")
    comparison = compared(root)
    note = "ours-b: 1 of 6 members of `ours` is not in it: 2026-11-22/22-00-00-ours-b: failed."
    assert note in comparison.public()["notes"]
    assert f"- {note}" in comparison.markdown()
    assert sum("These are values of the validation data" in each for each in comparison.notes) == 1


def test_what_is_refused(root: Path) -> None:
    with pytest.raises(RunError, match="same tasks in the same order: `ours` has 2, `base-a` has 1"):
        compared(root, "ours=ours-a+ours-b", "base-a")
    with pytest.raises(RunError, match="each with each, by one metric and one test: no --against"):
        lighter.compare(*WORDS, against="base", root=root)
    for words in (["a=ours-a+ours-b", "a=base-a+base-b"], ["a=ours-a+ours-b", "a=base-a"]):
        with pytest.raises(RunError, match="`a` is the name of 2 sides"):
            compared(root, *words)
    with pytest.raises(RunError, match="`a` is one side; a comparison has at least two"):
        compared(root, "a=ours-a+ours-b")
    with pytest.raises(RunError, match="the run 2026-11-22/10-00-00-ours-a is in two tasks of `a`"):
        compared(root, "a=ours-a+ours-a", "b=base-a+base-b")
    with pytest.raises(RunError, match="names each of them"):
        compared(root, "a=+", "b=+")
    make_fits(root, "few", BASE[:3], hour=14)
    with pytest.raises(RunError, match=r"as many members in each, three or more; `x` has 5 in ours-a, 3 in ours-b"):
        compared(root, "ours=ours-a+ours-b", "x=base-a+few")
    make_fits(root, "long", BASE, hour=15, config=CONFIG.replace("max_epochs: 3", "max_epochs: 9"))
    with pytest.raises(RunError, match="budget: `ours` and `x` were trained with other limits"):
        compared(root, "ours=ours-a+ours-b", "x=base-a+long")


@pytest.mark.parametrize(("runs", "tasks"), [(3, 3), (5, 2)])
def test_equal_sides_are_called_different_in_one_of_twenty(
    runs: int, tasks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interquartile, "RESAMPLES", 200)
    called, without_zero, repetitions = 0, 0, 150
    for _ in range(repetitions):
        means, spreads = GENERATOR.uniform(0.3, 0.9, tasks), GENERATOR.uniform(0.01, 0.05, tasks)
        one, other = (means + spreads * GENERATOR.normal(size=(runs, tasks)) for _ in range(2))
        called += interquartile.p_value(one, other) < 0.05
        low, high = interquartile.difference(one, other)[1]
        without_zero += low > 0 or high < 0
    most = repetitions * 0.05 + 3 * np.sqrt(repetitions * 0.05 * 0.95)
    assert called <= most
    assert without_zero <= most
