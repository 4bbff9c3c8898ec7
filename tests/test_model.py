"""`LighterModule` by itself: steps that are not there, metrics in every form, weights across stages."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

import lighter
from lighter.errors import ModuleTypeError, StepMissingError
from tests.jobs import QUIET, Classifier, loader, mlp

STEPS = ("training_step", "validation_step", "test_step", "predict_step")


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_is_not_written_is_absent_and_says_so(step: str) -> None:
    module = lighter.LighterModule(mlp())
    assert not is_overridden(step, module)
    assert is_overridden(step, Classifier(mlp()))
    with pytest.raises(StepMissingError, match=rf"LighterModule has no `{step}`. Write it:\n  def {step}\(self, batch"):
        getattr(module, step)(None, 0)


def test_a_training_only_module_runs_without_validation(tmp_path: Any) -> None:
    class TrainingOnly(lighter.LighterModule):
        def training_step(self, batch, batch_idx):
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

    trainer = lighter.Trainer(default_root_dir=tmp_path, max_epochs=1, accelerator="cpu", enable_model_summary=False)
    trainer.fit(TrainingOnly(mlp(), optimizer=lambda p: torch.optim.SGD(p, 0.1)), loader(0, 64))
    assert "train/loss/epoch" in trainer.callback_metrics


def test_forward_is_the_network() -> None:
    module = Classifier(mlp())
    x = torch.zeros(2, 64)
    assert torch.equal(module(x), module.network(x))


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (MulticlassAccuracy(10), ["MulticlassAccuracy"]),
        ([MulticlassAccuracy(10), MulticlassF1Score(10)], ["MulticlassAccuracy", "MulticlassF1Score"]),
        ({"a": MulticlassAccuracy(10), "f": MulticlassF1Score(10)}, ["a", "f"]),
        (MetricCollection({"x": MulticlassAccuracy(10)}, prefix="p_"), ["p_x"]),
    ],
)
def test_metrics_in_every_form(given: Any, names: list[str]) -> None:
    module = Classifier(mlp(), nn.CrossEntropyLoss(), val_metrics=given)
    trainer = pl.Trainer(**QUIET)
    [values] = trainer.validate(module, loader(0, 64), verbose=False)
    assert set(values) == {"val/loss/epoch", *(f"val/metrics/{name}/epoch" for name in names)}


@pytest.mark.parametrize("given", ["accuracy", [nn.Linear(1, 1)], {"a": 3}])
def test_anything_else_is_no_metric(given: Any) -> None:
    with pytest.raises(ModuleTypeError, match=r"`val_metrics` takes a torchmetrics.Metric.*\n.*train_metrics:"):
        Classifier(mlp(), val_metrics=given)


def test_one_object_for_two_modes_does_not_mix_their_states() -> None:
    metric = MulticlassAccuracy(10)
    module = Classifier(mlp(), train_metrics=metric, val_metrics=metric)
    assert module.train_metrics is metric
    assert module.val_metrics is not metric


def test_weights_cross_from_fit_to_a_stage_with_other_parts() -> None:
    class Stateful(MulticlassAccuracy):
        def __init__(self) -> None:
            super().__init__(10)
            self.network = nn.Linear(1, 1)

    fitted = Classifier(mlp(), nn.CrossEntropyLoss(weight=torch.ones(10)), train_metrics=Stateful())
    assert {"criterion.weight", "train_metrics.network.weight"} <= set(fitted.state_dict())
    tested = Classifier(mlp(), test_metrics=Stateful())
    tested.load_state_dict(fitted.state_dict())
    assert torch.equal(tested.network[0].weight, fitted.network[0].weight)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        tested.load_state_dict({**fitted.state_dict(), "network.9.weight": torch.ones(1)})


def test_modules_can_be_copied_and_pickled() -> None:
    module = Classifier(mlp(), nn.CrossEntropyLoss(), train_metrics=[MulticlassAccuracy(10)])
    batch = next(iter(loader(0, 32)))
    module.training_step(batch, 0)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        other.training_step(batch, 0)
        assert other.train_metrics["MulticlassAccuracy"].update_count == 2
    assert module.train_metrics["MulticlassAccuracy"].update_count == 1


def test_the_hooks_of_ours_are_not_taken_for_the_users() -> None:
    assert not is_overridden("transfer_batch_to_device", Classifier(mlp()))


def test_batches_of_any_kind_are_moved() -> None:
    module, meta = Classifier(mlp()), torch.device("meta")
    there = [torch.zeros(1), torch.zeros(1)]
    assert module.transfer_batch_to_device(there, torch.device("cpu"), 0) is there
    moved = module.transfer_batch_to_device({"x": [torch.zeros(1)], "name": "a"}, meta, 0)
    assert moved["x"][0].device == meta
    assert moved["name"] == "a"
    assert module.transfer_batch_to_device([torch.zeros(1), "a"], meta, 0)[0].device == meta
