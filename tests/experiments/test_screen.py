"""The screen of a sweep: a live table on a terminal, one line per ended member elsewhere, the results at the end."""

from __future__ import annotations

import io
import logging
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from lighter.experiments.facts import ReadFacts, read_facts
from lighter.experiments.folder import ExperimentFolder
from lighter.experiments.member_files import read_members, trials_of
from lighter.experiments.pace import Pace
from lighter.experiments.schedule import Schedule
from lighter.experiments.screen import Screen
from lighter.experiments.trials import FAILED, FINISHED, PAUSED, RUNNING, Member, Trial
from tests.experiments.jobs import LOSS, make_experiment

CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
PROGRESS = {"epoch": 2, "step": 64}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def console(columns: int = 80, *, is_terminal: bool) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=columns, force_terminal=is_terminal, markup=False, highlight=False), text


def start(trials: list[Trial], number: int) -> Member:
    member = trials[number].members[0]
    member.results, member.status, member.target = {}, RUNNING, 0
    return member


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_it_is_a_table(tmp_path: Path, columns: int) -> None:
    folder = make_experiment(tmp_path / "outputs", trials=6, asked=9, seeds=2)
    (shown, text), clock = console(columns, is_terminal=True), Clock()
    trials = trials_of(read_members(folder))
    member = start(trials, 4)
    with Screen(ExperimentFolder(folder), read_facts(folder), workers=2, console=shown, clock=clock) as screen:
        screen.update(trials, {member.name: PROGRESS})
        clock.now = 65.0
        screen.update(trials, {member.name: PROGRESS})
        frame = CODES.sub("", text.getvalue())
    lines = [line.split() for line in frame.replace("\r", "\n").splitlines()]
    assert max(len(line) for line in frame.splitlines() if str(folder) not in line) <= columns
    for expected in (
        ["trials", "6", "of", "9:", "1", "running,", "3", "paused,", "1", "finished,", "1", "failed"],
        ["rungs", "1:", "4,", "3:", "2,", "end:", "1", "(max_epochs)"],
        ["workers", "1", "of", "2", "busy"],
        ["time", "1m", "05s"],
        ["trial-0004-seed-5", "2", "64", "1", "1m", "05s"],
        ["3", "2e-05", "end", "0.3061", "±", "0.0064", "2", "finished"],
    ):
        assert expected in lines


def test_in_a_pipe_it_is_a_line_for_each_member_that_ended(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path / "outputs")
    shown, text = console(is_terminal=False)
    trials = trials_of(read_members(folder))
    with Screen(ExperimentFolder(folder), read_facts(folder), console=shown) as screen:
        screen.update(trials, {})
        assert text.getvalue() == f"experiment {folder}\n"
        for number in (0, 3, 4):
            screen.ended(trials[number].members[0])
        lines = text.getvalue().splitlines()
    assert lines[1:] == [
        "trial-0000-seed-5: failed: ValueError: bad",
        "trial-0003-seed-5: finished: val/loss/epoch 0.3056; best: trial 3, 0.3056",
        "trial-0004-seed-5: paused at 3: val/loss/epoch 0.4177; best: trial 3, 0.3056",
    ]
    end = text.getvalue().splitlines()[len(lines) :]
    assert ["3", "2e-05", "end", "0.3056", "finished"] in [line.split() for line in end]
    assert f"  lighter fit {folder}/trial-0003-seed-5/config.yaml" in end


def test_why_a_member_failed_stays_on_the_terminal(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path / "outputs")
    shown, text = console(is_terminal=True)
    trials = trials_of(read_members(folder))
    trials[0].members[0].error = f"ValueError: {'x' * 200}\nmore"
    with Screen(ExperimentFolder(folder), read_facts(folder), console=shown) as screen:
        screen.update(trials, {})
        screen.ended(trials[0].members[0])
        screen.ended(trials[3].members[0])
    lines = CODES.sub("", text.getvalue()).splitlines()
    assert any(line.startswith("trial-0000-seed-5: failed: ValueError: xxx") and line.endswith("...") for line in lines)
    assert not any(line.startswith("trial-0003-seed-5: finished") for line in lines)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stderr", [Terminal(), io.StringIO()])
