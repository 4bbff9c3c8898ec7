"""Optuna's samplers on records: rebuilt for each suggestion, they suggest what they would in a study that lives on."""

from __future__ import annotations

import logging
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from lighter.config.problems import Problem
from lighter.config.safe import SafeMode
from lighter.experiments.search.base import RandomSearch, Search
from lighter.experiments.search.make import make_search
from lighter.experiments.search.optuna import OptunaSearch, TPESearch
from lighter.experiments.space import parse_space
from lighter.experiments.trials import FAILED, FINISHED, PAUSED, RUNNING, Member, Objective, Trial, Values
from tests.experiments.spaces import section, space

LOSS = Objective("loss")
LR, BATCH_SIZE = "model::optimizer::lr", "data::train_dataloader::batch_size"
SPACE = """
    space:
      model::optimizer::lr: {from: 1e-5, to: 1e-1, scale: log}
      model::dropout: {from: 0.0, to: 1.0, step: 0.05}
      model::layers: {from: 1, to: 9}
      model::name: [plain, other, third]
      data::train_dataloader::batch_size: [16, 32, 64, 128]
"""
CONDITIONAL = """
    space:
      model::optimizer::lr: {from: 1e-5, to: 1e-1, scale: log}
      model::network:
        choose: {small: {width: {from: 8, to: 64, scale: log}}, large: {width: 512, x: {from: 0, to: 1.0}}}
"""


def loss(values: Values) -> float:
    """Smallest at a learning rate of 3e-2, which the config's own values are far from."""
    distance = (math.log10(values["model::optimizer::lr"]) - math.log10(3e-2)) ** 2
    distance += (values.get("model::dropout", 0.5) - 0.6) ** 2 + 0.02 * (values.get("model::layers", 6) - 7) ** 2
    distance += 0.3 * (values.get("model::name", "other") != "other")
    network = values.get("model::network", {})
    return distance + (network["x"] + 0.5 if "x" in network else 0.0)


def ended(number: int, values: Values, *results: float, status: str = FINISHED) -> Trial:
    rungs = {0: results} if results else {}
    return Trial(number, values, [Member(number, 0, None, values, results=rungs, status=status)])


def run(search: Search, trials: int, objective: Callable[[Values], float] = loss) -> list[Trial]:
    history: list[Trial] = []
    for number in range(trials):
        values = search.suggest(number, history)
        assert values is not None
        history.append(ended(number, values, objective(values)))
    return history


def made(folder: Path, search: str, method: str, seed: int = 0, *objectives: Objective) -> OptunaSearch:
    node, config = section(folder, search + f"    method: {method}\n")
    problems: list[Problem] = []
    parsed = parse_space(node, config, problems)
    search_of = make_search(node.child("method"), parsed, seed, objectives or [LOSS], problems)
    assert not problems, problems
    assert isinstance(search_of, OptunaSearch)
    return search_of


@pytest.mark.slow
@pytest.mark.parametrize("searched", [SPACE, CONDITIONAL], ids=["flat", "conditional"])
def test_tpe_is_better_than_random_search(searched: str, tmp_path: Path) -> None:
    parsed = space(tmp_path, searched)

    def best(search: Search) -> float:
        return min(loss(trial.values) for trial in run(search, 40))

    theirs = [best(RandomSearch(parsed, seed)) for seed in range(5)]
    ours = [best(TPESearch(parsed, seed, [LOSS])) for seed in range(5)]
    assert statistics.mean(ours) < statistics.mean(theirs)
    assert statistics.median(ours) < statistics.median(theirs)


def test_the_maximum_is_sought_where_larger_is_better(tmp_path: Path) -> None:
    search = TPESearch(space(tmp_path, SPACE), 0, [Objective("score", is_maximized=True)])
    history = run(search, 30, lambda values: -loss(values))
    assert statistics.mean(loss(trial.values) for trial in history[-10:]) < statistics.mean(
        loss(trial.values) for trial in history[:10]
    )


