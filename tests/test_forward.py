"""`ForwardModule`: only `forward` is written; beside the same job on the rung of steps, and by itself."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

import lighter
from lighter import Runner
from lighter.errors import ConfigError, LighterError, ModuleTypeError, ModuleValueError
from tests.jobs import ForwardClassifier, digits, loader, metrics, mlp
from tests.parts.metrics.test_evaluators import Count
from tests.test_measuring import classifier, epoch_values, fit, trainer

ACCURACY = {"_target_": "torchmetrics.classification.MulticlassAccuracy", "num_classes": 10, "average": "micro"}


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.01)


def forward_module(kind: type[lighter.ForwardModule] = ForwardClassifier, **kwargs: Any) -> lighter.ForwardModule:
    pl.seed_everything(5, verbose=False)
    return kind(**{"model": mlp(), "optimizer": adam, "evaluator_cfg": metrics(), **kwargs})


@pytest.fixture
def forward(config: dict[str, Any]) -> dict[str, Any]:
    """The digits experiment on this rung, as a config."""
    model = config["model"]
    config["model"] = {
        "_target_": "tests.jobs.ForwardClassifier",
        "model": model["network"],
        "optimizer": model["optimizer"],
        "evaluator_cfg": model["val_metrics"],
    }
    return config


def test_it_is_the_same_experiment_as_on_the_rung_of_steps() -> None:
    steps, forward = classifier(), forward_module()
    of_steps, of_forward = epoch_values(fit(steps, trainer())), epoch_values(fit(forward, trainer()))
    for ours, theirs in zip(forward.model.parameters(), steps.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    for mode in ("train", "val"):
        assert of_forward[f"{mode}/loss/total/epoch"] == of_forward[f"{mode}/loss/ce_loss/epoch"]
        assert of_forward[f"{mode}/loss/total/epoch"] == of_steps[f"{mode}/loss/epoch"]
        for name in ("accuracy", "f1"):
            assert of_forward[f"{mode}/metrics/{name}/epoch"] == of_steps[f"{mode}/metrics/{name}/epoch"]


def test_all_stages_from_one_config(forward: dict[str, Any]) -> None:
    assert Runner().run("fit", [forward]) is None
    [validated] = Runner().run("validate", [forward, "trainer::logger=false"], ckpt_path="last", verbose=False)
    [tested] = Runner().run("test", [forward], ckpt_path="best", verbose=False)
    assert validated["val/metrics/accuracy/epoch"] > 0.5
    assert tested["test/metrics/f1/epoch"] > 0.5
    predicted = Runner().run("predict", [forward], ckpt_path="last", return_predictions=True)
    assert [batch["pred"].shape for batch in predicted] == [(32, 10), (18, 10)]


def test_only_what_a_stage_needs_is_built(forward: dict[str, Any]) -> None:
    forward["model"]["evaluator_cfg"] = {
        "train": ACCURACY,
        "val": {"average": "macro"},
        "test": {"_target_": "no.such"},
    }
    outcome = Runner().execute("fit", [forward])
    built = dict(outcome.trainer.lightning_module.evaluators.named_children())
    assert {name: metric.average for name, metric in built.items()} == {"train_0": "micro", "val_0": "macro"}
    with pytest.raises(ConfigError, match=r"no\.such"):
        Runner().run("test", [forward])


def test_a_loss_alone() -> None:
    class Loss(lighter.ForwardModule):
        def forward(self, batch):
            return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    values = epoch_values(fit(forward_module(Loss, evaluator_cfg=None), trainer(max_epochs=1)))
    assert {name for name in values if "loss" in name and name.endswith("epoch")} == {
        "train/loss/total/epoch",
        "val/loss/total/epoch",
    }


class Whole(nn.Module):
    """A network that returns what a forward module needs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, batch):
        pred = self.net(batch[0])
        return {"loss_dict": {"loss": nn.functional.cross_entropy(pred, batch[1])}, "metric_dict": {"preds": pred}}


def test_an_existing_network_needs_no_python(forward: dict[str, Any]) -> None:
    forward["model"] |= {"_target_": "lighter.ForwardModule", "model": {"_target_": "tests.test_forward.Whole"}}
    forward["model"]["evaluator_cfg"] = {"_target_": "tests.parts.metrics.test_evaluators.Count"}
    values = epoch_values(Runner().execute("fit", [forward]).trainer)
    assert (values["train/metrics/Count/epoch"], values["val/metrics/Count/epoch"]) == (320, 70)


def test_a_network_that_takes_no_batch_is_told_what_it_got() -> None:
    with pytest.raises(TypeError) as caught:
        lighter.ForwardModule(mlp()).training_step([torch.zeros(2, 64), torch.zeros(2)], 0)
    assert caught.value.__notes__ == [
        "without a `forward` of yours, the model is called with the batch: a list of 2:"
        " [a tensor of shape (2, 64) and dtype float32, a tensor of shape (2,) and dtype float32]"
    ]


