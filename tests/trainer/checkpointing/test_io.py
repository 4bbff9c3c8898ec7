from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.load import _lazy_load
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import AsyncCheckpointIO, TorchCheckpointIO
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch.utils.data import DataLoader

import lighter
from lighter.errors import CheckpointError, DamagedCheckpointError
from lighter.files.integrity import verify
from lighter.trainer.checkpointing.io import CheckpointFiles
from tests.jobs import digits, mlp

QUIET = {"logger": False, "enable_model_summary": False, "enable_progress_bar": False, "accelerator": "cpu"}


class Plain(pl.LightningModule):
    def __init__(self, **hyperparameters: Any) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = mlp()

    def training_step(self, batch: Any) -> Any:
        loss = torch.nn.functional.cross_entropy(self.network(batch[0]), batch[1])
        self.log("score", float(self.global_step))
        return loss

    test_step = training_step

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters())


def loader() -> DataLoader:
    return DataLoader(digits(0, 64), batch_size=32)


def a_trainer(*callbacks: Any, **arguments: Any) -> lighter.Trainer:
    kept = [ModelCheckpoint("kept", "{epoch}", save_top_k=-1, save_last=True)] if not callbacks else [*callbacks]
    return lighter.Trainer(**QUIET, callbacks=kept, default_root_dir=".", **arguments)


def test_whose_way_it_is() -> None:
    assert isinstance(lighter.Trainer(**QUIET).strategy.checkpoint_io, CheckpointFiles)
    mine = TorchCheckpointIO()
    assert lighter.Trainer(**QUIET, plugins=[mine]).strategy.checkpoint_io is mine
    assert lighter.Trainer(**QUIET, strategy=SingleDeviceStrategy(checkpoint_io=mine)).strategy.checkpoint_io is mine
    around = lighter.Trainer(**QUIET, plugins=[AsyncCheckpointIO()]).strategy.checkpoint_io
    assert type(around.checkpoint_io) is CheckpointFiles
    around = lighter.Trainer(**QUIET, plugins=[AsyncCheckpointIO(mine)]).strategy.checkpoint_io
    assert around.checkpoint_io is mine


def test_lightnings_reader_of_single_tensors() -> None:
    """With which FSDP loads what it did not shard."""
    CheckpointFiles().save_checkpoint({"w": torch.arange(9.0)}, "last.ckpt")
    assert torch.equal(_lazy_load(Path("last.ckpt"))["w"]._load_tensor(), torch.arange(9.0))


def test_a_fit_and_lightnings_own_trainer_that_goes_on() -> None:
    module = Plain(root=Path("data"), width=3)
    a_trainer(max_epochs=2).fit(module, loader())
    names = ["epoch=0.ckpt", "epoch=1.ckpt", "last.ckpt"]
    assert sorted(path.name for path in Path("kept").iterdir()) == names
    manifests = [verify(Path("kept", name)) for name in names]
    assert [manifest and manifest.step for manifest in manifests] == [2, 4, 4]
    assert torch.load("kept/last.ckpt", weights_only=True)["hyper_parameters"] == {"root": "data", "width": 3}
    assert Plain.load_from_checkpoint("kept/last.ckpt").hparams == {"root": "data", "width": 3}
    plain = pl.Trainer(**QUIET, max_epochs=3, callbacks=[ModelCheckpoint("kept", "lightnings")])
    plain.fit(Plain(), loader(), ckpt_path="kept/last.ckpt")
    assert plain.global_step == 6
    assert verify("kept/lightnings.ckpt") is None
    trainer = a_trainer(max_epochs=4)
    trainer.fit(Plain(), loader(), ckpt_path="kept/lightnings.ckpt")
    assert trainer.global_step == 8


@pytest.mark.parametrize("top_k", [1, 2])
def test_the_earlier_one_is_deleted_when_the_new_one_is_complete(top_k: int) -> None:
    there = []

    class Noted(CheckpointFiles):
        def remove_checkpoint(self, path: Any) -> None:
            there.append([verify(each).step for each in sorted(Path("kept").glob("*.ckpt"))])
            super().remove_checkpoint(path)

    best = ModelCheckpoint("kept", "{step}", monitor="score", mode="max", save_top_k=top_k)
    a_trainer(best, max_epochs=4, plugins=[Noted()]).fit(Plain(), loader())
    assert there == [[2 * step for step in range(first, first + top_k + 1)] for first in range(1, 5 - top_k)]


