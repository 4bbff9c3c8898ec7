"""`lighter runs`, as a user types it."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lighter.cli import cli
from tests.run.jobs import make_run, make_runs

FIRST, SECOND = "2026-01-02/10-00-00-digits", "2026-01-03/10-00-00-digits"


@pytest.fixture
def root(own_place: Path) -> Path:
    make_run(own_place / "outputs", FIRST, metrics={"val/loss/epoch": 0.25})
    make_run(own_place / "outputs", SECOND, status="failed", error={"type": "ValueError", "message": "bad"})
    return own_place / "outputs"


def lighter(*words: str, **kwargs: Any) -> Result:
    return CliRunner().invoke(cli, ["runs", *words], env={"COLUMNS": "140"}, **kwargs)


def test_list(root: Path) -> None:
    lines = lighter("list").output.splitlines()
    assert lines[0].split() == ["run", "stage", "status", "time", "val/loss"]
    assert lines[1].split() == [SECOND, "fit", "failed", "1.5s", "0.5"]
    assert [row["id"] for row in json.loads(lighter("list", "--json", "--sort", "val/loss/epoch").output)] == [
        FIRST,
        SECOND,
    ]
    assert "1 more: --limit 0 shows all" in lighter("list", "--limit", "1").output
    assert lighter("list", "--name", "x").output == "There is no such run under outputs.\n"


def test_show(root: Path) -> None:
    (root / SECOND / "metrics.csv").write_text("epoch,step,val/loss/epoch\n0,4,3.0\n1,9,1.0\n")
    shown = lighter("show", "last").output
    assert ["status", "failed"] in [line.split() for line in shown.splitlines()]
    assert "val/loss/epoch  3      █▁  1     1       3" in shown
    assert "ValueError: bad" in shown
    facts = json.loads(lighter("show", FIRST, "--json").output)
    assert (facts["status"], facts["tags"]) == ("finished", [])


def test_diff_and_best(root: Path) -> None:
    shown = lighter("diff", FIRST, "last").output
    assert ["status", "finished", "failed"] in [line.split() for line in shown.splitlines()]
    assert json.loads(lighter("diff", FIRST, FIRST, "--json").output) == []
    assert "They differ in nothing" in lighter("diff", FIRST, FIRST).output
    best = lighter("best", "val/loss/epoch").output.splitlines()
    assert best[1].startswith(FIRST)
    assert best[-1] == "min is best"


def test_tag(root: Path) -> None:
    assert lighter("tag", "last", "good", "paper").output == f"{SECOND}  good paper\n"
    assert lighter("tag", "last", "--remove", "paper").output == f"{SECOND}  good\n"
    assert SECOND in lighter("list", "--tag", "good").output
    assert FIRST not in lighter("list", "--tag", "good").output


def test_rm_asks(root: Path) -> None:
    refused = lighter("rm", "last", input="n\n")
    assert "Remove this run? [y/N]: n\nNothing was removed." in refused.output
    assert (root / SECOND).is_dir()
    assert lighter("rm", "last", input="y\n").exit_code == 0
    assert not (root / SECOND).exists()
    assert lighter("rm", FIRST, "--yes").exit_code == 0
    assert not (root / FIRST).exists()


def test_mistakes_are_messages(root: Path) -> None:
    result = lighter("show", "2026")
    assert result.exit_code == 2
    assert result.stderr.startswith("`2026` is the beginning of 2 runs; write more of it:")


@pytest.mark.slow
def test_the_whole_command_over_ten_thousand_runs(own_place: Path) -> None:
    make_runs(own_place / "outputs", 10_000)
    time.sleep(2.5)  # until the folders are no longer taken to be changing
    command = [sys.executable, "-m", "lighter", "runs", "list", "--sort", "val/metrics/m3/epoch"]
    subprocess.run(command, check=True, capture_output=True)
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert "9970 more" in shown
    assert min(times) < 1.0, f"{times} s of CPU: what it takes on a machine that does nothing else"
