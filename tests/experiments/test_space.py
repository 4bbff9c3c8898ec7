"""The section `experiment::search` to a space: its points, the config's own among them, and all its mistakes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from lighter.config import Config
from lighter.config.load import load
from lighter.config.problems import Problem
from lighter.config.references import check_references, expand
from lighter.errors import ConfigError
from lighter.experiments.parameters import Choices, Range, Subtrees, is_same
from lighter.experiments.shown_values import shown_values
from lighter.experiments.space import Space, parse_space
from tests.experiments.spaces import CONFIG, parsed, section, space

ALL = """
    space:
      model::optimizer::lr: {from: 1e-5, to: 1e-1, scale: log}
      model::dropout: {from: 0.0, to: 0.5, step: 0.1}
      model::layers: {from: 2, to: 8}
      model::name: [plain, "@vars::width", null, {a: [1, 2]}]
      data::train_dataloader::batch_size: {from: 8, to: 64, scale: log}
      model::network:
        choose:
          small: {_target_: my.Net, width: {from: 8, to: 64}, activation: {choose: [relu, gelu]}, hidden: [8, 8]}
          large: {_target_: my.Net, width: 512, blocks: [2, 2], to: cuda}
          deep: {_target_: my.Seq, layers: [{choose: {a: {x: {from: 0, to: 1.0}}, b: {y: 3}}}]}
    zip:
      model::width: [64, 128, 256]
      model::depth: [2, 4, 8]
