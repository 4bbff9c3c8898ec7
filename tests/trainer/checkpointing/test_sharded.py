"""Folders of shards: there whole or not at all, verified, resumed with the bits of an uninterrupted fit."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from lighter.files.integrity import verify
from tests.trainer.checkpointing.jobs import Disk, wait_for_disk
from tests.trainer.checkpointing.sharded_jobs import CHECKPOINTS, SAMPLES, SaveAt, Sharded, content, fit, served

pytestmark = pytest.mark.long


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


@pytest.mark.parametrize("kind", ["adam", "accumulated", "sgd", "async"])
def test_a_fit_that_is_resumed_has_the_bits_of_one_that_was_not_interrupted(own_place: Path, kind: str) -> None:
    more: dict[str, Any] = {"accumulate_grad_batches": 2} if kind == "accumulated" else {}
    more |= {"async_save": True} if kind == "async" else {}
    module = partial(Sharded, kind="sgd" if kind == "sgd" else "adam")
    fit(2, module=module, **more)
    expected = content()
    for file in [*Path().glob("served-*"), *Path().glob("resume-*")]:
        file.unlink()
    fit(2, SaveAt(1, 2), module=module, **more)
    assert verify(CHECKPOINTS / "mid.ckpt").step
    fit(2, ckpt_path=CHECKPOINTS / "mid.ckpt", module=module, **more)
    assert Path("resume-0").read_text() == "exact\n"
    found = content()
    for key in ("state_dict", "optimizer_states", "loops"):
        assert same(found[key], expected[key]), key


@pytest.mark.parametrize(("then", "now"), [(4, 2), (2, 4), (2, 1)])
def test_on_another_number_of_processes_each_sample_is_trained_once(own_place: Path, then: int, now: int) -> None:
    fit(then, SaveAt(1, 1))
    fit(now, ckpt_path=CHECKPOINTS / "mid.ckpt", max_epochs=2, sharded=now > 1)
    assert Path("resume-0").read_text() == f"exact in its samples ({now} processes now, {then} then)\n"
    assert served(1) == list(range(SAMPLES))
    weights = content()["state_dict"] if now > 1 else torch.load(CHECKPOINTS / "last.ckpt")["state_dict"]
    assert all(bool(value.isfinite().all()) for value in weights.values())


def test_files_and_folders_are_read_by_each_other(own_place: Path) -> None:
    fit(2, max_epochs=1)
    assert (CHECKPOINTS / "last.ckpt").is_dir()
    fit(2, ckpt_path=CHECKPOINTS / "last.ckpt", max_epochs=2, sharded=False)
    checkpoint = torch.load(CHECKPOINTS / "last.ckpt", weights_only=True)  # it took the folder's place
    assert (checkpoint["epoch"], checkpoint["global_step"]) == (1, 12)
    fit(2, ckpt_path=CHECKPOINTS / "last.ckpt", max_epochs=3)
    assert content()["global_step"] == 18
    moments = content()["optimizer_states"][0]["state"]["network.0.weight"]
    assert moments["step"] == 18
    assert Path("resume-0").read_text() == "exact\n" * 3


class FullOnOne(pl.Callback):
    """From the second epoch on, one of the processes cannot write."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        wait_for_disk(trainer)
        if trainer.current_epoch == 1 and trainer.global_rank == 1:
            full = Disk()
            full.error = errno.ENOSPC
            os.fsync = full.fsync


@pytest.mark.parametrize(("policy", "in_background"), [("stop", False), ("continue", True)])
def test_a_full_disk_of_one_process_is_known_to_all(own_place: Path, policy: str, in_background: bool) -> None:
    fit(2, FullOnOne(), on_save_error=policy, async_save=in_background, stopping=True)
    output = Path("output.txt").read_text()
    assert content()["epoch"] == 0
    assert [path.name for path in CHECKPOINTS.iterdir()] == ["last.ckpt"]
    failed = [file.read_text() for file in Path().glob("failed-*")]
    if policy == "stop":
        assert output.count("last.ckpt cannot be written: No space left on device") >= 1
        assert failed == []
    else:
        assert failed == ["2", "2"]
