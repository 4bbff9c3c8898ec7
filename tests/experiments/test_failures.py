"""Why members failed: each error once, whole or in a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from lighter.cli import experiment_failures
from lighter.experiments.failures import failures, first_line
from lighter.experiments.handle import Experiment
from lighter.experiments.member_files import read_members, write_member
from tests.experiments.jobs import make_experiment


def fail(folder: Path, errors: dict[int, str | None]) -> Experiment:
    for member in read_members(folder):
        member.error = errors.get(member.trial)
        write_member(folder, member)
        if member.error:
            (folder / member.name / "error.txt").write_text(member.error)
    return Experiment(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_experiment(tmp_path / "outputs", trials=3)


def test_the_first_line_has_no_place() -> None:
    text = "/a/very/long/path/config.yaml:28:13: model::_target_: `a.B` cannot be imported\n   28 |  _target_: a.B"
    assert first_line(text) == "model::_target_: `a.B` cannot be imported"
    assert first_line("ValueError: at 3:4: bad\nmore") == "ValueError: at 3:4: bad"


def test_an_error_that_names_the_members_own_folder_is_one(folder: Path) -> None:
    names = {member.trial: member.name for member in read_members(folder)}
    experiment = fail(folder, {0: f"no {names[0]}/x", 1: f"no {names[1]}/x", 2: "another"})
    one, other = failures(experiment.members)
    assert [member.trial for member in one.members] == [0, 1]
    assert (one.text, other.text) == (f"no {names[0]}/x", "another")


def test_all_failed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = fail(folder, {0: "ValueError: bad\nmore of it", 1: "ValueError: bad\nmore of it", 2: "another"})
    assert experiment_failures.run_experiment(lambda: experiment) == 1
    shown = capsys.readouterr().err
    home = folder / "trial-0000-seed-5"
    assert (
        f"3 of 3 members failed.\n\n{home.name} and 1 more, {home}/error.txt:\n\nValueError: bad\nmore of it\n" in shown
    )
    assert shown.count("more of it") == 1
    assert shown.endswith("another\n")


def test_some_failed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = fail(folder, {0: "ValueError: bad\nmore of it"})
    assert experiment_failures.run_experiment(lambda: experiment) == 0
    home = folder / "trial-0000-seed-5"
    shown = capsys.readouterr().err
    assert shown == f"\n1 of 3 members failed.\n  {home.name}: ValueError: bad\n    {home}/error.txt\n"


def test_none_failed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert experiment_failures.run_experiment(lambda: fail(folder, {})) == 0
    assert capsys.readouterr().err == ""
