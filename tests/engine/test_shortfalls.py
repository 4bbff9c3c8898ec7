"""A fit that ended well says what it did not do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from lighter import Runner
from tests.jobs import Classifier, digits
from tests.slow import mostly_slow

TARGETS = ["lighter.Trainer", "pytorch_lightning.Trainer"]
pytestmark = pytest.mark.filterwarnings("ignore:Your `IterableDataset` has `__len__` defined", "ignore:Length of Itera")


class Short(IterableDataset):
    """A dataset that says it has more samples than it gives."""

    def __len__(self) -> int:
        return 320

    def __iter__(self) -> Iterator[Any]:
        return iter([digits()[index] for index in range(100)])


def short() -> DataLoader:
    return DataLoader(Short(), batch_size=32)


def empty() -> DataLoader:
    return DataLoader([], batch_size=32)


class ByHand(Classifier):
    """Optimizes by hand, with an optimizer that Lightning does not see."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        optimizer = self.optimizers(use_pl_optimizer=False)
        loss = super().training_step(batch, batch_idx)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()


def of(name: str) -> str:
    return f"{{_target_: {__name__}.{name}}}"


LAST = "_target_: pytorch_lightning.callbacks.ModelCheckpoint, save_last: true"
SHORTFALLS = {
    "nothing": ([], []),
    "a short epoch": (
        [f"=data::train_dataloader={of('short')}"],
        ["validation never ran: the training data says that an epoch has 10 batches, after which it would run,"
         " and the fit trained 8 batches in 2 epochs. Mend the data's `__len__`"],
    ),
    "beyond the last epoch": (
        ["trainer::check_val_every_n_epoch=5"],
        ["validation never ran: trainer::check_val_every_n_epoch is 5, and the fit had 2 epochs"],
    ),
    "few steps": (
        ["trainer::max_steps=3"],
        ["validation never ran: the fit trained 3 batches, and it is due every 10 batches"],
    ),
    "by hand": (
        [f"model::_target_={__name__}.ByHand"],
        ["no step of an optimizer was counted in 20 batches. Lightning counts the steps of `self.optimizers()` only"],
    ),
    "no epoch": (["trainer::max_epochs=0"], ["nothing was trained: trainer::max_epochs or trainer::max_steps is 0"]),
    "an old last checkpoint": (
        [f"trainer::callbacks=[{{{LAST}, monitor: train/loss/epoch, mode: max}}]"],
        ["last.ckpt is of step 10, and 20 steps were taken: with `monitor`, `save_last` saves only what is among the"],
    ),
    "one of each epoch": (
        ["trainer::callbacks=[{_target_: pytorch_lightning.callbacks.ModelCheckpoint, filename: last}]"], []
    ),
    "asked for": (["trainer::limit_train_batches=0"], []),
    "no validation asked for": (["trainer::limit_val_batches=0"], []),
    "a trial": (["trainer::fast_dev_run=true", "trainer::check_val_every_n_epoch=5"], []),
}  # fmt: skip


@pytest.mark.parametrize("target", mostly_slow(TARGETS))
@pytest.mark.parametrize("case", SHORTFALLS)
@pytest.mark.filterwarnings("ignore:.*max_epochs=0.*", "ignore:Trying to infer", "ignore:.*`max_epochs` was")
def test_what_a_fit_did_not_do_is_said_at_its_end(config: dict[str, Any], case: str, target: str, caplog: Any) -> None:
    overrides, expected = SHORTFALLS[case]
    config["trainer"] |= {"_target_": target, "max_epochs": 2}
    Runner().run("fit", [config, *overrides])
    said = [one.getMessage() for one in caplog.records if one.name == "lighter.runs" and one.levelname == "WARNING"]
    found = [
        message
        for message in said
        if message.startswith(("validation never", "no step", "nothing was", "no check", "last.ckpt"))
    ]
    assert len(found) == len(expected) + ("no checkpoint was saved" in found)
    for message, start in zip(found, expected, strict=False):
        assert message.startswith(start)
    assert case != "by hand" or "no checkpoint was saved" in found


def test_a_resumed_fit_with_nothing_left_says_so(config: dict[str, Any], caplog: Any) -> None:
    config["trainer"]["max_epochs"] = 2
    Runner().run("fit", [config])
    assert "nothing was trained" not in caplog.text
    Runner().run("fit", [config], ckpt_path="last")
    assert "nothing was trained: the 2 epochs of trainer::max_epochs are done already" in caplog.text