@pytest.mark.parametrize(
    "method",
    [
        "{_target_: optuna.samplers.TPESampler, n_startup_trials: 5}",
        "{_target_: optuna.samplers.TPESampler, n_startup_trials: 5, multivariate: false}",
        "{_target_: optuna.samplers.NSGAIISampler, population_size: 4}",
        "{_target_: optuna.samplers.RandomSampler}",
    ],
)
def test_a_rebuilt_study_suggests_what_one_that_lives_on_does(method: str, tmp_path: Path) -> None:
    search = made(tmp_path, SPACE, method)
    study = optuna.create_study()
    own = {LR: 1e-3, "model::dropout": 2, "model::layers": 3, "model::name": 0, BATCH_SIZE: 1}
    study.enqueue_trial(own)
    ours: list[Trial] = []
    for number in range(20):
        study.sampler = search.sampler(number)
        asked, theirs = asked_of(study)
        while theirs in [trial.values for trial in ours]:  # whose fit would have the same bits
            study.tell(asked, state=TrialState.FAIL)
            asked, theirs = asked_of(study)
        values = made(tmp_path, SPACE, method).suggest(number, ours)  # by a process that has just started
        assert values == theirs
        study.tell(asked, loss(theirs))
        ours.append(ended(number, values, loss(values)))


def asked_of(study: optuna.Study) -> tuple[optuna.Trial, Values]:
    asked = study.ask()
    asked.relative_params  # noqa: B018  so that the enqueued trial counts for NSGA, too
    return asked, {
        "model::optimizer::lr": asked.suggest_float(LR, 1e-5, 1e-1, log=True),
        "model::dropout": round(asked.suggest_int("model::dropout", 0, 20) * 0.05, 2),
        "model::layers": asked.suggest_int("model::layers", 0, 8) + 1,
        "model::name": ["plain", "other", "third"][int(asked.suggest_categorical("model::name", [0, 1, 2]))],
        "data::train_dataloader::batch_size": [16, 32, 64, 128][asked.suggest_int(BATCH_SIZE, 0, 3)],
    }


PROCESS = """
from pathlib import Path
import sys
from lighter.experiments.search.optuna import TPESearch
from tests.experiments.spaces import space
from tests.experiments.test_optuna import CONDITIONAL, LOSS, run
print([trial.values for trial in run(TPESearch(space(Path(sys.argv[1]), CONDITIONAL), 3, [LOSS]), 15)])
"""


@pytest.mark.slow
def test_all_processes_suggest_the_same(tmp_path: Path) -> None:
    here = [trial.values for trial in run(TPESearch(space(tmp_path, CONDITIONAL), 3, [LOSS]), 15)]
    for seed in ("1", "2"):
        command = [sys.executable, "-c", PROCESS, str(tmp_path)]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])}
        printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        assert printed.strip() == repr(here)


@pytest.mark.slow
def test_nsga_learns_from_records(tmp_path: Path) -> None:
    objectives = [Objective("loss"), Objective("size")]
    search = made(tmp_path, SPACE, "{_target_: optuna.samplers.NSGAIISampler, population_size: 8}", 0, *objectives)
    history: list[Trial] = []
    for number in range(40):
        values = search.suggest(number, history)
        assert values is not None
        history.append(ended(number, values, loss(values), float(values["model::layers"])))
    early, late = ([loss(trial.values) for trial in trials] for trials in (history[:15], history[-15:]))
    assert statistics.mean(late) < statistics.mean(early)


@pytest.mark.slow
def test_a_model_of_all_trials_is_fitted_anew(tmp_path: Path) -> None:
    searches = [made(tmp_path, SPACE, "{_target_: optuna.samplers.GPSampler, n_startup_trials: 4}") for _ in range(2)]
    history = run(searches[0], 6)
    assert searches[1].suggest(5, history[:5]) == history[5].values


