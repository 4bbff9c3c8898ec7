"""Random, grid and Sobol search: what they suggest, in any process, with or without constraints."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import qmc

from lighter.config.problems import Problem
from lighter.errors import ConfigError
from lighter.experiments.search.base import RandomSearch, Search
from lighter.experiments.search.grid import GridSearch
from lighter.experiments.search.make import make_search
from lighter.experiments.search.sobol import SobolSearch, sobol
from lighter.experiments.space import parse_space
from lighter.experiments.trials import Member, Objective, Trial
from tests.experiments.spaces import section, space

SPACE = """
    space:
      model::optimizer::lr: {from: 1e-5, to: 1e-1, scale: log}
      model::layers: {from: 2, to: 8}
      model::network: {choose: {small: {width: {from: 8, to: 64}}, large: {width: 512, hidden: [8]}}}
      data::train_dataloader::batch_size: [16, 32, 64]
"""
LIMITED = SPACE + '    where: "$@model::optimizer::lr * @data::train_dataloader::batch_size < 0.01"\n'
GRID = """
    space:
      model::dropout: {from: 0.0, to: 0.2, step: 0.1}
      model::network: {choose: {small: {width: [8, 16]}, large: {width: {choose: [256, 512]}}}}
      model::layers: {from: 3, to: 4}
