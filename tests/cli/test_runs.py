"""`lighter runs`, as a user types it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from lighter.cli import cli
from tests.runs.jobs import make_run

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


def test_in_a_narrow_terminal_names_break_before_values(root: Path) -> None:
    lines = CliRunner().invoke(cli, ["runs", "list"], env={"COLUMNS": "57"}).output.splitlines()
    assert [line.split() for line in lines[:2]] == [["val/"], ["run", "stage", "status", "time", "loss"]]
    assert lines[2].split() == [SECOND, "fit", "failed", "1.5s", "0.5"]


def test_show(root: Path) -> None:
    (root / SECOND / "metrics.csv").write_text("epoch,step,val/loss/epoch\n0,4,3.0\n1,9,1.0\n")
    shown = lighter("show", "last").output
    lines = [line.split() for line in shown.splitlines()]
    assert ["status", "failed"] in lines
    assert ["val/loss/epoch", "3", "█▁", "1", "1", "3"] in lines
    assert "ValueError: bad" in shown
    facts = json.loads(lighter("show", FIRST, "--json").output)
    assert (facts["status"], facts["tags"]) == ("finished", [])


def test_curves_by_their_names(root: Path) -> None:
    (root / SECOND / "metrics.csv").write_text("epoch,step,val/loss/epoch,val/acc/epoch\n0,4,3.0,0.5\n1,9,1.0,0.7\n")
    shown = lighter("show", "last", "--metric", "val/loss").output
    assert "val/loss/epoch" in shown
    assert "val/acc/epoch" not in shown
    for wrong, said in (("val/los", "Did you mean `val/loss`?"), ("q", "There is: val/acc/epoch"), ("", "There is: ")):
        result = lighter("show", "last", "--metric", wrong)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(f"there is no curve of `{wrong}`. {said}")
    assert lighter("show", FIRST, "--metric", "x").stderr == "there is no curve of `x`: the run has none\n"


def test_json_has_no_nan(root: Path) -> None:
    for name, value in ((FIRST, float("nan")), (SECOND, float("inf"))):
        facts = json.loads((root / name / "run.json").read_text())
        facts["metrics"]["val/loss/epoch"] = value
        (root / name / "run.json").write_text(json.dumps(facts))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for words in (("list",), ("show", FIRST), ("diff", FIRST, SECOND), ("best", "val/loss")):
        json.loads(lighter(*words, "--json").stdout, parse_constant=refuse)


def test_options_that_mean_nothing(root: Path) -> None:
    assert lighter("list", "--limit", "-1").exit_code == 2
    assert lighter("best", "val/loss", "--limit", "-1").exit_code == 2
    for words in (("list",), ("best", "val/loss")):
        result = lighter(*words, "--dir", "elsewhere")
        assert (result.exit_code, result.stderr) == (2, "there is no folder elsewhere\n")
    result = lighter("tag", "last", "")
    assert (result.exit_code, result.stderr) == (2, "a tag has at least one letter; this one is empty\n")


def test_diff_and_best(root: Path) -> None:
    shown = lighter("diff", FIRST, "last").output
    assert ["status", "finished", "failed"] in [line.split() for line in shown.splitlines()]
    assert json.loads(lighter("diff", FIRST, FIRST, "--json").output) == []
    assert "They differ in nothing" in lighter("diff", FIRST, FIRST).output
    best = lighter("best", "val/loss/epoch").output.splitlines()
    assert best[1].startswith(FIRST)
    assert best[-1] == "min is best; of each run its best epoch (--epoch last: its last)"


def test_tag(root: Path) -> None:
    assert lighter("tag", "last", "good", "paper").output == f"{SECOND}  good paper\n"
    assert lighter("tag", "last", "--remove", "paper").output == f"{SECOND}  good\n"
    assert SECOND in lighter("list", "--tag", "good").output
    assert FIRST not in lighter("list", "--tag", "good").output


def test_rm_asks(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["lighter.cli.runs"], "can_ask", lambda: True)
    refused = lighter("rm", "last", input="n\n")
    assert "Remove this run? [y/N]: n\nNothing was removed." in refused.output
    assert (root / SECOND).is_dir()
    assert lighter("rm", "last", input="y\n").exit_code == 0
    assert not (root / SECOND).exists()
    assert lighter("rm", FIRST, "--yes").exit_code == 0
    assert not (root / FIRST).exists()


def test_rm_does_not_ask_without_a_terminal(root: Path) -> None:
    refused = lighter("rm", "last", input="y\n")
    assert refused.exit_code == 2
    assert refused.stderr == "this asks before it removes, and there is no terminal to ask at: --yes does without\n"
    assert (root / SECOND).is_dir()


def test_mistakes_are_messages(root: Path) -> None:
    result = lighter("show", "2026")
    assert result.exit_code == 2
    assert result.stderr.startswith("`2026` is the beginning of 2 runs; write more of it:")


def test_names_may_leave_out_that_they_are_of_an_epoch(root: Path) -> None:
    for words in (("list", "--metric", "val/loss"), ("list", "--where", "val/loss<0.3"), ("best", "val/loss")):
        assert "0.25" in lighter(*words).output, words


def test_best_is_of_the_best_epoch_or_the_last(root: Path) -> None:
    (root / SECOND / "metrics.csv").write_text("epoch,step,val/loss/epoch\n0,4,0.1\n1,9,nan\n2,14,0.5\n")
    by = {words: json.loads(lighter("best", "val/loss/epoch", "--json", *words).output) for words in
          ((), ("--epoch", "last"), ("--mode", "max"))}  # fmt: skip
    found = {words: [(row["id"], row["metrics"]["val/loss/epoch"]) for row in rows] for words, rows in by.items()}
    assert found == {
        (): [(SECOND, 0.1), (FIRST, 0.25)],
        ("--epoch", "last"): [(FIRST, 0.25), (SECOND, 0.5)],
        ("--mode", "max"): [(SECOND, 0.5), (FIRST, 0.25)],
    }


def test_columns_of_the_config(root: Path) -> None:
    lines = lighter("list", "--metric", "trainer::max_epochs", "--metric", "vars::none").output.splitlines()
    assert lines[1].split() == [SECOND, "fit", "failed", "1.5s", "3"]
    assert lines[-1] == "vars::none: no value in these configs"
    wrong = lighter("list", "--metric", "val/los/epoch")
    assert wrong.exit_code == 2
    assert wrong.stderr.startswith("none of these runs has the metric `val/los/epoch`. Did you mean `val/loss/epoch`?")


def test_a_run_is_found_by_its_name(root: Path) -> None:
    make_run(root, "2026-01-04/10-00-00-slow")
    assert json.loads(lighter("show", "slow", "--json").output)["id"] == "2026-01-04/10-00-00-slow"
    several = lighter("show", "digits")
    assert several.exit_code == 2
    assert several.stderr.startswith("`digits` is the name of 2 runs; take an id:")


def test_all_starts_are_shown(root: Path) -> None:
    starts = [{"started": "2026-01-05T10:00:00", "status": "lost", "seconds": 60.0}]
    make_run(
        root, "2026-01-05/10-00-00-x", starts=starts, started="2026-01-05T11:00:00", seconds=5, checkpoint="a.ckpt"
    )
    shown = [" ".join(line.split()) for line in lighter("show", "last").output.splitlines()]
    assert {"time 1m 05s", "starts 2026-01-05T10:00:00 lost 1m 00s", "from a.ckpt"} < set(shown)
    assert "2026-01-05T11:00:00 finished 5.0s" in shown
    [row] = json.loads(lighter("list", "--name", "digits", "--since", "2026-01-05", "--json").output)
    assert row["seconds"] == 65.0


def commands(group: click.Group, *names: str) -> Iterator[tuple[str, click.Command]]:
    for name, found in group.commands.items():
        if isinstance(found, click.Group):
            yield from commands(found, *names, name)
        else:
            yield " ".join((*names, name)), found


def test_every_command_that_runs_code_has_the_option_that_failures_hint_at() -> None:
    having = {name for name, found in commands(cli) if any("--traceback" in one.opts for one in found.params)}
    stages = {"fit", "validate", "test", "predict"}
    others = {"check", "resume", "reproduce", "summary", "tune lr", "tune batch_size", "sweep", "experiment resume"}
    assert having == stages | others | {"experiment predict", "export pt2", "export onnx", "try"}
