"""Several processes write the file that one would."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningDataModule
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data.distributed import DistributedSampler

from lighter import Runner
from lighter.callbacks import CsvWriter
from lighter.errors import PredictionError
from tests.callbacks.jobs import Samples, config
from tests.callbacks.jobs import writers as callbacks
from tests.callbacks.test_kills import contents
from tests.forks import launch

pytestmark = pytest.mark.slow


class Padded(LightningDataModule):
    """With torch's own sampler, which repeats samples to even the shares out."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.samples = Samples(size)

    def predict_dataloader(self):
        return DataLoader(self.samples, batch_size=7, sampler=DistributedSampler(self.samples, shuffle=False))


class Streams(LightningDataModule):
    """A share of a dataset without indices for each process."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.samples = Samples(size)

    def predict_dataloader(self):
        share = range(self.trainer.global_rank, self.samples.size, self.trainer.world_size)
        return DataLoader(Share(self.samples, share), batch_size=7)


class Share(IterableDataset):
    def __init__(self, samples: Samples, share: range) -> None:
        self.samples, self.share = samples, share

    def __iter__(self):
        return (self.samples[index] for index in self.share)


class FailsOnSecond(Callback):
    """An error in the second process."""

    def on_predict_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_rank == 1 and batch_idx == 3:
            raise RuntimeError("the second process has a bad day")


def predict(processes: int, *, size: int = 101, data: str = "loader", resume: Any = None, **job: Any) -> Any:
    torch.set_num_threads(1)
    made = config("csv", "parquet", "files", size=size, **job.pop("module", {}))
    made["trainer"] |= job
    if processes > 1:
        made["trainer"] |= {"strategy": "ddp", "devices": processes}
    if data != "loader":
        made["data"] = {"_target_": f"tests.callbacks.writers.test_processes.{data}", "size": size}
        made["trainer"]["use_distributed_sampler"] = False
    return Runner().run("predict", [] if resume else [made], resume=resume, return_predictions=False)


FAILS = {"_target_": "tests.callbacks.writers.test_processes.FailsOnSecond"}


def run(place: Path, processes: int, **job: Any) -> Path:
    place.mkdir(exist_ok=True)
    os.chdir(place)
    launch(lambda: predict(processes, **job), processes, None, failing="callbacks" in job)
    return next(iter(place.glob("*-*-*/*")))


def test_two_processes_write_what_one_writes(own_place: Path) -> None:
    one, two = run(own_place / "one", 1), run(own_place / "two", 2)
    assert contents(two) == contents(one)
    assert "rows.csv" in contents(one)


def test_samples_that_a_sampler_repeats_come_once(own_place: Path) -> None:
    one, two = run(own_place / "one", 1), run(own_place / "two", 2, data="Padded")
    with open(two / "rows.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [Samples()[i]["name"] for i in range(101)]
    assert (two / "rows.csv").read_bytes() == (one / "rows.csv").read_bytes()


def names_of(folder: Path) -> list[str]:
    with open(folder / "rows.csv", newline="", encoding="utf-8") as file:
        return [row["name"] for row in csv.DictReader(file)]


def test_samples_without_indices_come_process_after_process(own_place: Path) -> None:
    two = run(own_place / "two", 2, data="Streams")
    assert names_of(two) == [Samples()[i]["name"] for i in [*range(0, 101, 2), *range(1, 101, 2)]]


def test_a_process_that_fails_leaves_what_was_written(own_place: Path) -> None:
    """The other process has its part whole; nothing has a final name; and it goes on."""
    one = run(own_place / "one", 1)
    two = run(own_place / "two", 2, callbacks=[*callbacks("csv", "parquet"), FAILS])
    kept = contents(two)
    assert "rows.csv" not in kept
    assert len(kept["rows.partial-1.csv"].splitlines()) > 7
    assert "the second process has a bad day" in Path("output.txt").read_text()
    saved = (two / "config.yaml").read_text()
    (two / "config.yaml").write_text(saved.replace(FAILS["_target_"], "pytorch_lightning.Callback"))
    assert launch(lambda: predict(2, resume=two), 2, None)
    assert names_of(two) == names_of(one)
    assert not any("partial" in name or "progress" in name for name in contents(two))


def test_a_damaged_part_of_any_process_is_predicted_again(own_place: Path) -> None:
    """Also the part of a process that had ended it."""
    one = run(own_place / "one", 1)
    two = run(own_place / "two", 2, callbacks=[*callbacks("csv", "parquet", "files"), FAILS])
    for name in ("rows.partial.csv", "rows.partial-1.arrows", "rows.csv.progress-1", "files/0.pt"):
        path = two / name if (two / name).exists() else min((two / "files").glob("*.pt"))
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    saved = (two / "config.yaml").read_text()
    (two / "config.yaml").write_text(saved.replace(FAILS["_target_"], "pytorch_lightning.Callback"))
    os.chdir(own_place / "two")
    assert launch(lambda: predict(2, resume=two), 2, None)
    assert contents(two) == contents(one)


def test_another_number_of_processes_does_not_go_on(own_place: Path) -> None:
    two = run(own_place / "two", 2, callbacks=[*callbacks("csv"), FAILS])
    saved = (two / "config.yaml").read_text()
    (two / "config.yaml").write_text(
        saved.replace("devices: 2", "devices: 1").replace("strategy: ddp", "strategy: auto")
    )
    before = contents(two)
    with pytest.raises(PredictionError, match="processes: it was 2, and is 1"):
        predict(1, resume=two)
    assert contents(two) == before


def test_a_prediction_has_begun_when_any_process_has(tmp_path: Path) -> None:
    writer = CsvWriter("[rows].csv", ["pred"])
    assert not writer.has_begun(tmp_path)
    (tmp_path / "r.csv.progress").touch()
    assert not writer.has_begun(tmp_path)
    (tmp_path / "[rows].csv.progress-1").touch()
    assert writer.has_begun(tmp_path)
