"""From words to sides: what stands for what, and what is refused with the reason."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import lighter
from lighter.errors import RunError
from lighter.results.sides import sides_of
from tests.results.jobs import BASE, OURS, make_fit, make_fits, make_sweep


def names_and_seeds(words: list[str], root: Path) -> list[tuple[str, list[int | None]]]:
    return [(side.name, [each.seed for each in side.runs]) for side in sides_of(words, root)]


def test_a_name_that_several_runs_have_is_all_of_them(tmp_path: Path) -> None:
    make_fits(tmp_path, "base", BASE)
    make_fits(tmp_path, "ours", OURS, hour=11)
    assert names_and_seeds(["base", "ours"], tmp_path) == [("base", [1, 2, 3, 4, 5]), ("ours", [1, 2, 3, 4, 5])]


def test_runs_by_commas_patterns_ids_and_paths(tmp_path: Path) -> None:
    make_fits(tmp_path, "base", BASE)
    make_fits(tmp_path, "ours", OURS, hour=11)
    path = tmp_path / "2026-11-22/10-00-04-base"
    words = ["a=10-00-00,10-00-01-base", "b=2026-11-22/11-*", "11-00-02", f"d={path}", f"e={tmp_path}/*/10-00-0[12]*"]
    assert names_and_seeds(words, tmp_path) == [
        ("a", [1, 2]),
        ("b", [1, 2, 3, 4, 5]),
        ("2026-11-22/11-00-02-ours", [3]),
        ("d", [5]),
        ("e", [2, 3]),
    ]


def test_of_an_experiment_the_best_trial_or_one_by_its_number(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path, "search", [BASE, OURS])
    best, first, by_path = sides_of(["search", "search/trial-0", f"x={folder}/trial-1"], tmp_path)
    assert (best.name, best.trial, best.is_chosen, best.trials) == ("search", 1, True, 2)
    assert (first.name, first.trial, first.is_chosen) == ("search/trial-0", 0, False)
    assert (by_path.name, by_path.trial, len(by_path.runs)) == ("x", 1, 5)
    with pytest.raises(RunError, match="there is no trial 7 in 2026-11-29/14-00-00-search, which has 2"):
        sides_of(["search/trial-7", "search"], tmp_path)
    with pytest.raises(RunError, match="`nothing` of `nothing/trial-7` is no experiment"):
        sides_of(["nothing/trial-7", "search"], tmp_path)


def test_a_member_of_an_experiment_is_a_run(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path, "folds", [BASE[:4]], folds=2)
    sides = sides_of(["folds", f"{folder}/trial-0000-seed-2-fold-1"], tmp_path)
    assert [each.key for each in sides[0].runs] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert [each.key for each in sides[1].runs] == [(2, 1)]


def test_one_experiment_is_its_trials(tmp_path: Path) -> None:
    make_sweep(tmp_path, "search", [BASE, OURS, [0.5, None, 0.5, 0.5, 0.5]])
    sides = sides_of(["last"], tmp_path)
    assert [side.name for side in sides] == ["trial 1: lr=0.01", "trial 0: lr=0.1"]
    make_sweep(tmp_path, "alone", [BASE], hour=15)
    with pytest.raises(RunError, match=r"15-00-00-alone has 1 trial with a result .* lighter compare EXP1 EXP2"):
        sides_of(["last"], tmp_path)


def test_trials_that_diverged_or_failed_are_no_sides_and_are_named(tmp_path: Path) -> None:
    make_sweep(tmp_path, "search", [BASE, [math.nan] * 5, OURS, [0.9, math.inf, 0.9, 0.9, 0.9], [None] * 5])
    assert [side.trial for side in sides_of(["last"], tmp_path)] == [2, 0]
    (note,) = (each for each in lighter.compare("last", root=tmp_path).notes if each.startswith("Not compared"))
    assert note.endswith(": trial 3 (inf), trial 1 (nan), trial 4 (failed).")
    assert not any(
        "Not compared" in each for each in lighter.compare("last/trial-0", "b=last/trial-2", root=tmp_path).notes
    )


def test_members_that_failed_are_named(tmp_path: Path) -> None:
    make_sweep(tmp_path, "search", [[0.9, None, 0.8]])
    make_fits(tmp_path, "base", BASE)
    path = tmp_path / "2026-11-22/10-00-04-base/run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": "interrupted"}))
    one, other = sides_of(["search/trial-0", "base"], tmp_path)
    assert one.left_out == ("trial-0000-seed-2: failed",)
    assert other.left_out == ("2026-11-22/10-00-04-base: interrupted",)
    with pytest.raises(RunError, match="no run of `10-00-04` has finished: 2026-11-22/10-00-04-base: interrupted"):
        sides_of(["10-00-04", "base"], tmp_path)


def test_a_test_has_the_name_of_its_fit(tmp_path: Path) -> None:
    make_fits(tmp_path, "base", BASE[:2])
    make_fits(tmp_path, "base", BASE[:3], hour=12, stage="test")
    make_sweep(tmp_path, "search", [BASE, OURS])
    make_fits(tmp_path, "search", BASE[:1], hour=13, stage="test")
    assert [len(side.runs) for side in sides_of(["base", "search"], tmp_path)] == [2, 5]
    assert [len(side.runs) for side in sides_of(["base", "search"], tmp_path, "test")] == [3, 5]
    make_fit(tmp_path / "2026-11-22/15-00-00-search", 0.5)
    with pytest.raises(RunError, match=r"`search` is an experiment, .*, and a run, .*; write the path of one"):
        sides_of(["search", "base"], tmp_path)


def test_a_beginning_of_an_experiment_and_a_run(tmp_path: Path) -> None:
    make_sweep(tmp_path, "search", [BASE, OURS])
    run = make_fit(tmp_path / "2026-11-29/14-00-30-other", 0.5)
    with pytest.raises(RunError, match=r"`2026-11-29/14` is an experiment, .*-search, and a run, .*-other; write the"):
        sides_of(["2026-11-29/14", "search"], tmp_path)
    sides = sides_of(["2026-11-29/14-00-30-other", "other", "14-00-00", "14-00-30"], tmp_path)
    assert [side.trial for side in sides] == [None, None, 1, None]
    assert {side.runs[0].run.folder.path.resolve() for side in sides if side.trial is None} == {run}


def test_experiments_are_not_joined_as_runs_are(tmp_path: Path) -> None:
    make_sweep(tmp_path, "search", [BASE, OURS])
    make_fits(tmp_path, "base", BASE)
    with pytest.raises(RunError, match=r"`search` is an experiment. Runs are joined by commas, experiments as tasks"):
        sides_of(["search,10-00-00", "base"], tmp_path)


def test_the_folder_of_a_project_is_no_experiment(tmp_path: Path) -> None:
    (tmp_path / "search").mkdir()
    (tmp_path / "search/config.yaml").write_text("seed: 1\n")
    folder = make_sweep(tmp_path / "outputs", "search", [BASE, OURS])
    renamed = make_sweep(tmp_path / "outputs", "other", [BASE], hour=15).rename(tmp_path / "for-the-paper")
    sides = sides_of(["search", "x=for-the-paper"], tmp_path / "outputs")
    assert [side.experiment.resolve() for side in sides if side.experiment] == [folder, renamed]


def test_runs_that_do_not_count(tmp_path: Path) -> None:
    make_fits(tmp_path, "base", BASE)
    make_fit(tmp_path / "2026-11-22/12-00-00-base", 0.5, 9, trainer={"fast_dev_run": True})
    assert sides_of(["base", "base"], tmp_path)[0].left_out == ("2026-11-22/12-00-00-base: fast_dev_run",)


def test_sides_of_one_name_are_told_apart(tmp_path: Path) -> None:
    make_sweep(tmp_path, "a", [BASE, OURS])
    make_sweep(tmp_path, "a", [BASE, OURS], hour=15)
    names = [side.name for side in sides_of(["14-00", "15-00", "15-00", "14-00-00-a/trial-1"], tmp_path)]
    assert names == ["2026-11-29/14-00-00-a", "2026-11-29/15-00-00-a (1)", "2026-11-29/15-00-00-a (2)", "a/trial-1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing was named; a comparison has at least two"),
        (["base"], "`base` is one side; a comparison has at least two: lighter compare A B"),
        (["base", "nothing"], "no run under .* is called `nothing`"),
        (["base", "x*"], r"no run under .* fits the pattern `x\*`"),
        (["base", "a="], "`a=` has nothing after its `=`: a side is named by NAME=SIDE"),
        (["=base", "base"], "`=base` has nothing before its `=`"),
        (["base", "last/trial-x"], "`last/trial-x` has no number: a trial is meant by EXP/trial-3"),
        (["base", "a=,"], "`,` names no run"),
        (["a=base", "a=10-00-00"], "`a` is the name of 2 sides; give each another one"),
        (["base=10-00-00", "base"], "`base` is the name of 2 sides"),
    ],
)
def test_what_words_do_not_mean(words: list[str], message: str, tmp_path: Path) -> None:
    make_fits(tmp_path, "base", BASE)
    with pytest.raises(RunError, match=message):
        sides_of(words, tmp_path)


def test_trials_joined_by_commas_are_their_members(tmp_path: Path) -> None:
    make_sweep(tmp_path, "a", [BASE[:2], OURS[:2]])
    make_sweep(tmp_path, "b", [BASE[:2]], hour=15)
    make_fits(tmp_path, "base", BASE)
    side, _ = sides_of(["x=a/trial-0,b/trial-0,10-00-04", "base"], tmp_path)
    assert [each.run.id for each in side.runs if each.seed == 1] == [
        f"{hour}-00-00-{name}/trial-0000-seed-1" for hour, name in ((14, "a"), (15, "b"))
    ]
    assert len(side.runs) == 5
    assert sides_of([",".join(["10-00-00"] * 1000), "base"], tmp_path)[0].runs[0].seed == 1


def test_where_there_are_experiments_alone_a_message_has_the_word(tmp_path: Path) -> None:
    make_sweep(tmp_path, "search", [BASE, OURS])
    with pytest.raises(RunError, match=r"no run or experiment under .* is called `serch`. Did you mean `search`\?"):
        sides_of(["search", "serch"], tmp_path)
    with pytest.raises(RunError, match=r"is called `other`. The newest is 2026-11-29/14-00-00-search"):
        sides_of(["search", "other"], tmp_path)
    make_fits(tmp_path, "base", BASE)
    with pytest.raises(RunError, match=r"no run or experiment under .* is called `serch`. Did you mean `search`\?"):
        sides_of(["search", "serch"], tmp_path)
    with pytest.raises(RunError, match=r"no run under .* is called `other`. The newest is 2026-11-22/10-00-04-base"):
        sides_of(["search", "other"], tmp_path)
