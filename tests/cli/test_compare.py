"""`lighter compare`, as a user types it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lighter.cli import cli
from tests.results.jobs import BASE, CONFIG, OURS, make_fits, make_sweep


@pytest.fixture
def root(own_place: Path) -> Path:
    make_fits(own_place / "outputs", "base", BASE)
    make_fits(own_place / "outputs", "ours", OURS, hour=11)
    return own_place / "outputs"


def lighter(*words: str, columns: int | None = 80) -> Result:
    return CliRunner().invoke(cli, ["compare", *words], env={"COLUMNS": str(columns) if columns else None})


def test_the_verdict_and_its_table(root: Path) -> None:
    done = lighter("base", "ours")
    lines = done.output.splitlines()
    assert done.exit_code == 0
    assert lines[0].startswith("`ours` is better than `base`: val/loss is lower by 0.098 (95% interval")
    assert max(map(len, lines)) <= 80
    words = [line.split() for line in lines]
    assert ["side", "n", "min", "val/loss", "to", "the", "best", "95%", "interval", "p", "better"] in words
    assert any(line[:5] == ["ours", "5", "0.092", "±", "0.024"] for line in words)
    assert any(line.startswith("Not covered, since held fixed: ") for line in lines)


def test_in_a_pipe_lines_are_whole(root: Path) -> None:
    lines = lighter("base", "ours", columns=None).output.splitlines()
    assert lines[0].endswith("5 seeds, paired).")
    assert max(map(len, lines)) > 100


def test_a_refusal_is_exit_code_2_with_all_reasons(root: Path) -> None:
    make_fits(
        root, "long", OURS, hour=12, config=CONFIG.replace("max_epochs: 3", "max_epochs: 9"), code={"digits": "5"}
    )
    refused = lighter("base", "long")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.splitlines() == [
        "these cannot be compared as they are:",
        "",
        "  code: `digits` changed between `base` and `long`",
        "  budget: `base` and `long` were trained with other limits: 3 epochs and 9 epochs",
        "",
        "To compare them all the same: --allow code,budget",
    ]
    allowed = lighter("base", "long", "--allow", "code,budget")
    assert allowed.exit_code == 0
    assert "Allowed: code: `digits` changed" in allowed.output
    assert lighter("base", "long", "--allow", "code", "--allow", "budget").output == allowed.output


def test_formats(root: Path) -> None:
    data = json.loads(lighter("base", "ours", "--json").output)
    assert data == json.loads(lighter("base", "ours", "--format", "json").output)
    assert data == json.loads(lighter("base", "ours", "--format", "json", "--json").output)
    assert [side["name"] for side in data["sides"]] == ["ours", "base"]
    rows = list(csv.DictReader(io.StringIO(lighter("base", "ours", "--format", "csv").output)))
    assert [row["side"] for row in rows] == ["ours", "base"]
    assert r"\begin{tabular}{lrrrrrr}" in lighter("base", "ours", "--format", "latex").output
    assert "| **ours** | 5 |" in lighter("base", "ours", "--format", "markdown").output
    assert "**8. Experiments compute resources" in lighter("base", "ours", "--checklist").output


def test_many_trials_fit_80_columns(root: Path) -> None:
    make_sweep(root, "search", [[value / (1 + trial) for value in BASE] for trial in range(12)])
    lines = lighter("last").output.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("trial ") for line in lines) == 12


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["base"], "`base` is one side; a comparison has at least two"),
        (["base", "nothing"], "no run under outputs is called `nothing`"),
        (["base", "ours", "--metric", "val/los"], "has the metric `val/los`. Did you mean `val/loss`?"),
        (["base", "ours", "--metric", "val/los/epoch"], "Did you mean `val/loss/epoch`?"),
        (["base", "ours", "--metric", ""], "`metric` is a name or several, and not ''"),
        (["base", "ours", "--allow", "dta"], "tuning, config, seeds, all. Did you mean `data`?"),
        (["base", "ours", "--rope", "-1", "--test", "bayes"], "is a number from 0 on, and not -1.0"),
        (["base", "ours", "--rope", "nan", "--test", "bayes"], "is a number from 0 on, and not nan"),
        (["base", "ours", "--rope", "0.1"], "is one of the Bayesian test alone: --test bayes"),
        (["base", "ours", "--json", "--checklist"], "--json and --checklist are two outputs; ask for one"),
        (["base", "ours", "--json", "--format", "csv"], "--format csv and --json are two outputs"),
        (["base", "ours", "--checklist", "--format", "latex"], "--format latex and --checklist are two outputs"),
        (["a=base", "a=ours"], "`a` is the name of 2 sides"),
        (["a=base+ours", "a=ours+base"], "`a` is the name of 2 sides"),
        (["a=base+ours"], "`a` is one side"),
        (["base", "ours", "--against", "x"], "`x` is none of the sides. There is: base, ours."),
        (["base", "ours", "--dir", "elsewhere"], "there is no run under elsewhere, so none is called `base`"),
    ],
)
def test_mistakes_are_messages(words: list[str], message: str, root: Path) -> None:
    done = lighter(*words)
    assert done.exit_code == 2
    assert message in done.stderr
