"""A fit that is recorded, in Lightning's trainer and in ours, and what it is a fit of."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.optim.lr_scheduler import ExponentialLR
from torch.utils.data import DataLoader, TensorDataset

from tests.trainer.recording import (
    CALLBACK_HOOKS,
    MODULE_HOOKS,
    Net,
    Recording,
    RecordingLogger,
    describe,
    recording_callback,
    recording_module,
)

BUT_ONE = [name for name in MODULE_HOOKS if name != "optimizer_step"]  # with it, Lightning's own optimization runs

SEEN = {  # which hooks the callbacks and the module override
    "no hooks": ((), ()),
    "all hooks but optimizer_step": (CALLBACK_HOOKS, BUT_ONE),
    "all hooks": (CALLBACK_HOOKS, MODULE_HOOKS),
    "all hooks of callbacks": (CALLBACK_HOOKS, ()),
    "all hooks of modules": ((), BUT_ONE),
}


def dataset(samples: int = 28) -> TensorDataset:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(samples, 4, generator=generator)
    return TensorDataset(x, (x.sum(1) > 0).long())


def shuffled() -> DataLoader:
    return DataLoader(dataset(), batch_size=4, shuffle=True)


def val_loaders(n: int = 1) -> Any:
    loaders = [DataLoader(dataset(10 + 3 * i), batch_size=4) for i in range(n)]
    return loaders if n > 1 else loaders[0]


def by_step(optimizer: Any) -> dict:
    return {"scheduler": ExponentialLR(optimizer, 0.9), "interval": "step", "frequency": 2}


class DataModule(pl.LightningDataModule):
    def train_dataloader(self) -> Any:
        return shuffled()

    def val_dataloader(self) -> Any:
        return val_loaders()

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [batch[0] + 1, batch[1]]


class Job(NamedTuple):
    """A run: a class of module and its options, the trainer's arguments, and its data."""

    module: type[Net] = Net
    options: dict[str, Any] = {}
    trainer: dict[str, Any] = {}
    callbacks: Callable[[Path], list] = lambda folder: []
    train: Callable[[], Any] = shuffled
    val: Callable[[], Any] | None = val_loaders


def own_arguments(trainer_class: type[pl.Trainer]) -> dict[str, Any]:
    """What lets ours do no more than Lightning's."""
    return {} if trainer_class is pl.Trainer else {"exact_resume": False, "on_non_finite": "continue"}


def run(
    trainer_class: type[pl.Trainer],
    job: Job,
    folder: Path,
    hooks: tuple[Collection[str], Collection[str]],
    *,
    ckpt_path: Path | None = None,
    **more: Any,
) -> Recording:
    """Fit, and record."""
    recording = Recording()
    folder.mkdir()
    torch.manual_seed(5)
    module = recording_module(job.module, recording, hooks[1])(recording, **job.options)
    bare = job.trainer.get("barebones")
    given = {
        "max_epochs": 3,
        "accelerator": "cpu",
        "log_every_n_steps": 2,
        "callbacks": [*job.callbacks(folder / "checkpoints"), recording_callback(recording, hooks[0])],
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": folder,
        "logger": RecordingLogger(recording, folder),
        **job.trainer,
        **more,
    }
    if bare:
        given = {key: given[key] for key in ("max_epochs", "accelerator", "callbacks", "default_root_dir", "barebones")}
    elif not any(isinstance(callback, ModelCheckpoint) for callback in given["callbacks"]):
        given["enable_checkpointing"] = False
    trainer = trainer_class(**given, **own_arguments(trainer_class))
    train = job.train()
    data = {"datamodule": train} if isinstance(train, DataModule) else {"train_dataloaders": train}
    if job.val is not None:
        data["val_dataloaders"] = job.val()
    try:
        trainer.fit(module, **data, ckpt_path=ckpt_path)
    except (RuntimeError, SystemExit) as error:
        recording.result = describe(error)
    recording.weights = describe(module.state_dict())
    recording.checkpoint = describe(trainer._checkpoint_connector.dump_checkpoint())
    recording.events.append(("end", "random", describe(torch.get_rng_state()), describe(trainer.callback_metrics)))
    assert trainer_class is pl.Trainer or trainer.loop_choice.is_lean, trainer.loop_choice
    return recording


def assert_same(ours: Recording, theirs: Recording) -> None:
    for number, (mine, expected) in enumerate(zip(ours.events, theirs.events, strict=False)):
        assert mine[:2] == expected[:2], f"call {number}: {mine[:2]} instead of {expected[:2]}"
        assert mine == expected, f"call {number}: {mine[:2]}"
    assert len(ours.events) == len(theirs.events)
    assert ours.weights == theirs.weights
    assert ours.checkpoint == theirs.checkpoint
    assert ours.result == theirs.result