def test_training_alone_warns_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    module, runs = forward_module(), trainer(max_epochs=1)
    runs.fit(module, loader(0, 64))
    assert not [warning for warning in recwarn if "validation" in str(warning.message)]
    assert not any(name.startswith("val") for name in runs.callback_metrics)
    assert is_overridden("validation_step", forward_module())


def test_each_dataloader_is_evaluated_by_itself() -> None:
    module, runs = forward_module(), trainer(max_epochs=1)
    runs.fit(module, loader(0, 64), [loader(300, 350), loader(350, 440)])
    values = epoch_values(runs)
    for index, part in enumerate([digits(300, 350), digits(350, 440)]):
        images, labels = part.tensors
        expected = MulticlassAccuracy(10, average="micro")(module.model(images), labels)
        assert values[f"val/metrics/accuracy/epoch/dataloader_idx_{index}"] == pytest.approx(float(expected))
    module = forward_module(evaluator_cfg={"val": [MulticlassAccuracy(10), MulticlassF1Score(10)]})
    runs = trainer(max_epochs=1)
    runs.fit(module, loader(0, 64), [loader(300, 350), loader(350, 440)])
    assert {name for name in runs.callback_metrics if "metrics" in name} == {
        "val/metrics/MulticlassAccuracy/epoch/dataloader_idx_0",
        "val/metrics/MulticlassF1Score/epoch/dataloader_idx_1",
    }


class NoMetrics(ForwardClassifier):
    def forward(self, batch):
        return {"loss_dict": super().forward(batch)["loss_dict"]}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "=model::evaluator_cfg={val: [{_target_: tests.test_forward.Count}, {_target_: tests.test_forward.Count}]}",
            "model::evaluator_cfg::val: `evaluator_cfg` has a list of 2 for val: .* of which there is 1",
        ),
        (
            "model::_target_=tests.test_forward.NoMetrics",
            "model::evaluator_cfg::val: there are evaluators for val, and `forward` returned no `metric_dict`",
        ),
    ],
)
def test_evaluators_that_do_not_fit_have_a_place(forward: dict[str, Any], override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Runner().run("fit", [forward, override])


def test_evaluators_that_are_no_submodules() -> None:
    module = forward_module(evaluator_as_submodule=False)
    assert not [name for name, _ in module.named_modules() if name.startswith("evaluators")]
    assert "val/metrics/f1/epoch" in epoch_values(fit(module, trainer(max_epochs=1)))


class Seen:
    """Something that is no evaluator by itself."""

    def __init__(self) -> None:
        self.labels: list[int] = []


class OwnWay(ForwardClassifier):
    def update_evaluator(self, evaluator, metric_dict):
        evaluator.labels += metric_dict["target"].tolist()

    def compute_evaluator(self, evaluator):
        found, evaluator.labels = len(set(evaluator.labels)), []
        return {"classes": found}


def test_other_kinds_of_evaluators() -> None:
    values = epoch_values(fit(forward_module(OwnWay, evaluator_cfg=Seen()), trainer(max_epochs=2)))
    assert values["val/metrics/classes/epoch"] == 10
    with pytest.raises(ModuleTypeError, match="an evaluator has the methods `update`, `compute` and `reset`, or"):
        forward_module(evaluator_cfg=Seen())


def test_evaluators_of_several_kinds_each_take_what_they_know() -> None:
    given = {"accuracy": MulticlassAccuracy(10), "count": Count()}
    values = epoch_values(fit(forward_module(evaluator_cfg=given), trainer(max_epochs=2)))
    assert values["val/metrics/count/epoch"] == 90
    assert 0 < values["val/metrics/accuracy/epoch"] < 1


def test_the_hooks_of_the_epoch_are_called_though_users_override_lightnings() -> None:
    called: list[str] = []

    class Hooked(ForwardClassifier):
        def on_validation_epoch_end(self):
            called.append("lightning's")

        def on_forward_epoch_end(self, mode):
            called.append(mode)
            super().on_forward_epoch_end(mode)

    values = epoch_values(fit(forward_module(Hooked), trainer(max_epochs=1)))
    assert called == ["lightning's", "val", "lightning's", "val", "train"]  # the sanity check, the epoch
    assert "val/metrics/f1/epoch" in values


def test_forward_may_ask_where_it_is() -> None:
    seen: set[tuple[str, int, int]] = set()

    class Asks(ForwardClassifier):
        def forward(self, batch, batch_idx, dataloader_idx):
            seen.add((self.mode, batch_idx, dataloader_idx))
            return super().forward(batch)

    runs = trainer(max_epochs=1, num_sanity_val_steps=0)
    runs.fit(forward_module(Asks), loader(0, 64), [loader(0, 9), loader(0, 9)])
    assert seen == {("train", 0, 0), ("train", 1, 0), ("val", 0, 0), ("val", 0, 1)}


def test_none_adds_nothing() -> None:
    class Skips(ForwardClassifier):
        def forward(self, batch, batch_idx):
            return None if batch_idx == 0 and self.mode == "val" else super().forward(batch)

    values = epoch_values(fit(forward_module(Skips, evaluator_cfg=Count()), trainer(max_epochs=1)))
    assert values["val/metrics/Count/epoch"] == 58


def test_an_early_stopping_and_a_checkpoint_can_watch_an_evaluator(forward: dict[str, Any]) -> None:
    monitor = {"monitor": "val/metrics/accuracy/epoch", "mode": "max"}
    forward["trainer"]["callbacks"] = [
        {"_target_": "pytorch_lightning.callbacks.ModelCheckpoint", "filename": "top", **monitor},
        {"_target_": "pytorch_lightning.callbacks.EarlyStopping", "stopping_threshold": 0.3, **monitor},
    ]
    outcome = Runner().execute("fit", [forward, "trainer::max_epochs=20"])
    assert outcome.trainer.current_epoch < 20
    assert (outcome.folder.checkpoints / "top.ckpt").is_file()


def test_weights_with_and_without_the_evaluators_state(own_place: Any) -> None:
    class Stateful(nn.Module, Count):
        def __init__(self) -> None:
            super().__init__()
            Count.__init__(self)
            self.register_buffer("seen", torch.zeros(1))

    module = forward_module(evaluator_cfg={"val": Stateful()})
    state = module.state_dict()
    assert "evaluators.val_0.seen" in state
    without = forward_module(evaluator_cfg=None)
    without.load_state_dict(state)
    module.load_state_dict(without.state_dict())
    assert not [p for p in module.configure_optimizers()["optimizer"].param_groups[0]["params"] if p is state]


def test_another_fit_goes_on_from_what_was_trained(own_place: Path) -> None:
    torch.save(mlp().state_dict(), "pretrained.pt")
    module = forward_module(ckpt_path="pretrained.pt")
    trainer(max_epochs=1).fit(module, loader(0, 64))
    trained = module.model[0].weight.clone()
    trainer(max_epochs=1, limit_train_batches=0).fit(copy.deepcopy(module), loader(0, 64))
    trainer(max_epochs=1, limit_train_batches=0).fit(module, loader(0, 64))
    assert torch.equal(module.model[0].weight, trained)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"metric_dict": {"preds": 1}}, r"`forward` returned no `loss_dict` in training; found \['metric_dict'\]"),
        (
            {"loss_dict": {"loss": torch.ones(())}},
            "there are evaluators for train, and `forward` returned no `metric_d",
        ),
        ([1], "`forward` returned a list of 1"),
    ],
)
def test_wrong_output(output: Any, message: str) -> None:
    class Wrong(lighter.ForwardModule):
        def forward(self, batch):
            return output

    with pytest.raises(LighterError, match=message):
        forward_module(Wrong).training_step(None)