def test_what_needs_code_to_be_loaded_is_saved_and_said_once() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        a_trainer(max_epochs=3).fit(Plain(kind=torch.optim.SGD), loader())
    [said] = [str(one.message) for one in caught if "weights_only" in str(one.message)]
    assert "\n  hyper_parameters::kind: torch.optim.sgd.SGD\n" in said
    assert torch.load("kept/last.ckpt", weights_only=False)["hyper_parameters"]["kind"] is torch.optim.SGD


def damage(name: str) -> None:
    path = Path("kept", name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)


def test_a_damaged_one_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    a_trainer(max_epochs=3).fit(Plain(), loader())
    here = Path.cwd() / "kept"
    damage("last.ckpt")
    Path("kept/epoch=2.ckpt").write_bytes(Path("kept/epoch=2.ckpt").read_bytes()[:2000])
    trainer = a_trainer(max_epochs=4)
    with caplog.at_level(logging.WARNING, "lighter.runs"):
        trainer.fit(Plain(), loader(), ckpt_path="last")
    said = [record.getMessage() for record in caplog.records if record.name == "lighter.runs"]
    assert said == [
        f"{here / 'last.ckpt'} is damaged: its bytes are not those that were saved. It is passed over",
        f"{here / 'epoch=2.ckpt'} is damaged: it ends at byte 2,000, too early. It is passed over",
        f"{here / 'epoch=1.ckpt'} is taken in its place, the newest that is good",
    ]
    assert trainer.global_step == 8


def test_one_that_is_asked_for_by_its_name_is_refused() -> None:
    a_trainer(max_epochs=2).fit(Plain(), loader())
    damage("last.ckpt")
    with pytest.raises(
        DamagedCheckpointError,
        match=r"last.ckpt is damaged: its bytes .* The newest good one beside it is kept/epoch=1.ckpt$",
    ):
        a_trainer().test(Plain(), loader(), ckpt_path="kept/last.ckpt")
    damage("epoch=0.ckpt")
    damage("epoch=1.ckpt")
    with pytest.raises(DamagedCheckpointError, match=r"There is no good one beside it$"):
        a_trainer().test(Plain(), loader(), ckpt_path="kept/last.ckpt")
    with pytest.raises(CheckpointError, match=r"none of the checkpoints in .*kept can be used"):
        a_trainer().test(Plain(), loader(), ckpt_path="last")
    with pytest.raises(DamagedCheckpointError, match="is damaged"):
        CheckpointFiles().load_checkpoint("kept/last.ckpt")


def test_a_fit_sweeps_its_folder_and_a_test_does_not() -> None:
    Path("kept").mkdir()
    left = Path("kept/.last.ckpt.partial-4711-00000000-00000000")
    mine = Path("kept/.mine")
    for path in (left, mine):
        path.touch()
    os.utime(left, (0, 0))
    a_trainer().test(Plain(), loader())
    assert left.exists()
    a_trainer(max_epochs=1).fit(Plain(), loader())
    assert sorted(path.name for path in Path("kept").iterdir()) == [".mine", "epoch=0.ckpt", "last.ckpt"]


def test_what_is_on_no_local_file_system_goes_lightnings_way() -> None:
    files = CheckpointFiles()
    files.save_checkpoint({"epoch": 3}, "memory://somewhere/last.ckpt")
    assert files.load_checkpoint("memory://somewhere/last.ckpt") == {"epoch": 3}
    files.remove_checkpoint("memory://somewhere/last.ckpt")
    with pytest.raises(FileNotFoundError):
        files.load_checkpoint("memory://somewhere/last.ckpt")
    with pytest.raises(TypeError, match="storage_options"):
        files.save_checkpoint({"epoch": 3}, "last.ckpt", storage_options=3)