def test_messages_come_above_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO) -> None:
    folder = make_experiment(tmp_path / "outputs")
    shown, text = console(is_terminal=True)
    monkeypatch.setattr(sys, "stderr", stderr)
    handler, logger = logging.StreamHandler(), logging.getLogger("lighter")
    monkeypatch.setattr(logger, "handlers", [handler])
    with Screen(ExperimentFolder(folder), read_facts(folder), console=shown) as screen:
        screen.update(trials_of(read_members(folder)), {})
        logger.warning("a message")
    # a file that errors are written to is left alone
    assert ("a message" in text.getvalue(), "a message" in stderr.getvalue()) == (stderr.isatty(), not stderr.isatty())
    assert sys.stderr is stderr
    assert handler.stream is stderr


def test_results_are_shown_after_a_stop_too(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path / "outputs")
    shown, text = console(is_terminal=True)
    screen = Screen(ExperimentFolder(folder), read_facts(folder), console=shown)
    trials = trials_of(read_members(folder))
    with pytest.raises(KeyboardInterrupt):
        stopped(screen, trials)
    assert "test it:" in text.getvalue()
    shown, text = console(is_terminal=True)
    with Screen(ExperimentFolder(folder), read_facts(folder), console=shown):
        pass
    assert CODES.sub("", text.getvalue()).strip() == ""


def stopped(screen: Screen, trials: list[Trial]) -> None:
    with screen:
        screen.update(trials, {})
        raise KeyboardInterrupt


def member(number: int, target: int = 0, *reached: int, status: str = PAUSED) -> Member:
    return Member(number, 1, None, {}, target, dict.fromkeys(reached, (0.5,)), status)


def facts(tmp_path: Path) -> ReadFacts:
    return read_facts(make_experiment(tmp_path))  # 9 trials, rungs at epochs 1 and 3, the end at 9


def test_the_time_left_follows_from_the_epochs_so_far(tmp_path: Path) -> None:
    clock, one = Clock(), member(0)
    pace = Pace(facts(tmp_path), clock)
    trials = [Trial(0, {}, [one])]
    pace.running([one])
    assert pace.seconds_left(trials, {one.name: PROGRESS}, 1) is None
    clock.now = 10.0
    assert pace.seconds_of(one.name) == 10.0
    one.results[0] = (0.5,)
    pace.ended(one)
    # 9 trials of 1 epoch, 3 of 2 more, 1 of 6 more: 21 epochs of 10 seconds, 1 of which is over
    assert pace.seconds_left(trials, {}, 1) == pytest.approx(200.0)
    assert pace.seconds_left(trials, {}, 4) == pytest.approx(50.0)
    other = member(1)
    pace.running([other])
    clock.now = 14.0
    assert pace.seconds_left([*trials, Trial(1, {}, [other])], {other.name: PROGRESS}, 1) == pytest.approx(196.0)


def test_the_time_left_counts_from_where_a_member_resumed_and_leaves_failures_out(tmp_path: Path) -> None:
    clock, promoted, failed = Clock(), member(0, 1, 0), member(1)
    pace = Pace(facts(tmp_path), clock)
    pace.running([promoted, failed])
    clock.now = 10.0
    promoted.results[1], failed.status = (0.5,), FAILED
    pace.ended(promoted)
    pace.ended(failed)
    # 2 epochs in 10 seconds: 21 epochs, without the 3 of the one and the 1 of the other
    assert pace.seconds_left([Trial(0, {}, [promoted]), Trial(1, {}, [failed])], {}, 1) == pytest.approx(17 * 5.0)


def test_the_time_left_without_rungs_counts_fits(tmp_path: Path) -> None:
    clock, one = Clock(), member(0)
    pace = Pace(replace(facts(tmp_path), schedule=Schedule(LOSS), trials=3), clock)
    pace.running([one])
    clock.now = 7.0
    one.status, one.results = FINISHED, {0: (0.5,)}
    pace.ended(one)
    assert pace.seconds_left([Trial(0, {}, [one])], {}, 1) == pytest.approx(14.0)
    assert Pace(replace(facts(tmp_path / "b"), trials=None), clock).seconds_left([], {}, 1) is None
