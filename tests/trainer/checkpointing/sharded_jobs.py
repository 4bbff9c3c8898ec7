"""Fits of a module that shards itself over processes (FSDP2 on the CPU), whose checkpoints are folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader, Dataset
from torchmetrics import MeanMetric

import lighter
from lighter.trainer.checkpointing.sharded_reading import read_whole
from tests.forks import launch

SAMPLES = 48
CHECKPOINTS = Path("checkpoints")


class Numbered(Dataset):
    """Samples that know their number."""

    def __init__(self, size: int = SAMPLES) -> None:
        self.x = torch.randn(size, 8, generator=torch.Generator().manual_seed(3))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        return self.x[index] + torch.rand(()) / 10, index


class Sharded(pl.LightningModule):
    """With buffers that differ between processes, dropout, and a metric that adds up."""

    def __init__(self, width: int = 16, kind: str = "adam") -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(
            nn.Linear(8, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 1)
        )
        self.mean, self.kind = MeanMetric(), kind

    def configure_model(self) -> None:
        if isinstance(self.trainer.strategy, ModelParallelStrategy) and not hasattr(self.network, "unshard"):
            mesh = self.device_mesh["data_parallel"]
            for layer in self.network:
                if isinstance(layer, nn.Linear):
                    fully_shard(layer, mesh=mesh)
            fully_shard(self.network, mesh=mesh)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = self.network(batch[0]).square().mean()
        self.mean.update(loss.detach())
        self.log("mean", self.mean, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        if self.kind == "sgd":
            return torch.optim.SGD(self.parameters(), lr=0.01)
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Served(pl.Callback):
    """Appends the samples of each step to `served-RANK`."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        line = {"epoch": trainer.current_epoch, "step": trainer.global_step, "samples": batch[1].tolist()}
        with open(f"served-{trainer.global_rank}", "a") as file:
            file.write(json.dumps(line) + "\n")


class SaveAt(Checkpoint):
    """Saves `mid.ckpt` after a batch of an epoch, and stops there if told to."""

    def __init__(self, epoch: int, batch: int, *, stop: bool = True) -> None:
        self.at, self.stop = (epoch, batch), stop

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == self.at:
            trainer.save_checkpoint(CHECKPOINTS / "mid.ckpt")
            if self.stop:
                raise SystemExit(0)


def trainer(processes: int, *callbacks: Any, sharded: bool = True, **kwargs: Any) -> lighter.Trainer:
    plain = "auto" if processes == 1 else "ddp"
    strategy = ModelParallelStrategy(data_parallel_size=processes, tensor_parallel_size=1) if sharded else plain
    last = ModelCheckpoint(CHECKPOINTS, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    quiet = {"logger": False, "enable_model_summary": False, "enable_progress_bar": False}
    return lighter.Trainer(
        **{"accelerator": "cpu", "devices": processes, "max_epochs": 3, "strategy": strategy, **quiet, **kwargs},
        default_root_dir=".",
        callbacks=[*callbacks, Served(), last],
    )


def fit(
    processes: int = 2,
    *callbacks: Any,
    ckpt_path: str | Path | None = None,
    batch_size: int = 4,
    module: Any = None,
    dataset: Any = None,
    kill_after: float | None = None,
    stopping: bool = False,
    **kwargs: Any,
) -> bool:
    """Train in forks of this process."""

    def job() -> None:
        torch.manual_seed(1)
        torch.set_num_threads(1)
        made = trainer(processes, *callbacks, **kwargs)
        loader = DataLoader(dataset or Numbered(), batch_size=batch_size, shuffle=True)
        made.fit(module() if module else Sharded(), loader, ckpt_path=ckpt_path)
        with open(f"resume-{made.global_rank}", "a") as file:
            file.write(f"{made.resume_choice}\n")
        Path(f"failed-{made.global_rank}").write_text(str(made.saves.failed))

    return launch(job, processes, kill_after, stopping=stopping)


def content(path: str | Path = CHECKPOINTS / "last.ckpt") -> dict[str, Any]:
    return read_whole(Path(path))


def served(epoch: int) -> list[int]:
    """The samples of an epoch that all processes were served."""
    lines = [json.loads(line) for file in Path().glob("served-*") for line in file.read_text().splitlines()]
    return sorted(sample for line in lines if line["epoch"] == epoch for sample in line["samples"])
