"""The line about the model at the start of a fit."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import ModelSummary
from torch import nn
from torch.nn.parameter import UninitializedParameter

from lighter.trainer import Trainer
from lighter.trainer.model_line import ModelLine, described


class Net(LightningModule):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


def frozen(module: nn.Module) -> nn.Module:
    return module.requires_grad_(False)


SHARED = nn.Linear(10, 10, bias=False)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([nn.Linear(64, 10)], "650 parameters, 2.6 kB"),
        ([nn.Linear(64, 10), frozen(nn.Linear(10, 10))], "760 parameters (650 train), 3.04 kB"),
        ([frozen(nn.Linear(64, 10))], "650 parameters (none train), 2.6 kB"),
        ([SHARED, SHARED], "100 parameters, 400 B"),
        ([nn.Linear(1000, 1000, dtype=torch.bfloat16)], "1,001,000 parameters, 2 MB"),
        ([], "0 parameters, 0 B"),
    ],
)
def test_parameters_that_train_and_their_size(layers: list[nn.Module], expected: str) -> None:
    assert described(Net(*layers)) == expected


def test_a_lazy_layer() -> None:
    net = Net(nn.Linear(2, 2))
    net.lazy = UninitializedParameter()
    assert described(net) == "6 parameters, 1 tensors of unknown shape, 24 B"


def test_only_where_no_other_summary_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    def kinds(**arguments: Any) -> list[type]:
        quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "accelerator": "cpu"}
        return [type(each) for each in Trainer(**quiet, **arguments).callbacks if isinstance(each, ModelSummary)]

    assert kinds() == [ModelLine]
    assert kinds(enable_model_summary=False) == []
    assert kinds(callbacks=[ModelSummary(max_depth=2)]) == [ModelSummary]
    [kind] = kinds(enable_model_summary=True)
    assert kind is not ModelLine
    with caplog.at_level(logging.INFO, "lighter.runs"):
        trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
        ModelLine().on_fit_start(trainer, Net(nn.Linear(64, 10)))
    assert caplog.messages[-1] == "model: Net, 650 parameters, 2.6 kB"