"""


def points(of: Space, number: int = 200) -> list[Any]:
    generator = random.Random(0)
    return [of.point(lambda parameter: parameter.at(generator.random())) for _ in range(number)]


def test_points_of_all_kinds_of_parameters(tmp_path: Path) -> None:
    whole = space(tmp_path, ALL)
    kinds = [type(parameter) for parameter in whole.parameters]
    assert kinds == [Range, Range, Range, Choices, Subtrees, Range, Choices]
    drawn = points(whole)
    assert all(1e-5 <= point["model::optimizer::lr"] <= 1e-1 for point in drawn)
    assert sum(point["model::optimizer::lr"] < 1e-3 for point in drawn) in range(70, 130)  # the scale is logarithmic
    assert {point["model::dropout"] for point in drawn} == {0.0, 0.1, 0.2, 0.3, 0.4, 0.5}
    assert {point["model::layers"] for point in drawn} == {2, 3, 4, 5, 6, 7, 8}
    assert [point["model::name"] for point in drawn].count("plain") in range(20, 80)
    batch_sizes = {point["data::train_dataloader::batch_size"] for point in drawn}
    assert all(type(size) is int and 8 <= size <= 64 for size in batch_sizes)
    assert {(point["model::width"], point["model::depth"]) for point in drawn} == {(64, 2), (128, 4), (256, 8)}
    networks = [point["model::network"] for point in drawn]
    assert {"_target_": "my.Net", "width": 512, "blocks": [2, 2], "to": "cuda"} in networks
    assert {"_target_": "my.Seq", "layers": [{"y": 3}]} in networks
    small = [network for network in networks if "hidden" in network]
    assert {network["activation"] for network in small} == {"relu", "gelu"}
    assert all(8 <= network["width"] <= 64 and network["hidden"] == [8, 8] for network in small)
    assert any(0 < network["layers"][0].get("x", 0) < 1 for network in networks if "layers" in network)


def test_values_lead_back_to_their_picks(tmp_path: Path) -> None:
    whole = space(tmp_path, ALL)
    for point in points(whole):
        picks = whole.picks(point)
        assert picks is not None
        assert whole.at(picks) == point
    assert whole.picks({**point, "model::layers": 9}) is None
    assert whole.picks({**point, "model::layers": 3.0}) is None
    assert whole.picks({**point, "model::dropout": 0.25}) is None
    assert whole.picks({**point, "model::network": {"_target_": "my.Net"}}) is None
    assert whole.picks({key: value for key, value in point.items() if key != "model::depth"}) is None


@pytest.mark.parametrize(
    "written",
    [
        "{from: 1e-5, to: 1e-1, scale: log}",
        "{from: 0.1, to: 0.7}",
        "{from: 0.1, to: 0.7, step: 0.2}",
        "{from: -3, to: 3}",
        "{from: -3, to: 4, step: 3}",
        "{from: 1, to: 1000, scale: log}",
    ],
)
def test_ranges_reach_both_ends_and_nothing_beyond(written: str, tmp_path: Path) -> None:
    parameter = space(tmp_path, f"    space: {{model::x: {written}}}\n").parameters[0]
    assert isinstance(parameter, Range)
    last = parameter.value(parameter.size - 1) if parameter.size is not None else parameter.high
    assert parameter.at(0.0) == pytest.approx(parameter.low, rel=1e-12)
    assert parameter.at(1 - 2**-53) == pytest.approx(last, rel=1e-9)
    drawn = [parameter.at(number / 1000) for number in range(1000)]
    assert drawn == sorted(drawn)
    for value in (parameter.low, last, drawn[500]):
        near = [parameter.near(value, unit) for unit in (0.0, 0.01, 0.5, 0.99, 1.0)]
        assert all(parameter.low <= each <= parameter.high for each in near)
        assert near[2] == pytest.approx(value, rel=1e-9)


def test_points_do_not_share_what_is_in_them(tmp_path: Path) -> None:
    whole = space(tmp_path, "    space: {model::name: [{a: [1]}], model::network: {choose: {one: {b: [2]}}}}\n")
    first = points(whole, 1)[0]
    first["model::name"]["a"].append(5)
    first["model::network"]["b"].append(5)
    assert points(whole, 1)[0] == {"model::name": {"a": [1]}, "model::network": {"b": [2]}}


def test_a_few_points_have_all_choices_and_ends(tmp_path: Path) -> None:
    extremes = space(tmp_path, ALL).extremes()
    assert len(extremes) == 6
    assert {point["model::optimizer::lr"] for point in extremes} == {1e-5, 1e-1}
    assert {point["model::dropout"] for point in extremes} == {0.0, 0.5}
    assert {point["model::depth"] for point in extremes} == {2, 4, 8}
    assert [repr(point["model::network"].get("width")) for point in extremes] == ["8", "64", "512", *["None"] * 3]
    assert [point["model::network"]["layers"] for point in extremes[3:]] == [[{"x": 0.0}], [{"x": 1.0}], [{"y": 3}]]


def test_own_values_are_those_of_the_config_that_lie_in_the_space(tmp_path: Path) -> None:
    whole = space(tmp_path, ALL)
    assert whole.own == {
        "model::optimizer::lr": 0.001,
        "model::dropout": 0.1,
        "model::layers": 4,
        "model::name": 0,
        "data::train_dataloader::batch_size": 32,
        "model::network": 0,
        "model::network(small)::width": 16,
        "model::network(small)::activation": 0,
    }  # the config has no width and depth
    worked_out = (
        "    space: {model::wide: {from: 8, to: 128}, model::layers: [1, 2], model::optimizer::lr: [1.0e-3, 1]}\n"
    )
    assert space(tmp_path, worked_out).own == {"model::wide": 64, "model::optimizer::lr": 0}


def test_several_dicts_of_values_that_go_together(tmp_path: Path) -> None:
    several = "    zip:\n    - {model::a: [1, 2], model::b: [3, 4]}\n    - {model::c: [a, b], model::d: [c, d]}\n"
    drawn = {tuple(point.values()) for point in points(space(tmp_path, several))}
    assert drawn == {(1, 3, "a", "c"), (1, 3, "b", "d"), (2, 4, "a", "c"), (2, 4, "b", "d")}


def test_where_sees_the_config_with_the_values_laid_over(tmp_path: Path) -> None:
    def allows(where: str, **values: Any) -> bool:
        named = {key.replace("__", "::"): value for key, value in values.items()}
        listed = ", ".join(f"{path}: {[value, 'other']}" for path, value in named.items())
        return space(tmp_path, f"    space: {{{listed}}}\n    where: {where}\n").allows(named)

    assert allows('"$@model::wide == 64"', model__name="x")
    assert allows('"$@model::optimizer::betas[0] > @model::dropout and @vars::width in (8, 32)"', model__name="x")
    assert not allows("\"$@model::name == 'other'\"", model__name="x")
    assert allows("[\"$@model::name != 'y'\", \"$@model::name != 'z'\"]", model__name="x")
    assert not allows("[\"$@model::name != 'y'\", \"$@model::name != 'z'\"]", model__name="z")


def test_where_goes_through_references_and_copies(tmp_path: Path) -> None:
    limited = space(tmp_path, '    space: {vars::width: {from: 1, to: 100}}\n    where: "$@model::wide < 100"\n')
    assert limited.allows({"vars::width": 49})
    assert not limited.allows({"vars::width": 50})
    copied = space(
        tmp_path, '    space: {model::name: ["%model::network", 1]}\n    where: "$@model::name::width == 16"\n'
    )
    assert copied.allows({"model::name": "%model::network"})
    # There is no width in this point's name: nothing that could be restricted.
    assert copied.allows({"model::name": 1})


def test_where_leaves_the_config_as_it_is(tmp_path: Path) -> None:
    limited = space(
        tmp_path,
        '    space: {model::optimizer::betas::0: [0.5, 0.6], model::new: [1]}\n    where: "$@model::new == 1"\n',
    )
    before = limited.config.merged.plain()
    assert limited.allows({"model::optimizer::betas::0": 0.5, "model::new": 1})
    assert limited.config.merged.plain() == before


def test_where_that_cannot_be_worked_out_for_a_point_says_so(tmp_path: Path) -> None:
    limited = space(tmp_path, '    space: {model::layers: [1, 2]}\n    where: "$1 / @model::layers > 0"\n')
    with pytest.raises(ConfigError, match=r"ZeroDivisionError.*\n.*\n.*\n.*tried for model::layers=0"):
        limited.allows({"model::layers": 0})


RANGE = "    space: {model::optimizer::lr: %s}\n"
FORMS = "A parameter is a list of choices"
MISTAKES = [
    ("    space: {}\n", "c.yaml:3:5: experiment::search: the search space is empty", "For example"),
    ("    where: $@seed == 1\n", "the search space is empty", ""),
    ("    space: [1]\n", "c.yaml:3:5: experiment::search::space: this is no parameter: a list", FORMS),
    (RANGE % "3", "c.yaml:3:13: experiment::search::space::model::optimizer::lr: this is no parameter: 3", FORMS),
    (RANGE % "{min: 1, max: 3}", "this is no parameter: a dict", FORMS),
    (RANGE % "{form: 1, stop: 3}", "a parameter has no `form`", "Did you mean `from`?"),
    (RANGE % "{}", "this is no parameter: a dict", FORMS),
    (RANGE % "{from: 3, too: 5}", "c.yaml:3:45: experiment::search::space::model::optimizer::lr::too", "`to`"),
    (RANGE % "{from: 3}", "a range has two ends; `to` is missing", "{from: 1, to: 9}"),
    (RANGE % "{from: a, to: 9}", "`from` is a number; found 'a'", ""),
    (RANGE % "{from: 1, to: .inf}", "`to` is a number; found inf", ""),
    (RANGE % "{from: true, to: 3}", "`from` is a number; found true", ""),
    (RANGE % "{from: 9, to: 1}", "this range is empty: 9 is above 1", "{from: 1, to: 9}"),
    (RANGE % "{from: 9, to: 9}", "this range has one value: both ends are 9", "Set it in the config"),
    (RANGE % "{from: 0, to: 9, scale: log}", "lr::from: a range from 0 has no log scale", "above 0"),
    (RANGE % "{from: 1, to: 9, scale: lgo}", "a scale is linear or log; found 'lgo'", ""),
    (RANGE % "{from: 1, to: 9, step: 0}", "a step is above 0; found 0", ""),
    (RANGE % "{from: 1, to: 9, step: x}", "`step` is a number; found 'x'", ""),
    (RANGE % "{from: 1, to: 9, step: 10}", "this step of 10 is larger than the range, which is 8 wide", ""),
    (RANGE % "{from: 1, to: 9, step: 2, scale: log}", "a range on a log scale has no steps", "list the values"),
    (RANGE % "[]", "there is nothing to choose from: the list is empty", ""),
    (RANGE % "[1, 2, 1]", "c.yaml:3:42: experiment::search::space::model::optimizer::lr::2: this choice", ""),
    (RANGE % "{choose: {}}", "`choose` has no options", ""),
    (RANGE % "{choose: []}", "the list is empty", ""),
    (RANGE % "{choose: {a: 3}}", "lr::choose::a: an option is a subtree; found 3", "{choose: [a, b]}"),
    (RANGE % "{choose: {a: {from: 1, to: 3}}}", "an option is a subtree; found a dict", ""),
    (RANGE % "{choose: {a: {x: 1}, b: {x: 1}}}", "this option is the same as one before", ""),
    (RANGE % "{choose: {a: {x: 1}}, b: 3}", "a parameter has no such key", ""),
    (RANGE % "{choose: {a: {x: [{from: 3, to: 1}]}}}", "lr::choose::a::x::0: this range is empty", ""),
    (
        "    space: {model::optimizer::lr: {from: 1, to: 3}, model::optimizer::lr::x: [1]}\n",
        "this path is inside another one of the space, `model::optimizer::lr`",
        "",
    ),
    (
        "    space: {model::optimizer::lr: [1, 2]}\n    zip: {model::optimizer: [1, 2], model::name: [1, 2]}\n",
        "`model::optimizer::lr` is inside another path of the space, `model::optimizer`",
        "",
    ),
    (
        "    space: {model::name: [1, 2]}\n    zip: {model::name: [1, 2], model::layers: [1, 2]}\n",
        "`model::name` has values already",
        "",
    ),
    ("    space: {seed: [1, 2]}\n", "`seed` is not searched over", "experiment::seeds"),
    ("    space: {modle::name: [1, 2]}\n", "the config has no `modle` that `name`", "Did you mean `model`?"),
    ("    space: {model::optimzer::lr: [1, 2]}\n", "no `model::optimzer`", "Did you mean `model::optimizer`?"),
    ("    space: {model::name::x: [1, 2]}\n", "`x` cannot be found inside 'plain'", ""),
    ("    space: {model::optimizer::betas::5: [1, 2]}\n", "there is no item 5: the list has 2 items", "0 to 1"),
    ("    zip: {model::name: [1, 2], model::layers: [1]}\n", "lists of one length", "model::layers has 1"),
    ("    zip: {model::name: [1, 2]}\n", "`zip` takes two paths or more", "zip: {"),
    ("    zip: {model::name: [], model::layers: []}\n", "the lists are empty", ""),
    ("    zip: {model::name: [1, 1], model::layers: [2, 2]}\n", "row 1 is written twice: [1, 2]", ""),
    ("    zip: {model::name: 3, model::layers: [2, 2]}\n", "values that go together are lists; found 3", ""),
    ("    zip: 3\n", "values that go together are lists; found 3", ""),
    ("    space: {model::name: [1]}\n    where: a < 1\n", "c.yaml:4:12: experiment::search::where: a constraint", "$@"),
    ("    space: {model::name: [1]}\n    where: [$1 < 2]\n", "this constraint refers to nothing", ""),
    ("    space: {model::name: [1]}\n    where: $@model::name <\n", "this is no expression", ""),
    (
        "    space: {model::name: [1]}\n    where: $@model::nam < 1\n",
        "`@model::nam` refers to nothing",
        "`model::name`",
    ),
    ("    space: {model::name: [1]}\n    where: $max(@model::name, 1) < 1\n", "does not evaluate Call", ""),
    ("    space: {model::name: [a]}\n    where: $@model::name < 1\n", "TypeError", "It was tried for model::name='a'."),
]


@pytest.mark.parametrize(("search", "message", "hint"), MISTAKES, ids=range(len(MISTAKES)))
def test_mistakes_are_shown_at_their_place(
    search: str, message: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, problems = parsed(Path(), search)
    texts = [str(problem) for problem in problems]
    assert len(texts) == 1, texts
    assert message in texts[0]
    assert hint in problems[0].hint
    assert texts[0].startswith("c.yaml:")


def test_all_mistakes_are_found_at_once(tmp_path: Path) -> None:
    _, problems = parsed(
        tmp_path,
        "    space:\n      model::optimizer: {lr: {from: 3, to: 1, step: -1}, betas: [], eps: 1}\n"
        "      model::layers: [2]\n"
        "    zip: {model::layers: [1], model::name: [1, 2]}\n    where: nothing\n",
    )
    assert len(problems) == 6


def test_values_are_the_same_by_type_and_text_of_their_keys() -> None:
    assert is_same({1: [1.0, float("nan")]}, {"1": [1, float("nan")]})
    assert not is_same(1, True)
    assert not is_same([True], [1])
    assert not is_same({"a": 1}, {"a": 1, "b": 2})
    assert not is_same([1], [1, 2])


def test_the_section_is_left_as_it_is(tmp_path: Path) -> None:
    node, config = section(tmp_path, ALL)
    before = node.plain()
    points(parse_space(node, config, []))
    assert node.plain() == before


def test_copies_and_references_are_those_of_the_members_config(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    search = """
    space: {vars::width: [1, 2], model::network: {choose: {a: {b: "%vars::width", c: "@::::name"}, d: {e: 1}}}}
    where: "$@model::network::e < 3"
