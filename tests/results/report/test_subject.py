"""What a page is about: words to runs and experiments."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lighter.errors import RunError
from lighter.results.report.subject import find_subject
from tests.experiments.jobs import make_experiment
from tests.results.report.jobs import DAY, make_fit, make_search
from tests.runs.jobs import make_runs


def ids(words: list[str], root: Path) -> list[str]:
    return [entry.run.id for entry in find_subject(words, root).entries]


def test_runs_are_named_as_elsewhere_and_each_is_there_once(tmp_path: Path) -> None:
    first, second = make_fit(tmp_path, 1), make_fit(tmp_path, 2)
    identity = f"{DAY}/10-00-02-digits"
    assert ids([f"{DAY}/10-00-02", str(second), "10-00-02"], tmp_path) == [identity]
    assert ids([str(first), "last"], tmp_path) == [f"{DAY}/10-00-01-digits", identity]


def test_an_experiment_is_all_of_its_members_with_their_places(tmp_path: Path) -> None:
    make_experiment(tmp_path, seeds=2, folds=2)
    subject = find_subject(["digits"], tmp_path)
    assert len(subject.experiments) == 1
    assert {(entry.trial, entry.seed, entry.fold) for entry in subject.entries} >= {(0, 5, 0), (0, 5, 1), (1, 6, 0)}


def test_last_is_the_newest_of_both(tmp_path: Path) -> None:
    make_search(tmp_path)
    make_fit(tmp_path, 1)
    assert len(find_subject(["last"], tmp_path).experiments) == 1
    make_fit(tmp_path, identity=f"{DAY}/23-00-00-later")
    assert not find_subject(["last"], tmp_path).experiments


def test_a_name_of_both_has_to_be_written_as_a_path(tmp_path: Path) -> None:
    make_search(tmp_path)
    make_fit(tmp_path, identity=f"{DAY}/10-00-00-sweep")
    with pytest.raises(RunError, match=r"is the run .*-sweep and the experiment .*-sweep; write the path of one"):
        find_subject(["sweep"], tmp_path)


@pytest.mark.parametrize("has_runs", [True, False])
def test_what_nothing_is_called_has_the_message_of_runs_or_experiments(tmp_path: Path, has_runs: bool) -> None:
    make_fit(tmp_path, 1) if has_runs else make_search(tmp_path)
    with pytest.raises(RunError, match=r"no run under|no experiment under"):
        find_subject(["nothing"], tmp_path)
    with pytest.raises(RunError, match="there is no run under"):
        find_subject(["nothing"], tmp_path / "empty")


def test_without_words_it_is_all_runs_and_only_the_newest_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lighter.results.report.subject.DETAILED", 5)
    make_runs(tmp_path, 12)
    subject = find_subject([], tmp_path)
    assert (len(subject.entries), len(subject.rows)) == (5, 7)
    assert subject.notes == ("Curves and configs are those of the newest 5 runs; the table has all 12.",)
    (tmp_path / "2026-01-01/10-00-03-digits/run.json").write_text("broken")
    assert any("left out" in note for note in find_subject([], tmp_path).notes)


def test_it_runs_while_a_run_of_it_does(tmp_path: Path) -> None:
    from lighter.processes.identity import this_process

    run = make_fit(tmp_path, 1, status="running", **this_process())
    assert find_subject([str(run)], tmp_path).is_running
    ended = make_fit(tmp_path, 2, status="running", **{**this_process(), "pid": 2**22 - 1})
    assert os.path.isdir(ended)
    assert not find_subject([str(ended)], tmp_path).is_running


def test_a_name_is_all_runs_of_it_and_a_pattern_all_that_it_fits(tmp_path: Path) -> None:
    for number in range(3):
        make_fit(tmp_path, number)
    assert len(ids(["digits"], tmp_path)) == 3
    assert ids([f"{DAY}/10-00-0[01]-*"], tmp_path) == [f"{DAY}/10-00-01-digits", f"{DAY}/10-00-00-digits"]
    assert len(ids(["10-00-00,10-00-02"], tmp_path)) == 2
    with pytest.raises(RunError, match=r"no run under .* fits the pattern `x\*`"):
        find_subject(["x*"], tmp_path)


def test_a_trial_and_a_name_given_to_it(tmp_path: Path) -> None:
    make_search(tmp_path)
    subject = find_subject(["fast=sweep/trial-3", "sweep/trial-0"], tmp_path)
    assert [(entry.trial, entry.side) for entry in subject.entries] == [(3, "fast"), (0, None)]
    assert not subject.experiments
    with pytest.raises(RunError, match="has no trial 99; it has 12"):
        find_subject(["sweep/trial-99"], tmp_path)


def test_tests_with_the_name_of_an_experiment_are_not_meant_by_it(tmp_path: Path) -> None:
    make_search(tmp_path)
    make_fit(tmp_path, identity=f"{DAY}/13-00-00-sweep", stage="test", name="sweep")
    assert len(find_subject(["sweep"], tmp_path).experiments) == 1


def test_trials_are_joined_by_commas_as_for_compare(tmp_path: Path) -> None:
    make_search(tmp_path, trials=4, seeds=2)
    subject = find_subject(["x=sweep/trial-0,sweep/trial-2"], tmp_path)
    assert [entry.run.folder.path.name for entry in subject.entries] == [
        f"trial-000{trial}-seed-{seed}" for trial in (0, 2) for seed in (1, 2)
    ]
    assert {entry.side for entry in subject.entries} == {"x"}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("x=", "has nothing after its `=`"),
        ("sweep/trial-x", "has no number"),
        ("sweep,sweep/trial-0", "is an experiment"),
        (",", "names no run"),
        ("no*", "no run under .* fits the pattern"),
    ],
)
def test_a_word_that_is_written_wrongly_is_told_by_name(tmp_path: Path, word: str, message: str) -> None:
    make_search(tmp_path, trials=1)
    with pytest.raises(RunError, match=message):
        find_subject([word], tmp_path)