def test_several_objectives(tmp_path: Path) -> None:
    search = made(tmp_path, SPACE, "tpe", 0, Objective("loss"), Objective("size", is_maximized=True))
    history: list[Trial] = []
    for number in range(14):
        values = search.suggest(number, history)
        assert values is not None
        history.append(ended(number, values, loss(values), float(values["model::layers"])))
    assert search.study(history).directions == [
        optuna.study.StudyDirection.MINIMIZE,
        optuna.study.StudyDirection.MAXIMIZE,
    ]
    assert [trial.state for trial in search.study(history).trials] == [TrialState.COMPLETE] * 14


@pytest.mark.slow
def test_cma_es_learns_from_records(tmp_path: Path) -> None:
    pytest.importorskip("cmaes", reason="cmaes is not installed, which Optuna does without")
    search = made(tmp_path, SPACE, "{_target_: optuna.samplers.CmaEsSampler, n_startup_trials: 4}")
    history = run(search, 45)
    early, late = ([loss(trial.values) for trial in trials] for trials in (history[:15], history[-15:]))
    assert statistics.mean(late) < statistics.mean(early)


def test_what_became_of_a_trial_is_told_to_optuna(tmp_path: Path) -> None:
    search = TPESearch(space(tmp_path, SPACE), 0, [LOSS])
    values = search.suggest(0, [])
    assert values is not None
    nan = float("nan")

    def member(status: str, *results: float) -> Member:
        return Member(0, 0, None, values, status=status, results={rung: (each,) for rung, each in enumerate(results)})

    cases = [
        ([member(FINISHED, 3.0, 2.0)], TrialState.COMPLETE, 2.0, {0: 3.0, 1: 2.0}),
        ([member(FINISHED, 3.0, 2.0), member(FINISHED, 5.0, 4.0)], TrialState.COMPLETE, 3.0, {0: 4.0, 1: 3.0}),
        ([member(PAUSED, 3.0)], TrialState.PRUNED, 3.0, {0: 3.0}),
        # Promoted, it is as good as at its last rung until it has reached the next one.
        ([member(RUNNING, 3.0)], TrialState.PRUNED, 3.0, {0: 3.0}),
        ([member(FINISHED, 3.0, 2.0), member(RUNNING, 5.0)], TrialState.PRUNED, 4.0, {0: 4.0}),
        ([member(RUNNING)], TrialState.RUNNING, None, {}),
        ([member(FINISHED, 3.0), member(FAILED)], TrialState.FAIL, None, {}),
        ([member(FINISHED, nan)], TrialState.PRUNED, None, {0: nan}),
    ]
    history = [Trial(number, values, members) for number, (members, *_) in enumerate(cases)]
    told = search.study(history).trials
    for trial, (_, state, value, rungs) in zip(told, cases, strict=True):
        assert trial.state == state
        assert repr(trial.intermediate_values) == repr(rungs)
        assert trial.value is None or trial.value == value or state == TrialState.PRUNED
        assert trial.params["model::layers"] == 3  # an index from 0 on
        assert trial.params["model::name"] == 0
        assert trial.params["model::optimizer::lr"] == 1e-3


def test_trials_outside_a_space_that_has_changed_are_left_out(tmp_path: Path) -> None:
    search = TPESearch(space(tmp_path, SPACE), 0, [LOSS])
    values = search.suggest(0, [])
    assert values is not None
    history = [ended(0, values, 1.0), ended(1, {**values, "model::layers": 20}, 1.0), ended(2, {}, 1.0)]
    assert len(search.study(history).trials) == 1
    assert search.suggest(3, history) is not None


