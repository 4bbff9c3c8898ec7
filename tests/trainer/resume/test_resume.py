"""Fits of users' own kinds resume exactly from every moment at which somebody saves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BaseFinetuning, EarlyStopping, ModelCheckpoint, ModelPruning, Timer
from torch import nn
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric

import lighter
from lighter.callbacks import Freezer
from tests.slow import mostly_slow
from tests.trainer.resume.cuts import BATCHES, Job, Module, Samples, Watch, broken, end, fit

CALLBACKS = "ignore:Be aware that when using `ckpt_path`, callbacks"


class ByHand(Module):
    """Manual optimization, whose gradients add up over three batches, and over the end of an epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.added = 0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.manual_backward(loss)
        if (self.current_epoch * BATCHES + batch_idx) % 3 == 2:
            self.optimizers().step()
            self.optimizers().zero_grad()
        return loss


class Refuses(Module):
    """Ends each epoch before its last batch."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if batch_idx == BATCHES - 1 else None


class FreezesNorm(Module):
    def on_train_epoch_start(self) -> None:
        self.network[1].train(self.current_epoch != 1)


class Thaws(Module):
    def on_train_epoch_start(self) -> None:
        if self.current_epoch < 2:
            self.network[0].requires_grad_(self.current_epoch == 1)


class FreezesAgain(Module):
    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 1:
            self.network[0].requires_grad_(False)


class Finetunes(BaseFinetuning):
    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze(pl_module.network[0])

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.network[0], optimizer, lr=0.001)


class OfWhatTrains(Module):
    def configure_optimizers(self) -> Any:
        return torch.optim.Adam([parameter for parameter in self.parameters() if parameter.requires_grad], lr=0.01)


class Doubles(Module):
    """Converts itself in a hook."""

    def __init__(self, hook: str, optimizer: type[torch.optim.Optimizer] = torch.optim.Adam) -> None:
        super().__init__()
        self.optimizer = optimizer
        setattr(self, hook, self.double)

    def loss(self, batch: Any) -> torch.Tensor:
        return super().loss([batch[0].to(next(self.parameters()).dtype)])

    def configure_optimizers(self) -> Any:
        return self.optimizer(self.parameters(), lr=0.01)


class LogsInFloat(Module):
    """A value that is narrower than the type in which Lightning adds it up with `64-true`."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.log("train/float", loss.float() / 3, on_step=False, on_epoch=True)
        return loss