def test_wrong_inputs_of_an_evaluator_say_which_it_was() -> None:
    class Wrong(lighter.ForwardModule):
        def forward(self, batch):
            return {"loss_dict": {"loss": torch.ones(())}, "metric_dict": {"pred": 1}}

    with pytest.raises(TypeError) as caught:
        forward_module(Wrong, evaluator_cfg={"val": Count()}).forward_step(None, "val")
    assert caught.value.__notes__ == ["`evaluator_cfg::val` was updated with the keys ['pred'] of `metric_dict`"]


def test_wrong_arguments(forward: dict[str, Any]) -> None:
    with pytest.raises(ModuleValueError, match="ForwardModule has no `forward` and no `model`"):
        lighter.ForwardModule()
    with pytest.raises(ModuleTypeError, match=r"`model` is a torch\.nn\.Module; found a function"):
        lighter.ForwardModule(mlp)
    with pytest.raises(
        ConfigError, match=r"model::evaluator_cfg::valid: `evaluator_cfg` has no `valid`\. Did you mean `val`\?"
    ):
        Runner().run("fit", [forward, {"model": {"=evaluator_cfg": {"train": ACCURACY, "valid": ACCURACY}}}])


def test_barebones() -> None:
    runs = pl.Trainer(barebones=True, max_epochs=1, accelerator="cpu")
    runs.fit(forward_module(), loader(0, 64), loader(64, 96))
    assert json.dumps(sorted(runs.callback_metrics)) == "[]"


class WithTask(ForwardClassifier):
    forwards = 0

    def forward(self, batch):
        type(self).forwards += 1
        return super().forward(batch)

    def predict_digits(self, batch):
        return self.model(batch[0]).argmax(dim=1)


def test_prediction_tasks_are_the_step_where_only_forward_is_written(forward: dict[str, Any]) -> None:
    forward["model"] |= {"_target_": "tests.test_forward.WithTask", "predict_tasks": "digits"}
    predicted = Runner().run("predict", [forward], return_predictions=True)
    assert [batch["digits"].shape for batch in predicted] == [(32,), (18,)]
    assert WithTask.forwards == 0
