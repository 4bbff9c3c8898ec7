"""The status of an experiment, from its folder alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lighter.errors import RunError
from lighter.experiments.facts import read_facts
from lighter.experiments.folder import ExperimentFolder, find_experiment
from lighter.experiments.member_files import write_member
from lighter.experiments.schedule import Asha, Schedule
from lighter.experiments.status import (
    Overview,
    at_rungs,
    commands_of,
    counts,
    public,
    read_experiment,
    read_experiments,
    running_members,
)
from lighter.experiments.trials import Member, Objective
from lighter.files.lock import owned
from tests.experiments.jobs import ACCURACY, LOSS, make_experiment, set_running, write_run


def overview(folder: Path) -> Overview:
    return read_experiment(ExperimentFolder(folder))


def test_what_was_asked_for_is_read_from_the_config(tmp_path: Path) -> None:
    facts = read_facts(make_experiment(tmp_path, seeds=2, folds=3))
    assert (facts.objectives, facts.seeds, facts.folds, facts.trials) == ((LOSS,), (5, 6), (0, 1, 2), 9)
    assert facts.schedule == Asha(LOSS, "trainer::max_epochs", (1.0, 3.0), 9.0)
    assert read_facts(make_experiment(tmp_path, "2026-11-29/1", several=True)).objectives == (LOSS, ACCURACY)


@pytest.mark.parametrize(
    ("section", "objectives", "seeds", "folds", "trials"),
    [
        ("null", (Objective("val/loss/epoch"),), (0,), (None,), 1),
        ("{}", (Objective("val/loss/epoch"),), (0,), (None,), 1),
        (
            "{seeds: [3, 1], folds: {kind: repeated, n: 2, repeats: 2}}",
            (Objective("val/loss/epoch"),),
            (3, 1),
            (0, 1, 2, 3),
            1,
        ),
        ("{objective: max a b, search: {space: {a: [1]}}}", (Objective("a b", True),), (0,), (None,), 1),
    ],
)
def test_a_section_may_say_little(
    tmp_path: Path, section: str, objectives: object, seeds: object, folds: object, trials: object
) -> None:
    (tmp_path / "config.yaml").write_text(f"experiment: {section}\n")
    facts = read_facts(tmp_path)
    assert (facts.objectives, facts.seeds, facts.folds, facts.trials) == (objectives, seeds, folds, trials)
    assert type(facts.schedule) is Schedule


def test_the_number_of_trials_of_a_grid_is_known(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path)
    text = (folder / "config.yaml").read_text().replace("    trials: 9\n", "")
    text = text.replace("{from: 1e-5, to: 1, scale: log}", "[0.1, 0.01, 0.001]")
    (folder / "config.yaml").write_text(text.replace("torch.nn.Identity}", "a.B, optimizer: {lr: 1}}"))
    assert read_facts(folder).trials == 3


def test_a_config_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: [\n")
    with pytest.raises(RunError, match="cannot be read"):
        read_facts(tmp_path)


def test_counts_of_trials_and_rungs(tmp_path: Path) -> None:
    found = overview(make_experiment(tmp_path))
    assert counts(found.trials) == {"paused": 7, "finished": 1, "failed": 1}
    assert at_rungs(found.results, found.facts) == [("1", 8), ("3", 4), ("end", 1)]
    assert [each.trial.number for each in found.best] == [3]
    assert found.asked_members == 9
    assert at_rungs(found.results, read_facts(make_experiment(tmp_path, "2026-11-29/1", several=True))) == []


def test_the_state_follows_from_the_folder(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path)
    assert overview(folder).state == "finished"
    with owned(folder, "it"):
        (state,) = read_in_another_process(folder)
        assert state == "running"
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("trials: 9", "trials: 10"))
    assert overview(folder).state == "stopped"
    (folder / "config.yaml").write_text(config.replace("seeds: 1", "seeds: 2"))
    assert overview(folder).state == "stopped"
    (folder / "config.yaml").write_text(config)
    set_running(folder, overview(folder).trials[1])
    assert overview(folder).state == "stopped"


SPACES = [
    ("space: {model::lr: [1, 2]}, trials: 9", "finished"),
    ("space: {model::lr: [1, 2]}, method: random, trials: 9", "finished"),
    ("space: {model::lr: [1, 2, 3]}, trials: 9", "stopped"),
    ("space: {model::lr: [1, 2, 3]}, where: $@model::lr < 3, trials: 9", "finished"),
    ("space: {model::lr: {from: 1.0, to: 9.0}}, trials: 9", "stopped"),
    ("zip: {model::lr: [1, 2], model::x: [1, 2]}", "finished"),
    ("zip: {model::lr: [1, 2, 3], model::x: [1, 2, 3]}", "stopped"),
    ("zip: [{model::lr: [1, 2], model::x: [1, 2]}], trials: 9", "finished"),
]


@pytest.mark.parametrize(("search", "state"), SPACES)
def test_an_experiment_is_finished_where_its_space_has_no_more_points(tmp_path: Path, search: str, state: str) -> None:
    (tmp_path / "config.yaml").write_text(
        f"model: {{_target_: a.B, lr: 1, x: 1}}\nexperiment: {{search: {{{search}}}}}\n"
    )
    for number in (0, 1):
        member = Member(number, 0, None, {"model::lr": 1 + number, "model::x": 1 + number}, 0, {0: (0.5,)})
        write_member(tmp_path, member)
        write_run(tmp_path, member, "finished")
    assert overview(tmp_path).state == state


def read_in_another_process(folder: Path) -> list[str]:
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from lighter.experiments.folder import ExperimentFolder;"
        "from lighter.experiments.status import read_experiment;"
        "print(read_experiment(ExperimentFolder(Path(sys.argv[1]))).state)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_an_empty_experiment_is_stopped(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path, trials=1)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.name != "config.yaml" or path.parent != folder:
            path.rmdir() if path.is_dir() else path.unlink()
    found = overview(folder)
    assert (found.state, found.best, found.results) == ("stopped", [], [])
    assert public(found)["members"] == {}


def test_running_members_have_the_progress_of_their_records(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path, seeds=2)
    set_running(folder, overview(folder).trials[6])
    found = overview(folder)
    running = running_members(folder, found.members)
    assert [(each.member.name, each.epoch, each.step) for each in running] == [
        ("trial-0006-seed-5", 2, 64),
        ("trial-0006-seed-6", 2, 64),
    ]
    assert all((each.seconds or 0) > 0 for each in running)


def test_commands_of_a_member(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path / "with space")
    finished, paused = (next(m for m in overview(folder).members if m.status == s) for s in ("finished", "paused"))
    home = folder / finished.name
    assert commands_of(folder, finished) == {
        "fit": f"lighter fit '{home}/config.yaml'",
        "test": f"lighter test '{home}/config.yaml' --ckpt_path best",
    }
    assert commands_of(folder, paused)["test"].endswith("--ckpt_path last")
    new = Member(99, 1, None, {})
    write_member(folder, new)
    assert commands_of(folder, new) == {}


def test_public_facts_are_json(tmp_path: Path) -> None:
    facts = json.loads(json.dumps(public(overview(make_experiment(tmp_path, seeds=2)))))
    assert facts["id"] == "2026-11-29/14-03-55-digits"
    assert facts["objectives"] == [{"metric": "val/loss/epoch", "mode": "min"}]
    assert facts["asked"] == {"trials": 9, "seeds": [5, 6], "folds": [], "members": 18}
    assert facts["members"] == {"paused": 14, "finished": 2, "failed": 2}
    assert facts["best"][0]["trial"] == 3


def test_all_experiments_are_read_and_damaged_ones_told(tmp_path: Path) -> None:
    make_experiment(tmp_path, "2026-11-29/10-00-00-old", trials=3)
    make_experiment(tmp_path, "2026-11-30/10-00-00-new", trials=3)
    bad = make_experiment(tmp_path, "2026-11-30/11-00-00-bad", trials=3)
    (bad / "trial-0001-seed-5" / "member.json").write_text("{")
    told: list[str] = []
    assert [each.folder.id for each in read_experiments(tmp_path, told.append)] == [
        "2026-11-30/10-00-00-new",
        "2026-11-29/10-00-00-old",
    ]
    assert len(told) == 1
    assert "member.json cannot be read" in told[0]


def test_the_folder_of_a_project_is_no_experiment_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits/config.yaml").write_text("experiment: {seeds: 2}\n")
    made = make_experiment(tmp_path, "2026-11-29/10-00-00-digits", trials=1)
    assert find_experiment("digits", tmp_path).path == made
    renamed = made.rename(tmp_path / "for-the-paper")
    assert find_experiment(str(renamed), tmp_path).path == renamed
