"""A checkpoint that cannot be written: the earlier ones stay, nobody believes in the one that is not there."""

from __future__ import annotations

import errno
import logging
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from lighter.errors import StorageError
from tests.trainer.checkpointing.jobs import At, Disk, Scored, checkpoint, disk, files, fit, trainer

__all__ = ["disk"]
BETTER = [5.0, 4.0, 3.0, 2.0, 1.0]


def fails_at(disk: Disk, *epochs: int) -> At:
    """The disk fails in these epochs."""

    def set_to(error: int | None) -> Any:
        return lambda: setattr(disk, "error", error)

    return At({epoch: set_to(errno.ENOSPC if epoch in epochs else None) for epoch in range(len(BETTER))})


def noted(callback: ModelCheckpoint) -> dict[str, float]:
    return {Path(path).name: float(score) for path, score in callback.best_k_models.items()}


@pytest.mark.parametrize("async_save", [False, True], ids=["at once", "beside"])
def test_stop(disk: Disk, async_save: bool, caplog: pytest.LogCaptureFixture) -> None:
    best = checkpoint(save_last=True)
    with pytest.raises(StorageError) as raised:
        fit(BETTER, fails_at(disk, 2, 3, 4), best, async_save=async_save)
    assert re.fullmatch(
        f"{Path('checkpoints/2.ckpt').absolute()} cannot be written: No space left on device "
        r"\(it takes \d+ B, [\d.]+ .?B are free\)\. Kept as before: 1\.ckpt, last\.ckpt\. "
        r"Make room, then lighter resume, or start again; or train without it: trainer::on_save_error=continue",
        str(raised.value),
    )
    assert (raised.value.errno, raised.value.exit_code, isinstance(raised.value, OSError)) == (errno.ENOSPC, 1, True)
    assert files() == {"1.ckpt": 1, "last.ckpt": 1}
    assert noted(best) == {"1.ckpt": 4.0}
    assert (Path(best.best_model_path).name, float(best.best_model_score)) == ("1.ckpt", 4.0)
    assert Path(best.last_model_path).name == "last.ckpt"
    assert not [record for record in caplog.records if record.name == "lighter.runs"]


@pytest.mark.parametrize("async_save", [False, True], ids=["at once", "beside"])
@pytest.mark.parametrize(
    ("arguments", "failing", "left"),
    [
        ({}, (1, 2), {"4.ckpt": 4}),
        ({}, (2, 3, 4), {"1.ckpt": 1}),
        ({"save_top_k": 2}, (2, 4), {"1.ckpt": 1, "3.ckpt": 3}),
        ({"save_top_k": -1}, (0, 3), {"1.ckpt": 1, "2.ckpt": 2, "4.ckpt": 4}),
        ({"save_last": True}, (4,), {"3.ckpt": 3, "last.ckpt": 3}),
        ({"monitor": None}, (3, 4), {"2.ckpt": 2}),
        ({"monitor": None, "filename": "same", "enable_version_counter": False}, (3, 4), {"same.ckpt": 2}),
        ({"save_last": "link"}, (3, 4), {"2.ckpt": 2, "last.ckpt": 2}),
    ],
    ids=["recovers", "does not", "two", "all", "last", "none monitored", "one name", "link"],
)
def test_continue(
    disk: Disk, arguments: dict[str, Any], failing: tuple[int, ...], left: dict[str, int], async_save: bool
) -> None:
    callback = checkpoint(**arguments)
    found = fit(BETTER, fails_at(disk, *failing), callback, on_save_error="continue", async_save=async_save)
    assert found.current_epoch == len(BETTER)
    assert found.saves.failed >= len(failing)
    assert files() == left
    named = {callback.best_model_path, callback.last_model_path, *callback.best_k_models} - {""}
    assert {Path(path).name for path in named} == set(left)
    assert all(score == BETTER[left[name]] for name, score in noted(callback).items())


def test_the_score_of_a_file_that_is_not_there_is_not_the_one_to_beat(disk: Disk) -> None:
    best = checkpoint()
    fit([5.0, 1.0, 3.0], fails_at(disk, 1), best, on_save_error="continue")
    assert files() == {"2.ckpt": 2}
    assert noted(best) == {"2.ckpt": 3.0}