class MasterCopy(torch.optim.SGD):
    """Keeps the weights in float32, whatever the type of the parameters."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        with torch.enable_grad():
            loss = closure()
        for parameter in self.param_groups[0]["params"]:
            master = self.state[parameter].setdefault("master", parameter.float())
            parameter.copy_(master.sub_(parameter.grad.float(), alpha=0.01))
        return loss


class KeepsMasterCopy(Module):
    def configure_optimizers(self) -> Any:
        return MasterCopy(self.parameters(), lr=0.01)


class ValidatesOnSeveral(Module):
    """Values of steps and epochs, and a metric, of each of several validation dataloaders."""

    def __init__(self) -> None:
        super().__init__()
        self.means = nn.ModuleList([MeanMetric(), MeanMetric()])

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        loss = self.loss(batch)
        self.means[dataloader_idx](loss)
        self.log("val/loss", loss, on_step=True, on_epoch=True)
        self.log("val/mean", self.means[dataloader_idx])


def several() -> list[Any]:
    return [DataLoader(Samples(), 5, shuffle=True), DataLoader(Samples(), 4)]


JOBS: dict[str, Callable[[], Job]] = {
    "plain": Job,
    "gradients that add up by hand": lambda: Job(ByHand()),
    "a hook that ends epochs": lambda: Job(Refuses()),
    "a norm frozen in a hook": lambda: Job(FreezesNorm()),
    "a layer thawed in a hook": lambda: Job(Thaws()),
    "made anew": lambda: Job(trainer={"reload_dataloaders_every_n_epochs": 2, "max_epochs": 4}),
    "Freezer": lambda: Job(trainer={"callbacks": [Freezer(name_starts_with="network.0", until_step=6)]}),
    "frozen again after a Freezer": lambda: Job(
        FreezesAgain(), trainer={"callbacks": [Freezer(name_starts_with="network.0", until_step=3)]}
    ),
    "double precision": lambda: Job(LogsInFloat(), trainer={"precision": "64-true"}),
    "bfloat16": lambda: Job(trainer={"precision": "bf16-true"}),
    "doubled in on_fit_start": lambda: Job(Doubles("on_fit_start")),
    "doubled in on_train_start": lambda: Job(Doubles("on_train_start")),
    "an optimizer with weights of its own": lambda: Job(KeepsMasterCopy(), trainer={"precision": "bf16-true"}),
    "several validations of several dataloaders": lambda: Job(
        ValidatesOnSeveral(), val=several(), trainer={"val_check_interval": 2, "limit_val_batches": 2}
    ),
    "BaseFinetuning": lambda: Job(OfWhatTrains(), trainer={"callbacks": [Finetunes()]}),
}


@pytest.mark.filterwarnings("ignore:Your `val_dataloader`'s sampler has shuffling enabled")
@pytest.mark.parametrize("name", mostly_slow(JOBS, 0))
def test_from_every_moment(name: str, tmp_path: Path) -> None:
    assert broken(JOBS[name], tmp_path) == {}


def test_types_that_are_not_as_they_were_are_named(tmp_path: Path) -> None:
    whole = Watch(tmp_path)
    job = lambda: Job(Doubles("on_train_epoch_start", torch.optim.SGD))  # noqa: E731 - does not come again within an epoch
    fit(job, whole)
    choice = fit(job, Watch(None), whole.cuts[4][0]).resume_choice
    assert str(choice).startswith("not exact (the type of network.0.weight (float32, and float64 in the checkpoint); ")


@pytest.mark.filterwarnings("ignore:Found 1 module.* in eval mode")
def test_what_is_frozen_at_the_start_of_a_resumed_fit_stays_so(tmp_path: Path) -> None:
    whole = Watch(tmp_path)
    fit(Job, whole)
    module = Module()
    module.network[0].requires_grad_(False)
    module.network[1].eval()
    fit(lambda: Job(module), Watch(None), whole.cuts[5][0])
    assert not any(parameter.requires_grad for parameter in module.network[0].parameters())
    assert not module.network[1].training


@pytest.mark.filterwarnings(CALLBACKS)
@pytest.mark.parametrize("batch", [1, BATCHES - 1])
def test_what_is_saved_at_an_exception(batch: int, tmp_path: Path) -> None:
    class Fails(Module):
        def training_step(self, batch_: Any, batch_idx: int) -> Any:
            if batch_idx == batch and self.current_epoch == 1:
                raise OSError("of the user's")
            return super().training_step(batch_, batch_idx)

    saves = ModelCheckpoint(tmp_path, filename="at-exception", save_on_exception=True)
    with pytest.raises(OSError, match="of the user's"):
        fit(lambda: Job(Fails(), trainer={"callbacks": [saves]}), Watch(None))
    expected, found = (end(fit(Job, Watch(None), path)) for path in (None, tmp_path / "at-exception.ckpt"))
    assert all(torch.equal(one, found["weights"][name]) for name, one in expected["weights"].items())
    assert found["steps"] == expected["steps"]


class Hourly(Timer):
    """By whose clock a batch takes an hour."""

    def on_train_batch_end(self, *args: Any) -> None:
        self._offset += 3600
        super().on_train_batch_end(*args)


STOPS: dict[str, tuple[Callable[[], Any], list[Any]]] = {  # what stops a fit, and what does not
    "EarlyStopping": (lambda: EarlyStopping("val/loss", patience=1, min_delta=1e9), []),
    "Timer": (lambda: Hourly("00:06:00:00"), []),
    "Timer of more time": (lambda: Hourly("00:06:00:00"), [Hourly("99:00:00:00")]),
}


@pytest.mark.filterwarnings(CALLBACKS)
@pytest.mark.parametrize("name", STOPS)
def test_a_fit_that_stopped_by_itself_resumes_without_what_stopped_it(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def again(callbacks: list[Any]) -> int:
        job = {"max_epochs": 6, "callbacks": callbacks}
        return int(fit(lambda: Job(trainer=job), Watch(None), whole.cuts[-1][0]).current_epoch)

    whole = Watch(tmp_path)
    caplog.set_level("INFO", "lighter")
    stops, others = STOPS[name]
    stopped = fit(lambda: Job(trainer={"max_epochs": 6, "callbacks": [stops()]}), whole).current_epoch
    assert stopped < 6
    assert again([stops()]) == stopped
    told = "told to stop by EarlyStopping, and stops where it would have. It trains on without that callback"
    assert (told in caplog.text) == (name == "EarlyStopping")
    assert again(others) == 6


def test_a_fit_that_is_not_exact_says_so() -> None:
    pruning = ModelPruning("l1_unstructured", parameters_to_prune=None, amount=0.2)
    trainer = fit(lambda: Job(trainer={"callbacks": [pruning], "max_epochs": 1}), Watch(None))
    assert str(trainer.resume_choice) == "as Lightning does (ModelPruning does not save all that it needs)"


def test_modes_in_a_validation_are_not_those_of_the_training(tmp_path: Path) -> None:
    class Asks(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: nn.Module, *_: Any) -> None:
            assert all(part.training for part in pl_module.modules())

    assert broken(lambda: Job(trainer={"callbacks": [Asks()], "val_check_interval": 2}), tmp_path) == {}


def test_an_epoch_that_was_saved_at_its_end_is_over_when_training_starts(tmp_path: Path) -> None:
    class Notes(pl.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            starts.append(trainer.current_epoch)

    starts: list[int] = []
    whole = Watch(tmp_path)
    fit(Job, whole)
    ends = [path for path, _ in whole.cuts if path.stem.endswith("epoch")]
    for path in ends:
        fit(lambda: Job(trainer={"callbacks": [Notes()]}), Watch(None), path)
    assert starts == [1, 2, 3]


def test_a_test_has_the_weights_that_were_saved(tmp_path: Path) -> None:
    trainer = fit(lambda: Job(trainer={"precision": "64-true"}), Watch(None))
    trainer.save_checkpoint(tmp_path / "saved.ckpt")
    saved = trainer.lightning_module.state_dict()
    module = Module()
    again = lighter.Trainer(precision="64-true", logger=False, enable_progress_bar=False, accelerator="cpu")
    again.validate(module, DataLoader(Samples(), 4), ckpt_path=tmp_path / "saved.ckpt", verbose=False)
    assert all(torch.equal(value, saved[name]) for name, value in module.state_dict().items())
