"""`lighter experiment`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lighter.cli import cli
from lighter.experiments.member_files import read_members, trials_of
from lighter.files.lock import owned
from tests.experiments.jobs import make_experiment, set_running

ID = "2026-11-29/14-03-55-digits"
SUBTREE = {"model::network": {"_target_": "my_project.networks.Convolutional", "hidden": [64, 128]}}


@pytest.fixture
def root(own_place: Path) -> Path:
    make_experiment(own_place / "outputs", ID)
    return own_place / "outputs"


def lighter(*words: str, columns: int = 80, **kwargs: Any) -> Result:
    return CliRunner().invoke(cli, ["experiment", *words], env={"COLUMNS": str(columns)}, **kwargs)


def lines(*words: str, columns: int = 80) -> list[list[str]]:
    done = lighter(*words, columns=columns)
    assert done.exit_code == 0, done.output
    assert max(map(len, done.output.splitlines())) <= columns
    return [line.split() for line in done.output.splitlines()]


def test_status(root: Path) -> None:
    shown = lines("status", "last", "--limit", "3")
    assert ["state", "finished"] in shown
    assert ["trials", "9", "of", "9:", "7", "paused,", "1", "finished,", "1", "failed"] in shown
    assert ["rungs", "1:", "8,", "3:", "4,", "end:", "1", "(max_epochs)"] in shown
    assert shown[-5:] == [
        ["trial", "lr", "rung", "min", "val/loss", "status"],
        ["3", "2e-05", "end", "0.3056", "finished"],
        ["7", "0.0007", "3", "0.4174", "paused"],
        ["4", "0.001", "3", "0.4177", "paused"],
        ["6", "more:", "--limit", "0", "shows", "all"],
    ]
    assert lines("status") == lines("status", ID)
    assert len(lines("status", "--limit", "0")) == len(shown) + 5


@pytest.mark.parametrize("command", ["status", "list"])
def test_a_limit_below_zero(command: str, root: Path) -> None:
    done = lighter(command, "--limit", "-1")
    assert (done.exit_code, "-1 is not in the range x>=0" in done.output) == (2, True)


def test_status_of_seeds_and_folds_while_members_run(own_place: Path) -> None:
    folder = make_experiment(own_place / "outputs", seeds=2, folds=5)
    set_running(folder, trials_of(read_members(folder))[6])
    shown = lines("status", "14-03")
    assert ["members", "90", "of", "90:", "2", "seeds", "x", "5", "folds", "each"] in shown
    begin = shown.index(["running", "epoch", "step", "up", "to", "time"])
    assert shown[begin + 1][:4] == ["trial-0006-seed-5-fold-0", "2", "64", "1"]
    assert shown[begin + 9] == ["2", "more"]
    assert ["3", "2e-05", "end", "0.3101", "±", "0.0022", "10", "finished"] in shown
    data = json.loads(lighter("status", "--json").output)
    assert len(data["running"]) == 10
    assert data["running"][0]["member"] == "trial-0006-seed-5-fold-0"
    assert [each["trial"] for each in data["results"]][:2] == [3, 7]


@pytest.mark.parametrize("columns", [80, 120])
def test_numbers_are_not_broken_where_there_are_many_values(own_place: Path, columns: int) -> None:
    many = {f"model::part_{name}::weight": 0.123456 for name in "abcdefgh"}
    folder = make_experiment(own_place / "outputs", seeds=3, values=many)
    for path in folder.glob("trial-0003-*/member.json"):
        path.write_text(path.read_text().replace("0.123456", "0.654321"))
    words = {word for line in lines("status", columns=columns) for word in line}
    expected = {f"part_{name}::weight=0.6543" for name in "abcdefgh"}
    assert expected <= words
    assert "0.3066" in words


def test_list(root: Path, own_place: Path) -> None:
    make_experiment(root, "2026-11-30/10-00-00-other", trials=2, asked=3)
    assert lines("list") == [
        ["experiment", "state", "trials", "failed", "min", "val/loss"],
        ["2026-11-30/10-00-00-other", "stopped", "2", "of", "3", "1", "0.3086"],
        [ID, "finished", "9", "of", "9", "1", "0.3056"],
    ]
    assert lines("list", "--limit", "1")[-1][:2] == ["1", "more:"]
    assert [each["id"] for each in json.loads(lighter("list", "--json").output)] == ["2026-11-30/10-00-00-other", ID]
    make_experiment(root, "2026-11-30/11-00-00-two", several=True)
    (root / "experiments/2026-11-30/11-00-00-two/config.yaml").write_text("experiment: {objective: max a/b/epoch}\n")
    assert lines("list")[0][-1] == "objective"
    assert lighter("list", "--dir", "nowhere").output == "There is no experiment under nowhere.\n"


def test_best(root: Path) -> None:
    shown = lighter("best").output
    home = f"outputs/experiments/{ID}/trial-0003-seed-5"
    assert [line.split() for line in shown.splitlines()][:3] == [
        ["trial", "3", "(finished)"],
        ["min", "val/loss/epoch", "0.3056"],
        ["model::optimizer::lr", "2e-05"],
    ]
    # a command is in one line, to be copied
    assert f"  lighter fit {home}/config.yaml\n" in shown
    assert f"  lighter test {home}/config.yaml --ckpt_path best\n" in shown
    (data,) = json.loads(lighter("best", "--json").output)
    assert data["overrides"] == ["model::optimizer::lr=2e-05"]
    assert (data["trial"], data["member"], data["rung"]) == (3, "trial-0003-seed-5", 2)


def test_best_of_several_objectives_is_the_front(own_place: Path) -> None:
    make_experiment(own_place / "outputs", several=True, values=SUBTREE)
    data = json.loads(lighter("best", "--json").output)
    assert len(data) == 1  # the accuracy of these is a function of the loss
    assert data[0]["objectives"]["val/metrics/accuracy/epoch"]["members"] == 1


def test_what_cannot_be_found_or_read_is_told(root: Path, own_place: Path) -> None:
    done = lighter("status", "nothing")
    assert (done.exit_code, "no experiment under outputs is called `nothing`" in done.output) == (2, True)
    (root / "experiments" / ID / "trial-0003-seed-5" / "member.json").write_text("{")
    done = lighter("list")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.startswith("left out: ")
    make_experiment(root, "2026-11-30/10-00-00-none", trials=1)
    done = lighter("best", "none")
    assert (done.exit_code, "-none has a result yet (1 of 1 members failed)" in done.output) == (2, True)


MEMBER = f"{ID}/trial-0003-seed-5"


def runs(*words: str, **kwargs: Any) -> Result:
    return CliRunner().invoke(cli, ["runs", *words], **kwargs)


@pytest.mark.parametrize("wanted", [f"outputs/experiments/{MEMBER}", MEMBER, "14-03-55-digits/trial-0003"])
def test_members_are_runs(root: Path, wanted: str) -> None:
    data = json.loads(runs("show", wanted, "--json").output)
    assert data["path"].endswith(MEMBER)
    assert runs("tag", wanted, "good").output == "14-03-55-digits/trial-0003-seed-5  good\n"


def test_runs_list_shows_the_members_of_one_experiment(root: Path) -> None:
    assert json.loads(runs("list", "--json").output) == []
    listed = json.loads(runs("list", "--json", "--dir", f"outputs/experiments/{ID}").output)
    assert sorted(row["id"] for row in listed) == [f"14-03-55-digits/trial-{number:04}-seed-5" for number in range(9)]
    assert {row["status"] for row in listed} == {"paused", "finished", "failed"}
    found = runs("show", "trial-0003", "--json", "--dir", f"outputs/experiments/{ID}").output
    assert json.loads(found)["path"].endswith(MEMBER)


def test_a_member_that_is_removed(root: Path) -> None:
    refused = runs("rm", MEMBER, input="n\n").output
    assert f"1 member of the experiment {ID}, whose results are then without them" in refused
    home = root / "experiments" / ID
    with owned(home, "it"):
        busy = runs("rm", MEMBER, "--yes")
        assert (busy.exit_code, f"the experiment {ID} is running" in busy.output) == (2, True)
    assert (root / "experiments" / MEMBER).is_dir()
    assert runs("rm", MEMBER, "--yes").exit_code == 0
    assert not (root / "experiments" / MEMBER).exists()
    assert lighter("status").exit_code == 0


def test_a_second_process_is_told_that_the_experiment_cannot_be_used(root: Path) -> None:
    with owned(root / "experiments" / ID, ID):
        done = lighter("resume", "last")
    assert done.exit_code == 2
    assert done.stderr.startswith(f"The experiment cannot be used.\n\n{ID} is running (process ")


def test_predict_needs_folds(root: Path) -> None:
    done = lighter("predict", "last", "--trial", "3")
    assert (done.exit_code, "trial 3 of" in done.output, "has no folds" in done.output) == (2, True, True)
    done = lighter("predict", "last", "--trial", "33")
    assert (done.exit_code, f"there is no trial 33 in outputs/experiments/{ID}, which has 9" in done.output) == (
        2,
        True,
    )
