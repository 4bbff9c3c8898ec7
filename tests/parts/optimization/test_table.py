"""The table of what trains, and parameters that are left out or taken twice."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lighter import Runner
from lighter.errors import ConfigError, ModuleValueError
from lighter.parts.optimization.lr_schedules import ManualSchedules
from lighter.parts.optimization.optimizers import build_optimizers
from lighter.parts.optimization.parameter_groups import group_parameters
from lighter.parts.optimization.table import optimizer_table
from tests.jobs import Classifier, mlp


class Net(nn.Module):
    """A network in a module, as our modules hold it."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.ModuleDict({"backbone": mlp(), "head": nn.Linear(10, 3)})

    @property
    def named(self) -> list[tuple[str, nn.Parameter]]:
        return list(self.named_parameters())


def table(optimizers: list[torch.optim.Optimizer], net: Net, schedules: ManualSchedules | None = None) -> str:
    return optimizer_table(optimizers, net.named, ("network.",), [], schedules or ManualSchedules())


TABLE = """\
optimizers:
  optimizer  parameters              tensors  elements     lr  weight decay  schedule
  AdamW      backbone.2                    2       330  1e-05          0.01  linear warm-up from 0,
                                                                             10 steps
             backbone.0.bias               1        32  0.001          0.01
  SGD        head, 1 not of the            3        37      1             0
             module
  frozen     backbone.0.weight             1     2,048"""


def test_a_table() -> None:
    net = Net()
    net.network["backbone"][0].weight.requires_grad_(False)
    groups = group_parameters(
        [{"params": "backbone.2", "lr": 1e-5}, {"params": ["backbone.0"]}], net.named, ("network.",)
    )
    adam = torch.optim.AdamW(groups, lr=1e-3)
    sgd = torch.optim.SGD([*net.network["head"].parameters(), nn.Parameter(torch.ones(4))], lr=1)
    configured, manual = build_optimizers(
        [adam, sgd], [{"scheduler": None, "warmup": {"steps": 10, "start_factor": 0}}, None], net.named, ("network.",)
    )
    assert configured == [{"optimizer": adam}, {"optimizer": sgd}]
    schedules = ManualSchedules()
    schedules.set(manual)
    assert adam.param_groups[0]["lr"] == 0
    assert table([adam, sgd], net, schedules) == TABLE


def test_what_is_in_no_optimizer_is_shown() -> None:
    """It is an error where the optimizer comes from the config; a `configure_optimizers` of the user's may do so."""
    net = Net()
    sgd = torch.optim.SGD(net.network["head"].parameters(), lr=0.1)
    assert table([sgd], net).splitlines()[-1].split() == ["in", "none", "backbone", "4", "2,410"]


def test_a_lazy_parameter_has_no_size_yet() -> None:
    net = Net()
    net.network["lazy"] = nn.LazyLinear(4)
    assert "?" in table([torch.optim.SGD(net.parameters(), lr=0.1)], net).splitlines()[2].split()


def test_a_deep_network_stays_in_100_columns() -> None:
    net = Net()
    net.network["deep"] = nn.ModuleDict(
        {name * 9: nn.Sequential(*(nn.Conv2d(9, 9, 3, bias=i % 3 == 0) for i in range(20))) for name in "abcdefghij"}
    )
    of = torch.optim.AdamW([{"params": [p], "lr": 0.123456789} for p in net.parameters()], lr=0.1)
    scheduler = ReduceLROnPlateau(of)
    module = Classifier(net.network)
    config = type(
        "Config",
        (),
        {
            "scheduler": scheduler,
            "interval": "epoch",
            "frequency": 3,
            "reduce_on_plateau": True,
            "monitor": "val/metrics/a_very_long_name_of_a_metric/epoch",
        },
    )
    text = optimizer_table([of], list(module.named_parameters()), ("network.",), [config], ManualSchedules())
    assert len(text.splitlines()) > 100
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "ReduceLROnPlateau" in text
    by_hand = optimizer_table([of], [], (), [config], ManualSchedules(), automatic=False)
    assert "ReduceLROnPlateau, stepped by your code" in " ".join(by_hand.split())


LEFT_OUT = r"2 parameters are trainable, but in no parameter group: head\. An .* `\{params: null\}` takes the rest"
TWICE = r"2 parameters are in more than one parameter group: head. A parameter is in one group of one optimizer"


def test_a_parameter_in_no_group_or_in_two() -> None:
    net = Net()
    head, backbone = list(net.network["head"].parameters()), list(net.network["backbone"].parameters())

    def sgd(params: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(params, lr=0.1)

    def build(*optimizers: Any) -> Any:
        return build_optimizers(list(optimizers), None, net.named, ("network.",))

    build(sgd(head), sgd(backbone))
    with pytest.raises(ModuleValueError, match=LEFT_OUT):
        build(sgd(backbone))
    with pytest.raises(ModuleValueError, match=TWICE):
        build(sgd(head), sgd(backbone + head))
    with pytest.raises(ModuleValueError, match=r"group 1: 1 parameter is in another parameter group too: head"):
        group_parameters([{"params": head}, {"params": [head[1], *backbone]}], net.named, ("network.",))
    for parameter in head:
        parameter.requires_grad_(False)
    build(sgd(backbone))  # what is frozen may be left out


ADAM = {"_target_": "torch.optim.Adam", "lr": 0.01}


@pytest.mark.parametrize(
    ("optimizer", "place", "message"),
    [
        ({"params": ["2"]}, "model::optimizer::params: ", r"2 parameters are trainable, but in no [^$]*: 0\b"),
        ({"params": [{"params": "0.bias"}, "2"]}, "model::optimizer::params: ", r"1 parameter is [^$]*: 0.weight"),
        (
            {"params": [{"params": "$@model::network[2].parameters()"}, {"params": "$@model::network.parameters()"}]},
            "model::optimizer::params::1: ",
            r"2 parameters are in another parameter group too: 2\b",
        ),
    ],
)
def test_the_place_in_the_config(config: dict[str, Any], optimizer: dict[str, Any], place: str, message: str) -> None:
    config["model"]["optimizer"] = {**ADAM, **optimizer}
    with pytest.raises(ConfigError, match=place + message):
        Runner().run("fit", [config])


def test_two_optimizers_that_both_take_all(config: dict[str, Any]) -> None:
    config["model"]["optimizer"] = [ADAM, ADAM]
    with pytest.raises(ConfigError, match=r"model::optimizer::0: 4 parameters are in more than one .*: network"):
        Runner().run("fit", [config])


def test_freezing_what_no_group_takes(config: dict[str, Any]) -> None:
    config["model"] |= {"optimizer": {**ADAM, "params": ["2"]}, "finetune_cfg": ["2"]}
    Runner().run("fit", [config, "trainer::fast_dev_run=true"])


class Own(Classifier):
    def configure_optimizers(self):
        return torch.optim.SGD(self.network[2].parameters(), lr=0.1)


def test_optimizers_that_a_user_writes_are_only_shown(config: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    config["model"]["_target_"] = "tests.parts.optimization.test_table.Own"
    del config["model"]["optimizer"]
    with caplog.at_level("INFO", logger="lighter"):
        Runner().run("fit", [config, "trainer::fast_dev_run=true"])
    [shown] = [record.getMessage() for record in caplog.records if record.getMessage().startswith("optimizers:")]
    assert [line.split()[:4] for line in shown.splitlines()[2:]] == [["SGD", "2", "2", "330"], ["in", "none", "0", "2"]]
