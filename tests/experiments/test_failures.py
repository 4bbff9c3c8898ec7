"""Why members failed: each error once, whole or in a line."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from lighter.cli import cli, experiment_failures
from lighter.config.problems import Problem
from lighter.engine.experiment import Began
from lighter.errors import ConfigError
from lighter.experiments.failures import failures, first_line
from lighter.experiments.folder import ExperimentFolder
from lighter.experiments.handle import Experiment
from lighter.experiments.member_files import read_members, write_member
from lighter.processes.signals import Stopped
from tests.experiments.jobs import make_experiment


def fail(folder: Path, errors: dict[int, str | None]) -> Experiment:
    for member in read_members(folder):
        member.error = errors.get(member.trial)
        write_member(folder, member)
        if member.error:
            (folder / member.name / "error.txt").write_text(member.error)
    return Experiment(folder)


def ended(experiment: Experiment) -> Callable[[Began], Experiment]:
    def run(began: Began) -> Experiment:
        began(ExperimentFolder(experiment.path))
        return experiment

    return run


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
    assert experiment_failures.run_experiment(ended(experiment)) == 1
    shown = capsys.readouterr().err
    home = folder / "trial-0000-seed-5"
    assert (
        f"3 of 3 members failed.\n\n{home.name} and 1 more, {home}/error.txt:\n\nValueError: bad\nmore of it\n" in shown
    )
    assert shown.count("more of it") == 1
    assert shown.endswith("another\n")


def test_some_failed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = fail(folder, {0: "ValueError: bad\nmore of it"})
    assert experiment_failures.run_experiment(ended(experiment)) == 0
    home = folder / "trial-0000-seed-5"
    shown = capsys.readouterr().err
    assert shown == f"\n1 of 3 members failed.\n  {home.name}: ValueError: bad\n    {home}/error.txt\n"


def test_a_signal_leaves_the_document_and_the_errors_of_members(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(folder, {1: "ValueError: bad"})

    def stopped(*_: object, began: Began, **__: object) -> None:
        began(ExperimentFolder(folder))
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr("lighter.engine.experiment.start", stopped)
    done = CliRunner().invoke(cli, ["sweep", "c.yaml", "--json"])
    document = json.loads(done.stdout)
    assert (done.exit_code, document["exit_code"], document["schema"]) == (143, 143, "lighter.sweep/1")
    assert document["path"] == str(folder)
    member, signalled = document["errors"]
    assert (member["members"], member["file"]) == (["trial-0001-seed-5"], f"{folder}/trial-0001-seed-5/error.txt")
    assert signalled["message"] == "Stopped by SIGTERM"


def test_an_experiment_whose_folder_is_gone_has_no_document(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, began: Began, **__: object) -> None:
        began(ExperimentFolder(folder / "abandoned"))
        raise ConfigError([Problem("the point is wrong")])

    monkeypatch.setattr("lighter.engine.experiment.start", refused)
    done = CliRunner().invoke(cli, ["sweep", "c.yaml", "--json"])
    assert (done.exit_code, json.loads(done.stdout)["schema"]) == (2, "lighter.errors/1")


def test_more_errors_than_are_shown_are_in_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_experiment(tmp_path / "outputs", trials=10)
    experiment = fail(folder, {number: f"error {number}" for number in range(10)})
    assert experiment_failures.run_experiment(ended(experiment)) == 1
    pattern = capsys.readouterr().err.splitlines()[-1].removeprefix("2 more errors: ")
    assert len(list(folder.glob(str(Path(pattern).relative_to(folder))))) == 10


def test_none_failed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert experiment_failures.run_experiment(ended(fail(folder, {}))) == 0
    assert capsys.readouterr().err == ""