def test_a_failing_disk_is_told_once_and_so_is_its_end(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lighter.runs"):
        fit(BETTER, fails_at(disk, 1, 2, 4), checkpoint(), on_save_error="continue")
    first, again, second, sum_ = [record.getMessage() for record in caplog.records if record.name == "lighter.runs"]
    assert "1.ckpt cannot be written: No space left on device" in first
    assert first.endswith(
        "Kept as before: 0.ckpt. The training goes on, and the next save tries again (on_save_error: continue)"
    )
    assert again == "checkpoints are written again"
    assert "4.ckpt cannot be written" in second
    assert sum_ == "3 saves of checkpoints failed in this fit"


@pytest.mark.parametrize("async_save", [False, True], ids=["at once", "beside"])
def test_training_is_the_same_as_on_a_good_disk(disk: Disk, async_save: bool) -> None:
    failing = fit(BETTER, fails_at(disk, 1, 3), checkpoint(), on_save_error="continue", async_save=async_save)
    disk.error = None
    good = fit(BETTER)
    assert torch.equal(failing.lightning_module.layer.weight, good.lightning_module.layer.weight)


def test_our_own_checkpoints(disk: Disk) -> None:
    found = fit(BETTER, fails_at(disk, 3, 4), on_save_error="continue")
    assert files() == {"last.ckpt": 2}
    assert [Path(callback.best_model_path).name for callback in found.checkpoint_callbacks] == ["", "last.ckpt"]


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.EROFS, errno.EIO])
def test_other_errors_of_the_disk(disk: Disk, number: int) -> None:
    disk.error = number
    with pytest.raises(StorageError, match="There is no earlier checkpoint") as raised:
        fit(BETTER, checkpoint())
    assert raised.value.errno == number
    assert files() == {}


def test_a_call_of_the_users_own(disk: Disk) -> None:
    disk.error = errno.ENOSPC
    saving = At({1: lambda: found.save_checkpoint("checkpoints/own.ckpt")})
    found = trainer(saving, max_epochs=2, on_save_error="continue", enable_checkpointing=False, async_save=True)
    found.fit(Scored(BETTER), torch.zeros(2, 4))
    assert found.saves.failed == 1
    with pytest.raises(StorageError, match=r"own\.ckpt cannot be written"):
        found.save_checkpoint("checkpoints/own.ckpt")
    disk.error = None
    found.save_checkpoint("checkpoints/own.ckpt")
    assert files() == {"own.ckpt": 2}


class Fails(Callback):
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 2:
            raise ValueError("mine")


@pytest.mark.parametrize("async_save", [False, True], ids=["at once", "beside"])
def test_the_error_that_ends_a_fit_is_not_hidden_by_a_full_disk(
    disk: Disk, async_save: bool, caplog: pytest.LogCaptureFixture
) -> None:
    callback = checkpoint(save_on_exception=True, every_n_epochs=100)
    disk.error = errno.ENOSPC
    with pytest.raises(ValueError, match="mine"):
        fit(BETTER, Fails(), callback, async_save=async_save)
    [told] = [record.getMessage() for record in caplog.records if record.name == "lighter.runs"]
    assert "2.ckpt cannot be written: No space left on device" in told
    assert type(callback) is ModelCheckpoint


class Overrides(ModelCheckpoint):
    """A user's, with methods of its own around those that are guarded."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.calls: list[str] = []

    def _save_topk_checkpoint(self, *args: Any) -> None:
        self.calls.append("save")
        super()._save_topk_checkpoint(*args)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        assert any(isinstance(one, Overrides) for one in trainer.callbacks)
        self.calls.append("hook")
        super().on_train_epoch_end(trainer, pl_module)


def test_methods_of_a_users_own_are_called_and_the_callbacks_are_as_they_were(disk: Disk) -> None:
    callback = Overrides("checkpoints", filename="{epoch}", monitor="score", save_on_train_epoch_end=True)
    found = fit(BETTER, fails_at(disk, 1), callback, on_save_error="continue")
    assert callback.calls == ["hook", "save"] * len(BETTER)
    assert found.saves.failed == 1
    assert (type(callback), found.checkpoint_callback) == (Overrides, callback)
    assert callback.state_key.startswith("Overrides{")
    assert [key for key in torch.load(callback.best_model_path)["callbacks"] if "Over" in key] == [callback.state_key]


class Own(TorchCheckpointIO):
    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")


def test_files_that_the_user_writes() -> None:
    with pytest.raises(StorageError, match=r"0\.ckpt cannot be written: Disk quota exceeded\. There is no earlier"):
        fit(BETTER, checkpoint(), plugins=[Own()])
    callback = checkpoint()
    assert fit(BETTER, callback, plugins=[Own()], on_save_error="continue").saves.failed == 5
    assert (callback.best_model_path, callback.best_k_models) == ("", {})
    with pytest.raises(ValueError, match="async_save is for checkpoint files that Lighter writes, and here Own does"):
        trainer(plugins=[Own()], async_save=True)


def test_a_trainer_can_be_pickled_after_its_fit(disk: Disk) -> None:
    best = checkpoint()
    fitted = fit(BETTER, best)
    again = pickle.loads(pickle.dumps(fitted.callbacks))
    assert [type(one) for one in again] == [type(one) for one in fitted.callbacks]
    (copied,) = (one for one in again if isinstance(one, ModelCheckpoint))
    assert noted(copied) == noted(best)
