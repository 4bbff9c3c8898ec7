"""docs/10 is true: its commands run in their order, its scripts too, and all of its fragments are configs."""

from __future__ import annotations

import csv
import runpy
from pathlib import Path

import pytest

from tests import test_docs
from tests.test_docs import QUICKSTART, ROOT, blocks, run_command, run_console, write_files

PAGE = ROOT / "docs/10-experiments.md"
FRAGMENTS = [block for block in blocks(PAGE) if block.language == "yaml" and not block.file]
OPTUNA = ("method: tpe", "optuna.samplers")

desk = test_docs.desk


@pytest.mark.long
def test_commands_and_scripts(desk, capsys):
    write_files(QUICKSTART, desk)
    assert {"search.yaml", "asha.yaml", "folds.yaml"} <= set(write_files(PAGE, desk))
    consoles = [block for block in blocks(PAGE) if block.language == "console"]
    assert len(consoles) == 8
    for block in consoles:
        run_console(block)
    [predictions] = Path("outputs").glob("experiments/*/*-folds/predictions")
    check_out_of_fold(predictions / "predictions.csv")
    capsys.readouterr()
    runpy.run_path("experiment.py", run_name="__main__")
    best, *members = capsys.readouterr().out.splitlines()[-3:]
    assert best.startswith("{'model::optimizer::lr': 0.01} ")
    assert [line.split()[:3] for line in members] == [["0", "1", "0.001"], ["1", "1", "0.01"]]


def check_out_of_fold(path: Path) -> None:
    """All 1,200 samples of the training data, each once, in their order."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == [*range(1200)]
    assert {row["fold"] for row in rows} == {"0", "1", "2"}


@pytest.mark.parametrize("block", FRAGMENTS, ids=lambda block: f"line-{block.line}")
def test_fragments_are_checked(block, desk):
    if any(name in block.text for name in OPTUNA):
        pytest.importorskip("optuna")
    write_files(QUICKSTART, desk)
    Path("fragment.yaml").write_text(block.text, encoding="utf-8")
    assert run_command("lighter check digits.yaml fragment.yaml") == (0, "No problems.\n")
    code, output = run_command("lighter show digits.yaml fragment.yaml --trial 0")
    assert code == 0, output


def test_fragments_were_found():
    assert len(FRAGMENTS) >= 9