"""


def made(folder: Path, search: str, method: str | None = None, **more: Any) -> tuple[Search | None, list[Problem]]:
    node, config = section(folder, search + (f"    method: {method}\n" if method else ""))
    problems: list[Problem] = []
    parsed = parse_space(node, config, problems)
    assert not problems
    objectives = more.get("objectives", [Objective("loss")])
    return make_search(node.child("method"), parsed, more.get("seed", 0), objectives, problems), problems


@pytest.mark.parametrize("kind", [RandomSearch, SobolSearch])
def test_the_first_trial_has_the_configs_own_values(kind: type[Search], tmp_path: Path) -> None:
    same = "{_target_: my.Net, activation: relu, hidden: [8, 8], width: {from: 8"
    search = kind(space(tmp_path, SPACE.replace("{width: {from: 8", same)), 0)
    assert search.suggest(0, []) == {
        "model::optimizer::lr": 0.001,
        "model::layers": 4,
        "model::network": {"_target_": "my.Net", "activation": "relu", "hidden": [8, 8], "width": 16},
        "data::train_dataloader::batch_size": 32,
    }
    assert search.suggest(1, []) != search.suggest(0, [])


@pytest.mark.parametrize("kind", [RandomSearch, SobolSearch])
def test_what_the_config_does_not_have_is_drawn_for_the_first_trial(kind: type[Search], tmp_path: Path) -> None:
    values = kind(space(tmp_path, SPACE), 0).suggest(0, [])
    assert values is not None
    assert values["model::layers"] == 4
    assert values["model::network"]["width"] in {*range(8, 65), 512}


@pytest.mark.parametrize("kind", [RandomSearch, SobolSearch])
def test_own_values_that_are_not_allowed_are_not_suggested(kind: type[Search], tmp_path: Path) -> None:
    search = kind(space(tmp_path, LIMITED), 0)
    first = search.suggest(0, [])
    assert first is not None
    assert first["model::optimizer::lr"] != 0.001
    drawn = [repr(search.suggest(number, [])) for number in range(50)]
    assert len({*drawn}) == 50


@pytest.mark.parametrize("kind", [RandomSearch, SobolSearch])
def test_all_suggestions_lie_in_the_space_and_satisfy_its_constraints(kind: type[Search], tmp_path: Path) -> None:
    limited = space(tmp_path, LIMITED)
    search = kind(limited, 3)
    for number in range(100):
        values = search.suggest(number, [])
        assert values is not None
        assert limited.picks(values) is not None
        assert values["model::optimizer::lr"] * values["data::train_dataloader::batch_size"] < 0.01
    assert search.size() is None


@pytest.mark.parametrize("kind", [RandomSearch, SobolSearch])
def test_suggestions_depend_on_seed_and_number_alone(kind: type[Search], tmp_path: Path) -> None:
    limited = space(tmp_path, LIMITED)
    one, other = kind(limited, 0), kind(limited, 0)
    backwards = {number: other.suggest(number, []) for number in reversed(range(30))}
    assert [one.suggest(number, []) for number in range(30)] == [backwards[number] for number in range(30)]
    assert kind(limited, 1).suggest(5, []) != one.suggest(5, [])


@pytest.mark.parametrize("kind", [RandomSearch, SobolSearch])
def test_suggestions_are_the_same_in_every_version(kind: type[Search], tmp_path: Path) -> None:
    # An experiment that began with one version goes on with the next: change these only with a reason.
    values = kind(space(tmp_path, SPACE), 0).suggest(7, [])
    assert values is not None
    known = {
        RandomSearch: (0.08721381239152831, 3, 32),
        SobolSearch: (0.0004575786593645858, 8, 64),
    }[kind]
    assert values["model::optimizer::lr"] == pytest.approx(known[0], rel=1e-9)
    assert (values["model::layers"], values["data::train_dataloader::batch_size"]) == known[1:]


@pytest.mark.parametrize("kind", [RandomSearch, SobolSearch])
def test_constraints_that_nothing_satisfies_are_an_error(kind: type[Search], tmp_path: Path) -> None:
    search = kind(space(tmp_path, SPACE + '    where: "$@model::layers > 9"\n'), 0)
    with pytest.raises(ConfigError, match=r"no point was found that satisfies this, in 1000 draws[\s\S]*`zip`"):
        search.suggest(1, [])


@pytest.mark.parametrize("kind", [RandomSearch, SobolSearch, GridSearch])
def test_late_suggestions_are_fast(kind: type[Search], tmp_path: Path) -> None:
    many = "    space: {model::layers: {from: 1, to: 100}, model::name: {from: 1, to: 20}}\n"
    search = kind(space(tmp_path, many if kind is GridSearch else LIMITED), 0)
    begin = time.thread_time()
    assert search.suggest(1000, [])
    assert time.thread_time() - begin < 0.2


def test_the_sobol_sequence_is_scipys() -> None:
    theirs = qmc.Sobol(32, scramble=False, bits=32).random(256)
    assert [[bits / 2**32 for bits in sobol(number, 32)] for number in range(256)] == theirs.tolist()


def test_scrambled_sobol_points_fill_each_dimension_evenly(tmp_path: Path) -> None:
    listed = "".join(f"      model::p{number}: {{from: 0.0, to: 1.0}}\n" for number in range(40))
    search = SobolSearch(space(tmp_path, f"    space:\n{listed}"), 5)
    points = [search.suggest(number, []) for number in range(64)]
    for number in range(32):
        cells = {int(point[f"model::p{number}"] * 64) for point in points if point is not None}
        assert len(cells) == 64  # one point in each of 64 equal parts
    # Those after the 32nd dimension are random.
    assert len({int(point["model::p39"] * 64) for point in points if point is not None}) in range(30, 56)


def test_a_grid_has_all_combinations_in_order(tmp_path: Path) -> None:
    search, problems = made(tmp_path, GRID, "grid")
    assert search is not None
    assert not problems
    networks = [{"width": [8, 16]}, {"width": 256}, {"width": 512}]
    expected = [
        {"model::dropout": dropout, "model::network": network, "model::layers": layers}
        for dropout in (0.0, 0.1, 0.2)
        for network in networks
        for layers in (3, 4)
    ]
    assert search.size() == 18
    assert [search.suggest(number, []) for number in range(18)] == expected
    assert search.suggest(18, []) is None


def test_a_grid_begins_with_the_configs_own_values(tmp_path: Path) -> None:
    search, _ = made(tmp_path, "    space: {model::layers: [2, 4, 6], model::dropout: [0.1, 0.2]}\n", "grid")
    assert search is not None
    points = [[*(search.suggest(number, []) or {}).values()] for number in range(6)]
    assert points == [[4, 0.1], [2, 0.1], [2, 0.2], [4, 0.2], [6, 0.1], [6, 0.2]]


def test_a_grid_leaves_out_what_the_constraints_exclude(tmp_path: Path) -> None:
    limited = (
        '    space: {model::layers: [1, 2, 3], model::name: [1, 2, 3]}\n    where: "$@model::layers < @model::name"\n'
    )
    search, _ = made(tmp_path, limited, "grid")
    assert search is not None
    assert search.size() == 3
    points = [[*(search.suggest(number, []) or {}).values()] for number in range(3)]
    assert points == [[1, 2], [1, 3], [2, 3]]


@pytest.mark.parametrize(
    ("search", "message", "hint"),
    [
        (SPACE, "lr: a grid needs the steps of a range", "On a log scale list its values"),
        (
            "    space: {model::dropout: {from: 0.0, to: 0.5}}\n",
            "a grid needs the steps of a range",
            "Give it a `step`",
        ),
        (
            "    space: {model::network: {choose: {a: {x: {from: 0.0, to: 0.5}}}}}\n",
            "model::network(a)::x: a grid needs",
            "",
        ),
        (
            "    space: {model::layers: {from: 1, to: 1000}, model::name: {from: 1, to: 200}}\n",
            "200,000 points",
            "random",
        ),
    ],
)
def test_a_grid_needs_values_to_count(search: str, message: str, hint: str, tmp_path: Path) -> None:
    grid, problems = made(tmp_path, search, "grid")
    assert grid is None
    assert len(problems) == 1
    assert message in str(problems[0])
    assert hint in problems[0].hint
    assert "c.yaml:" in str(problems[0])


@pytest.mark.parametrize(
    ("method", "message", "hint"),
    [
        ("sobl", "there is no method of search 'sobl'", "Did you mean `sobol`?"),
        ("3", "there is no method of search 3", "optuna.samplers"),
        ("{_target_: optuna.samplers.TPESample}", "has no `TPESample`", "Did you mean `TPESampler`?"),
        ("{_target_: optuna.samplers.TPESampler, seeed: 3}", "seeed", "seed"),
        ("{_target_: optuna.samplers.TPESampler, seed: 3}", "a sampler has no seed of its own", "another one for each"),
        ("{_target_: optuna.samplers.NSGAIISampler, population_size: 1}", "opulation", ""),
        ("{_target_: builtins.dict}", "a method of search is a sampler of Optuna's; this is dict", "tpe"),
        ("{_target_: optuna.samplers.QMCSampler}", "counts what it has suggested", "method: sobol"),
        ("{_target_: optuna.samplers.GridSampler, search_space: {x: [1]}}", "GridSampler", "method: grid"),
    ],
)
def test_mistakes_of_the_method(method: str, message: str, hint: str, tmp_path: Path) -> None:
    search, problems = made(tmp_path, SPACE, method)
    assert search is None
    assert len(problems) == 1, problems
    assert message in str(problems[0])
    assert hint in problems[0].hint
    assert "c.yaml:" in str(problems[0])


def test_without_a_method_choices_are_a_grid_and_ranges_are_random(tmp_path: Path) -> None:
    assert isinstance(made(tmp_path, SPACE)[0], RandomSearch)
    assert isinstance(made(tmp_path, "    space: {model::layers: [1, 2]}\n")[0], GridSearch)
    assert isinstance(made(tmp_path, SPACE, "sobol")[0], SobolSearch)
    assert isinstance(made(tmp_path, SPACE, "random")[0], RandomSearch)


@pytest.mark.parametrize("method", ["random", "sobol", "tpe"])
def test_no_point_is_suggested_twice(method: str, tmp_path: Path) -> None:
    limited = (
        '    space: {model::layers: [1, 2, 3], model::name: [1, 2]}\n    where: "$@model::layers + @model::name < 5"\n'
    )
    search, _ = made(tmp_path, limited, method)
    assert search is not None
    history: list[Trial] = []
    for number in range(5):
        values = search.suggest(number, history)
        assert values is not None
        assert values not in [trial.values for trial in history]
        history.append(Trial(number, values, [Member(number, 0, None, values)]))
    assert search.suggest(5, history) is None


def test_a_point_is_suggested_twice_where_there_are_too_many_to_list(tmp_path: Path) -> None:
    few = space(tmp_path, "    space: {model::layers: {from: 1, to: 2, scale: log}}\n")
    search = RandomSearch(few, 0)
    values = [search.suggest(number, []) for number in range(2)]
    history = [Trial(number, {"model::layers": number + 1}, []) for number in range(2)]
    assert search.suggest(2, history) in ({"model::layers": 1}, {"model::layers": 2})
    assert None not in values


def test_the_only_allowed_point_of_many_is_found(tmp_path: Path) -> None:
    rare = "    space: {model::layers: {from: 1, to: 60}, model::name: {from: 1, to: 60}}\n"
    rare += '    where: "$@model::layers * @model::name > 3590"\n'
    assert RandomSearch(space(tmp_path, rare), 0).suggest(1, []) == {"model::layers": 60, "model::name": 60}
