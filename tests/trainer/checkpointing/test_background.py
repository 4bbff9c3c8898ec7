"""Checkpoints written beside the training: the same files, as safe as those that are written at once."""

from __future__ import annotations

import os
import threading
import time
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn

from lighter.trainer.checkpointing.guarded_io import copied
from tests.trainer.checkpointing.jobs import At, Disk, Scored, checkpoint, disk, files, fit, trainer, wait_for_disk

__all__ = ["disk"]


def entries(path: str) -> dict[str, bytes]:
    """What is in a checkpoint's archive, without its manifest, which says when it was saved."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_file_is_that_of_a_save_at_once_while_the_training_goes_on(disk: Disk) -> None:
    class Late(Callback):
        """Lets what is being written be written when the weights are others."""

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            disk.open.set() if trainer.current_epoch else disk.open.clear()

    fit([3.0, 2.0], checkpoint(save_top_k=-1))
    Path("checkpoints").rename("at-once")
    fit([3.0, 2.0], Late(), checkpoint(save_top_k=-1), async_save=True)
    for name in ("0.ckpt", "1.ckpt"):
        found = entries(f"checkpoints/{name}")
        assert len(found) > 5
        assert entries(f"at-once/{name}") == found
    assert entries("checkpoints/0.ckpt") != entries("checkpoints/1.ckpt")


def test_the_earlier_one_is_there_until_the_new_one_is(disk: Disk) -> None:
    seen: list[list[str]] = []

    class Looks(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.current_epoch == 1:
                wait_for_disk(trainer)
                disk.open.clear()
            if trainer.current_epoch == 2:
                time.sleep(0.1)  # the writing has begun
                seen.append([name for name in sorted(os.listdir("checkpoints")) if name.endswith(".ckpt")])
                disk.open.set()

    fit([3.0, 2.0, 2.5], Looks(), checkpoint(), async_save=True)
    assert seen == [["0.ckpt"]]
    assert files() == {"1.ckpt": 1}


def test_the_training_does_not_wait_and_the_end_does(disk: Disk) -> None:
    steps: list[int] = []

    class Counts(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            steps.append(trainer.current_epoch)
            if steps == [0, 1]:  # the first save is held up all the while
                threading.Timer(0.3, disk.open.set).start()

    disk.open.clear()
    fit([3.0, 2.0], Counts(), checkpoint(every_n_epochs=1, save_top_k=-1), async_save=True)
    assert steps == [0, 1]
    assert disk.open.is_set()
    assert files() == {"0.ckpt": 0, "1.ckpt": 1}


def test_a_fit_that_fails_waits_for_its_checkpoint(disk: Disk) -> None:
    class Fails(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.current_epoch == 0:
                disk.open.clear()
            if trainer.current_epoch == 1:
                threading.Timer(0.3, disk.open.set).start()
                raise KeyError("mine")

    with pytest.raises(KeyError):
        fit([3.0, 2.0], Fails(), checkpoint(), async_save=True)
    assert files() == {"0.ckpt": 0}


def test_an_error_that_is_not_the_disks_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("lighter.trainer.checkpointing.io.write", broken)
    with pytest.raises(RuntimeError, match="broken"):
        fit([3.0, 2.0], checkpoint(), async_save=True, on_save_error="continue")


def test_a_users_own_save_is_there_when_it_returns() -> None:
    seen: list[bool] = []

    def save() -> None:
        found.save_checkpoint("own.ckpt")
        seen.append(Path("own.ckpt").is_file())

    found = trainer(At({1: save}), checkpoint(), max_epochs=2, async_save=True)
    found.fit(Scored([1.0, 2.0]), torch.zeros(2, 4))
    assert seen == [True]


def test_a_copy_saves_the_same_bytes() -> None:
    weight = torch.randn(4, 6)
    with_graph = torch.randn(3, requires_grad=True) * 2
    state = OrderedDict(a=weight, tied=weight, part=weight[1:3, ::2], turned=weight.t(), scalar=torch.tensor(3))
    state._metadata = OrderedDict({"": {"version": 1}})
    given = {"state_dict": state, "list": [with_graph, (1, "a")], "parameter": nn.Parameter(weight[0])}
    given |= {"empty": [torch.zeros(0), torch.zeros(0)], "sparse": torch.eye(2).to_sparse(), "self": state}
    Path("given").mkdir(), Path("copied").mkdir()
    torch.save(given, "given/same.pt")
    found = copied(given)
    weight.zero_()
    state._metadata[""]["version"] = 2
    torch.save(found, "copied/same.pt")
    assert entries("given/same.pt") == entries("copied/same.pt")
    assert found["state_dict"]["a"].data_ptr() == found["state_dict"]["tied"].data_ptr() != weight.data_ptr()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_copy_of_a_device_is_the_cpus() -> None:
    weight = torch.randn(4, 6, device="cuda")
    found = copied({"a": weight, "part": weight[1:3], "parameter": nn.Parameter(weight), "list": [weight[0] * 1]})
    assert {value.device.type for value in (found["a"], found["part"], found["parameter"], found["list"][0])} == {"cpu"}
    assert torch.equal(found["part"], weight[1:3].cpu())
    assert found["part"].untyped_storage().data_ptr() == found["a"].untyped_storage().data_ptr()
    assert type(found["parameter"]) is nn.Parameter