def test_early_trials_are_near_the_configs_own_values(tmp_path: Path) -> None:
    distances = []
    for seed in range(20):
        search = TPESearch(space(tmp_path, SPACE), seed, [LOSS])
        near = [search.suggest(number, []) for number in (1, 3, 5, 7, 9)]
        distances += [abs(math.log10(values["model::optimizer::lr"]) + 3) for values in near if values]
        assert sum(values["model::name"] == "plain" for values in near if values) >= 1
    # A uniform draw from 1e-5 to 1e-1 is 1 away on average.
    assert statistics.mean(distances) < 0.8
    assert max(distances) <= 2


def test_constraints_hold_for_all_that_is_suggested(tmp_path: Path) -> None:
    limited = SPACE + '    where: "$@model::layers * @data::train_dataloader::batch_size < 200"\n'
    parsed = space(tmp_path, limited)
    for trial in run(TPESearch(parsed, 0, [LOSS]), 30):
        assert trial.values["model::layers"] * trial.values["data::train_dataloader::batch_size"] < 200


class Stubborn(optuna.samplers.RandomSampler):
    """Suggests one value, whatever it is told."""

    def sample_independent(self, *args: object) -> float:
        return 0.5


def test_constraints_hold_where_the_sampler_keeps_to_what_they_exclude(tmp_path: Path) -> None:
    limited = '    space: {model::dropout: {from: 0.0, to: 1.0}}\n    where: "$@model::dropout < 0.02"\n'
    search = made(tmp_path, limited, "{_target_: tests.experiments.test_optuna.Stubborn}")
    values = search.suggest(1, [])
    assert values is not None
    assert values["model::dropout"] < 0.02


def test_inner_samplers_have_seeds_too(tmp_path: Path) -> None:
    method = "{_target_: optuna.samplers.GPSampler, independent_sampler: {_target_: optuna.samplers.RandomSampler}}"
    searches = [made(tmp_path, SPACE, method) for _ in range(2)]
    assert searches[0].suggest(3, []) == searches[1].suggest(3, [])
    assert searches[0].suggest(3, []) != searches[0].suggest(4, [])


def test_optuna_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("optuna")
    level = logger.level
    run(TPESearch(space(tmp_path, CONDITIONAL), 0, [LOSS]), 15)
    assert capfd.readouterr() == ("", "")
    assert logger.level == level


@pytest.mark.parametrize("method", ["tpe", "{_target_: optuna.samplers.GPSampler}"])
def test_without_optuna_it_is_said_how_to_have_it(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "lighter.experiments.search.optuna")
    node, config = section(tmp_path, SPACE + f"    method: {method}\n")
    problems: list[Problem] = []
    assert make_search(node.child("method"), parse_space(node, config, problems), 0, [LOSS], problems) is None
    assert len(problems) == 1
    assert "pip install 'lighter[sweeps]'" in problems[0].hint


def test_a_sampler_whose_package_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lighter.experiments.search.make.find_spec", lambda name: None)
    node, config = section(tmp_path, SPACE + "    method: {_target_: optuna.samplers.CmaEsSampler}\n")
    problems: list[Problem] = []
    assert make_search(node.child("method"), parse_space(node, config, problems), 0, [LOSS], problems) is None
    assert [problem.hint for problem in problems] == ["pip install cmaes"]


def test_safe_mode_imports_no_sampler(tmp_path: Path) -> None:
    node, config = section(tmp_path, SPACE + "    method: {_target_: nowhere.Sampler, x: 1}\n")
    problems: list[Problem] = []
    parsed = parse_space(node, replace(config, safe=SafeMode()), problems)
    assert make_search(node.child("method"), parsed, 0, [LOSS], problems) is None
    assert "safe mode" in str(problems[0])
    # That of Lighter itself is no code of the config's.
    node.value["method"].value = "tpe"
    assert isinstance(make_search(node.child("method"), parsed, 0, [LOSS], []), TPESearch)


def test_search_imports_no_torch() -> None:
    modules = "lighter.experiments.search.make, lighter.experiments.search.optuna"
    program = f"import sys, {modules}; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"
