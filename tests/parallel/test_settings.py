"""The section `parallel` in the check: each mistake with its place and the nearest right thing."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lighter.base import PREFIXES
from lighter.config import examine
from lighter.config.problems import Problem
from lighter.engine.check import check
from lighter.parallel.names import matching
from lighter.parallel.same_batches import checksum
from lighter.parallel.settings import ParallelSettings, Style
from lighter.parallel.sharding import Division
from tests.parallel.fits import config
from tests.parallel.jobs import Model, Tiny

NAMES = ["network", "network.layers", "network.layers.0", "network.layers.10", "network.layers.0.attn.q"]


def problems(section: Any, stage: str = "fit", **trainer: Any) -> list[Problem]:
    given = config()
    given["trainer"] = {**given["trainer"], **trainer}
    if "devices" not in trainer:
        del given["trainer"]["devices"]
    checked, found = examine([{**given, "parallel": section}])
    assert checked is not None
    return [*found, *check(checked, stage).problems]


@pytest.mark.parametrize(
    ("section", "path", "says"),
    [
        (3, "", "this section is a dict; found 3"),
        ({"dta": 2}, "dta", "Did you mean `data`?"),
        ({"data": 0}, "data", "from 1 on or `auto`; found 0"),
        ({"data": 2, "tensor": "auto"}, "tensor", "a number of processes, from 1 on; found"),
        ({"data": 2, "shard": 3}, "shard", "a list of patterns of modules; found 3"),
        ({"data": 2, "compile": ["a", 3]}, "compile::1", "a list of patterns of modules; found 3"),
        ({"data": 1, "tensor": 2}, "tensor", "divides the layers that `plan` names"),
        ({"data": 2, "shard": []}, "shard", "trainer::strategy=ddp"),
        ({"shard": []}, "shard", "trainer::strategy=ddp"),
        ({"data": "auto", "shard": []}, "shard", "trainer::strategy=ddp"),
        ({"data": 2, "plan": ["a"]}, "plan", "gives a style to each pattern"),
        ({"data": 2, "plan": {"a": "colwse"}}, "plan::a", "Did you mean `colwise`?"),
        ({"data": 2, "plan": {"a": {"style": "rowwise", "out": 1}}}, "plan::a::out", "Did you mean `output`?"),
        ({"data": 2, "plan": {"a": {"style": "rowwise", "input": "x"}}}, "plan::a::input", "or `replicate`; found"),
    ],
)
def test_a_mistake_in_the_section_is_shown_where_it_stands(section: Any, path: str, says: str) -> None:
    [problem] = problems(section)
    assert problem.path == "::".join(filter(None, ("parallel", path)))
    assert says in f"{problem.message} {problem.hint}"


@pytest.mark.parametrize(
    ("trainer", "section", "path", "says"),
    [
        ({"strategy": "ddp"}, {"data": 2}, "trainer::strategy", "the trainer has one of its own: `ddp`"),
        ({"precision": "16-mixed"}, {"data": 2}, "trainer::precision", "found `16-mixed`"),
        ({"devices": 4}, {"data": 2}, "parallel", "data=2 times tensor=1 are 2 processes, and the trainer has 4"),
        ({"devices": "auto"}, {"data": 2}, "parallel", "the trainer has 1"),
        ({"devices": 3}, {"tensor": 2, "plan": {"head": "colwise"}}, "parallel", "3 processes cannot be divided by"),
        ({"num_nodes": 2}, {"data": 3}, "parallel", "do not fit on 2 nodes"),
        (
            {"callbacks": [{"_target_": "pytorch_lightning.callbacks.EMAWeightAveraging"}]},
            {"data": 2},
            "trainer::callbacks::0",
            "EMAWeightAveraging copies the network",
        ),
    ],
)
def test_what_does_not_work_beside_it_is_said_before_the_run(trainer: Any, section: Any, path: str, says: str) -> None:
    [problem] = problems(section, **trainer)
    assert problem.path == path
    assert says in problem.message


@pytest.mark.parametrize("trainer", [{}, {"devices": 2}, {"devices": 1, "num_nodes": 2}, {"strategy": "auto"}])
def test_sizes_that_fit(trainer: Any) -> None:
    assert problems({"data": 2, "shard": ["layers.*"]}, **trainer) == []


def test_predictions_with_tensor_ranks_are_refused() -> None:
    [problem] = problems({"data": 1, "tensor": 2, "plan": {"head": "colwise"}}, "predict")
    assert problem.path == "parallel::tensor"
    assert "parallel::tensor=1" in problem.hint


def test_a_plain_module_divides_itself() -> None:
    given = {**config(), "model": {"_target_": "tests.jobs.PlainClassifier"}, "parallel": {"data": 2}}
    del given["trainer"]["devices"]
    checked, _ = examine([given])
    assert checked is not None
    [problem] = check(checked, "fit").problems
    assert "PlainClassifier divides its own in `configure_model`" in problem.message


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("network.layers.*", NAMES[2:4]),
        ("layers.*", NAMES[2:4]),
        ("layers.[0-9]", NAMES[2:3]),
        ("layers.?", NAMES[2:3]),
        ("**.q", NAMES[4:]),
        ("network.**", NAMES[1:]),
        ("layer", []),
        ("**.attn.**", NAMES[4:]),
        ("layers.[!1-9]", NAMES[2:3]),
        ("layers.[^1-9]", NAMES[2:3]),
        ("network[!q]layers", []),
        ("[.x", []),
        ("layers.[9-0]", []),
        ("layers.[[0]", NAMES[2:3]),
    ],
)
def test_a_star_stands_for_one_step_of_a_name(pattern: str, fits: list[str]) -> None:
    assert matching(pattern, NAMES, ("network.",)) == fits


def test_without_shards_beside_tensor_ranks_only_the_fit_knows() -> None:
    section = {"tensor": 2, "shard": [], "plan": {"head": "colwise"}}
    assert problems(section, devices=2) == []
    assert "there is nothing to divide" in problems({**section, "data": 2}, devices=4)[0].message


def test_the_checksum_of_a_batch() -> None:
    batch = {"x": torch.arange(6.0).reshape(2, 3), "y": (torch.tensor(1), ["a", 2]), "half": torch.ones(2).bfloat16()}
    assert checksum(batch) == checksum({**batch, "x": torch.arange(6.0).reshape(3, 2).reshape(2, 3)})
    for other in ({"x": torch.arange(1.0, 7.0).reshape(2, 3)}, {"y": (torch.tensor(1), ["b", 2])}):
        assert checksum({**batch, **other}) != checksum(batch)
    assert checksum([]) == checksum({})


def test_settings_of_a_section() -> None:
    section = {"data": "auto", "tensor": 2, "shard": "a.*", "plan": {"q": {"style": "rowwise", "output": 1}}}
    settings = ParallelSettings.of(section)
    assert settings == ParallelSettings(None, 2, ["a.*"], plan={"q": Style("rowwise", None, 1)})
    assert settings.sizes(6) == (3, 2)


def test_units_are_divided_in_the_order_of_the_network_which_is_that_of_all_processes() -> None:
    # processes hash texts each in its own way, and exchange the weights of tensor ranks unit by unit
    module = Model(Tiny(layers=12))
    expected = [*(f"network.layers.{number}" for number in range(12)), "network"]
    assert Division.of(ParallelSettings(), module, PREFIXES).units == expected
    backwards = ParallelSettings(shard=[f"layers.{number}" for number in reversed(range(12))])
    assert Division.of(backwards, module, PREFIXES).units == [*reversed(expected[:-1]), "network"]
