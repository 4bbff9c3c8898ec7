"""What ships beside the trainer does in the lean loops what it does in Lightning's, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

import lighter
from lighter.callbacks import CsvWriter, Freezer
from lighter.trainer.loops.batches import moved
from tests.jobs import loader
from tests.trainer.recording import describe

pytestmark = pytest.mark.filterwarnings("ignore")
TRAINERS = [pl.Trainer, lighter.Trainer]


class Parts(lighter.LighterModule):
    """A module with named parts, measured, with a prediction task."""

    def training_step(self, batch, batch_idx):
        return self.criterion(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        return self.criterion(self(batch[0]), batch[1])

    def predict_step(self, batch, batch_idx):
        return {"pred": self(batch[0]).argmax(1)}

    def predict_scores(self, batch, step_output, batch_idx, result):
        result.append((batch_idx, step_output["pred"], self(batch[0])))

    def predict_scores_end(self, result, output_path):
        torch.save(result, output_path / "scores.pt")


class Rates(pl.Callback):
    """Remembers the learning rate of each step, and what trains in it."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, list[bool]]] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append((optimizer.param_groups[0]["lr"], [p.grad is not None for p in pl_module.parameters()]))


def parts(**options: Any) -> Parts:
    torch.manual_seed(2)
    network = nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
    optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    return Parts(network, criterion=nn.CrossEntropyLoss(), optimizer=optimizer, **options)


def trainer_of(trainer_class: type[pl.Trainer], folder: Path, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    options = {"enable_checkpointing": False, "max_epochs": 3, "default_root_dir": folder, **options}
    return trainer_class(callbacks=[*callbacks], **quiet, **options)


FITS: dict[str, tuple[dict, Callable[[], list], dict]] = {  # options of the module, callbacks, arguments of the trainer
    "a freezer by steps": ({}, lambda: [Freezer(["0", "1"], until_step=3)], {}),
    "a freezer by epochs": ({}, lambda: [Freezer(name_starts_with="0", until_epoch=1)], {}),
    "a freezer that accumulates": ({}, lambda: [Freezer(["0"], until_step=2)], {"accumulate_grad_batches": 3}),
    "a warm-up": ({"scheduler": {"warmup": {"steps": 5}}}, list, {}),
    "a warm-up that accumulates": ({"scheduler": {"warmup": {"steps": 3}}}, list, {"accumulate_grad_batches": 3}),
    "a warm-up and a freezer": ({"scheduler": {"warmup": {"steps": 5}}}, lambda: [Freezer(["1"], until_step=4)], {}),
}


@pytest.mark.parametrize("name", FITS)
def test_a_fit_is_the_same(name: str, tmp_path: Path) -> None:
    options, callbacks, more = FITS[name]
    found = []
    for trainer_class in TRAINERS:
        rates = Rates()
        module = parts(**options)
        trainer = trainer_of(trainer_class, tmp_path, *callbacks(), rates, **more)
        trainer.fit(module, loader(0, 128), loader(320, 352))
        found.append((describe(module.state_dict()), rates.seen, describe(dict(trainer.callback_metrics))))
    assert trainer.loop_choice.is_lean
    assert found[0] == found[1]
    assert len({repr(seen) for seen in found[0][1]}) > 1  # something came to train, or a rate rose


@pytest.mark.parametrize("trainer_class", TRAINERS)
def test_tasks_and_writers_predict(trainer_class: type[pl.Trainer], tmp_path: Path) -> None:
    module = parts(predict_tasks="scores")
    trainer = trainer_of(trainer_class, tmp_path, CsvWriter("rows.csv", ["pred"]))
    returned = trainer.predict(module, loader(0, 70))
    [saved] = [torch.load(path) for path in tmp_path.glob("**/scores.pt")]
    module.eval()
    with torch.no_grad():
        expected = [module(batch[0]) for batch in loader(0, 70)]
    assert [number for number, *_ in saved] == [0, 1, 2]
    assert describe([scores for *_, scores in saved]) == describe(expected)
    assert describe([output["pred"] for output in returned]) == describe([scores.argmax(1) for scores in expected])
    rows = (tmp_path / "rows.csv").read_text().splitlines()[1:]
    assert rows == [str(int(label)) for scores in expected for label in scores.argmax(1)]


@pytest.mark.parametrize("trainer_class", TRAINERS)
def test_filters_of_lightnings_warnings_hold(trainer_class: type[pl.Trainer], tmp_path: Path) -> None:
    class Nothing(Parts):
        def predict_step(self, batch, batch_idx):
            return None

    with pytest.warns(UserWarning, match=r"^train_dataloader yielded None"):
        trainer_of(trainer_class, tmp_path).fit(parts(), DataLoader(range(2), collate_fn=lambda _: None))
    with pytest.warns(UserWarning, match=r"^predict returned None"):
        trainer_of(trainer_class, tmp_path).predict(Nothing(nn.Linear(64, 10)), loader(0, 64))


def test_batches_of_text_are_left_where_they_are() -> None:
    class Text(list):
        """A list that Lightning looks into."""

    cpu, texts = torch.device("cpu"), ["a", "b"]
    for batch in ({"x": torch.zeros(2), "text": texts}, [torch.zeros(2), texts, (1, None)]):
        there = moved(batch, cpu)
        assert there is not batch  # a step may change it
        keys = batch.keys() if isinstance(batch, dict) else range(len(batch))
        assert all(there[key] is batch[key] for key in keys)
    looked_into = moved([torch.zeros(2), Text(texts)], cpu)
    assert looked_into[1] == texts
    assert moved({"x": [torch.zeros(1)], "text": texts}, torch.device("meta"))["x"][0].device.type == "meta"
