"""What the writers' tests predict: a network on samples with identifiers that files and tables hate."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

import lighter
from lighter import adapters

NUL = "nul\0inside" if sys.version_info >= (3, 11) else "nul"  # which Python 3.10 writes, but does not read
HATED = (
    "plain", "0001", "NA", "null", "1e5", "", " ", " leading", "trailing ", "a,b", 'a "quote"', '"', '""', "=1+1", "-",
    "two\nlines", "return\rhere", "both\r\nends", "\r\n", "tab\there", "semi;colon", "é", "e\u0301", "日本", "🫠",
    "\u2028", "\ufeffbom", NUL, "a/b", "../../x", "/etc/x", "..", ".", ".hidden", "dot.", "a:b", "a\\b",
    "%41", "%", "con", "NUL.txt", "lpt1", "x" * 300, "日" * 120, "*?<>|",
)  # fmt: skip


class Samples(Dataset):
    """Samples of a number, a vector and text: an identifier of its own for each, and text that comes again."""

    def __init__(self, size: int = 100) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            "x": torch.tensor([index / 7, 1.0, -index]),
            "text": HATED[index % len(HATED)],
            "name": HATED[index] if index < len(HATED) else f"{index} {HATED[index % len(HATED)]}",
        }


class Stream(IterableDataset):
    """The same without indices."""

    def __init__(self, size: int = 100) -> None:
        self.samples = Samples(size)

    def __iter__(self) -> Any:
        return (self.samples[index] for index in range(self.samples.size))


def outputs(pred: torch.Tensor, batch: dict[str, Any]) -> dict[str, Any]:
    return {"name": batch["name"], "text": batch["text"], "pred": pred[:, 0], "vector": pred, "x": batch["x"]}


class Predictor(lighter.LighterModule):
    """Predicts, and notes in a file which batches it was asked for."""

    def __init__(self, calls: str | None = None, seconds: float = 0.0) -> None:
        super().__init__(torch.nn.Linear(3, 3))
        self.calls, self.seconds = calls, seconds
        with torch.no_grad():
            self.network.weight.copy_(torch.arange(9.0).view(3, 3) / 7)
            self.network.bias.fill_(0.1)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        if self.calls is not None:
            with open(self.calls, "a") as file:
                file.write(f"{self.global_rank} {dataloader_idx} {batch_idx}\n")
        time.sleep(self.seconds)
        return outputs(self(batch["x"]), batch)


def system(**kwargs: Any) -> lighter.System:
    """The same as a `System`."""
    batch = adapters.BatchAdapter("x", identifier_accessor="name")
    return lighter.System(
        torch.nn.Linear(3, 3), {"predict": loader()}, adapters={"predict": {"batch": batch}}, **kwargs
    )


def loader(size: int = 100, batch_size: int = 7, **kwargs: Any) -> DataLoader:
    return DataLoader(Samples(size), batch_size=batch_size, **kwargs)


def stream(size: int = 100, batch_size: int = 7) -> DataLoader:
    return DataLoader(Stream(size), batch_size=batch_size)


class StopAt(pl.Callback):
    """Stops a prediction in the middle of a batch, as an error in the user's code would."""

    def __init__(self, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.place = (dataloader_idx, batch_idx)

    def on_predict_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if (dataloader_idx, batch_idx) == self.place:
            raise RuntimeError("stopped by the test")


def writers(*names: str) -> list[dict[str, Any]]:
    """The definitions of some writers."""
    known = {
        "csv": {
            "_target_": "lighter.callbacks.CsvWriter",
            "path": "rows.csv",
            "keys": ["name", "text", "pred", "vector"],
        },
        "parquet": {
            "_target_": "lighter.callbacks.ParquetWriter",
            "path": "rows.parquet",
            "keys": ["name", "pred", "vector"],
        },
        "files": {
            "_target_": "lighter.callbacks.FileWriter",
            "directory": "files",
            "value_key": "vector",
            "writer_fn": "tensor",
            "name_key": "name",
        },
        "table": {"_target_": "lighter.callbacks.TableWriter", "path": "table.csv"},
    }
    return [known[name] for name in names]


def config(*names: str, size: int = 100, batch_size: int = 7, **module: Any) -> dict[str, Any]:
    """A run that predicts and writes."""
    return {
        "model": {"_target_": "tests.callbacks.jobs.Predictor", **module},
        "data": {
            "_target_": "lighter.LighterDataModule",
            "predict_dataloader": {"_target_": "tests.callbacks.jobs.loader", "size": size, "batch_size": batch_size},
        },
        "trainer": {"accelerator": "cpu", "callbacks": writers(*names)},
        "run": {"dir": os.getcwd(), "name": "job"},
    }