"""
    file.write_text(f"experiment:\n  search:{search}{CONFIG}")
    root = load([file])
    problems: list[Problem] = []
    expanded = expand(root, problems)
    check_references(expanded, problems)
    section = expanded.find("experiment::search")
    assert section is not None
    whole = parse_space(section, Config(root, expanded), problems)
    assert not problems
    assert [point["model::network"] for point in whole.extremes()] == [
        {"b": "%vars::width", "c": "@::::name"},
        {"e": 1},
    ]


def test_a_named_subtree_is_shown_by_its_name(tmp_path: Path) -> None:
    made = space(
        tmp_path,
        """
    space:
      model::lr: {from: 0.1, to: 1.0}
      model::network:
        choose:
          small: {_target_: my.Net, width: {from: 8, to: 64}, inner: {choose: {a: {x: 1}, b: {y: {from: 0, to: 9}}}}}
          large: {_target_: my.Net, width: 512, inner: {x: 1}}
""",
    )
    for tree, shown in (
        ({"_target_": "my.Net", "width": 16, "inner": {"x": 1}}, {"": "small", "::width": 16, "::inner": "a"}),
        (
            {"_target_": "my.Net", "width": 16, "inner": {"y": 3}},
            {"": "small", "::width": 16, "::inner": "b", "::inner::y": 3},
        ),
        ({"_target_": "my.Net", "width": 512, "inner": {"x": 1}}, {"": "large"}),
        ({"_target_": "gone.Net", "width": 1}, {"::_target_": "gone.Net", "::width": 1}),
    ):
        found = shown_values(made.parameters, {"model::lr": 0.5, "model::network": tree})
        assert found == {"model::lr": 0.5, **{f"model::network{path}": value for path, value in shown.items()}}
