"""Members' files: what is written is read, damage is named, and the status follows from the run's record."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lighter.errors import RunError
from lighter.experiments import member_files
from lighter.experiments.member_files import MEMBER, read_members, run_of, trials_of, write_member
from lighter.experiments.trials import FAILED, FINISHED, PAUSED, RUNNING, WAITING, Member
from lighter.processes.identity import this_process
from lighter.runs.read import read_run


def record(folder: Path, member: Member, **facts: object) -> None:
    (folder / member.name / "run.json").write_text(json.dumps({"stage": "fit", **facts}))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    values = {"model::lr": 0.1 + 0.2, "model::network": {"_target_": "a.B", "sizes": [1, None, True]}, "name": "ä"}
    one = Member(7, 10, 2, values, target=3, results={0: (0.5, -math.inf), 2: (1 / 3, 2.0)}, attempts=2)
    failed = Member(7, 2, None, {}, error="ValueError: no", status=FAILED)
    write_member(tmp_path, one)
    write_member(tmp_path, failed)
    assert read_members(tmp_path) == [failed, one]
    assert (tmp_path / "trial-0007-seed-10-fold-2" / MEMBER).is_file()


def test_nan_is_kept_as_json_that_every_program_reads(tmp_path: Path) -> None:
    write_member(tmp_path, Member(0, 1, None, {}, results={0: (math.nan,)}))
    text = (tmp_path / "trial-0000-seed-1" / MEMBER).read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert math.isnan(read_members(tmp_path)[0].results[0][0])


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("finished", FINISHED), ("paused", PAUSED), ("running", RUNNING),
        ("failed", WAITING), ("interrupted", WAITING),
    ],
)  # fmt: skip
def test_the_status_is_that_of_the_run(tmp_path: Path, written: str, expected: str) -> None:
    member = Member(1, 1, None, {})
    write_member(tmp_path, member)
    assert read_members(tmp_path)[0].status == WAITING
    record(tmp_path, member, status=written, **this_process())
    assert read_members(tmp_path)[0].status == expected


def test_a_killed_member_waits_and_one_with_an_error_has_failed(tmp_path: Path) -> None:
    member = Member(1, 1, None, {})
    write_member(tmp_path, member)
    record(tmp_path, member, status="running", **{**this_process(), "process_started": "long ago"})
    assert read_members(tmp_path)[0].status == WAITING
    member.error = "killed by SIGKILL"
    write_member(tmp_path, member)
    assert read_members(tmp_path)[0].status == FAILED


def test_members_are_sorted_by_number_and_grouped_to_trials(tmp_path: Path) -> None:
    for trial, seed, fold in [(10, 1, 0), (2, 10, 0), (2, 2, 1), (2, 2, 0)]:
        write_member(tmp_path, Member(trial, seed, fold, {"a": trial}))
    trials = trials_of(read_members(tmp_path))
    assert [(trial.number, trial.values) for trial in trials] == [(2, {"a": 2}), (10, {"a": 10})]
    assert [(member.seed, member.fold) for member in trials[0].members] == [(2, 0), (2, 1), (10, 0)]


def test_a_folder_whose_file_was_not_written_yet_is_no_member(tmp_path: Path) -> None:
    (tmp_path / "trial-0001-seed-1").mkdir()
    (tmp_path / "trial-0002-seed-1").write_text("a file of the user's")
    assert read_members(tmp_path) == []


def good() -> dict[str, object]:
    return {"trial": 1, "seed": 1, "fold": None, "values": {}, "target": 0, "results": {}, "error": None, "attempts": 0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"trial": 1,', "cannot be read"),
        ("[]", "it is a list, and should be an object"),
        (json.dumps({**good(), "trial": "1"}), "`trial` is a text"),
        (json.dumps({**good(), "results": {"0": 1.5}}), "`0` is a number, and should be a list"),
        (json.dumps({**good(), "results": {"x": [1.5]}}), "`x` is no rung"),
        (json.dumps({**good(), "colour": "red"}), "`colour` is unknown"),
        (json.dumps({**good(), "seed": 2}), "that of the member trial-0001-seed-2"),
        ("\x00\xff", "cannot be read"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    write_member(tmp_path, Member(1, 1, None, {}))
    path = tmp_path / "trial-0001-seed-1" / MEMBER
    path.write_text(text, encoding="latin-1")
    with pytest.raises(RunError) as caught:
        read_members(tmp_path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_a_run_without_a_members_file_is_named(tmp_path: Path) -> None:
    member = Member(1, 1, None, {})
    write_member(tmp_path, member)
    assert run_of(tmp_path, member) is None
    record(tmp_path, member, status="finished", metrics={"a": 1.0})
    run = run_of(tmp_path, member)
    assert run is not None
    assert run.metrics == {"a": 1.0}
    (tmp_path / member.name / MEMBER).unlink()
    with pytest.raises(RunError, match="has a run and no member"):
        read_members(tmp_path)


def test_a_record_that_a_new_start_has_just_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that saved nothing before it was killed starts anew while others look at it."""
    member = Member(1, 1, None, {})
    write_member(tmp_path, member)
    record(tmp_path, member, status="running", **this_process())
    path = tmp_path / member.name / "run.json"
    monkeypatch.setattr(member_files, "read_run", lambda home: (path.unlink(), read_run(home))[1])
    assert run_of(tmp_path, member) is None
    record(tmp_path, member, status="running", **this_process())
    assert read_members(tmp_path)[0].status == WAITING


def test_a_record_that_is_damaged(tmp_path: Path) -> None:
    member = Member(1, 1, None, {})
    write_member(tmp_path, member)
    (tmp_path / member.name / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run\.json cannot be read"):
        run_of(tmp_path, member)
