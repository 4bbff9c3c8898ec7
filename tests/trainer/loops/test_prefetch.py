"""Batches that go to a GPU ahead of need: in which order what is queued, and on a GPU that no step waits."""

from __future__ import annotations

from collections import UserDict, namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lighter
from lighter.trainer.loops.prefetch import AheadOfNeed

GPU = torch.device("meta")  # a device that is not the host's, and that every machine has
Pair = namedtuple("Pair", "x y")


class Streams:
    """CUDA's streams, which only tell what is asked of them."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def Stream(self, device: torch.device) -> str:  # noqa: N802 - CUDA's name for it
        self.told.append("made")
        return "beside"

    @contextmanager
    def stream(self, stream: str) -> Iterator[None]:
        self.told.append(f"copies on {stream}")
        yield
        self.told.append("copied")

    def current_stream(self, device: torch.device) -> Streams:
        return self

    def wait_stream(self, stream: str) -> None:
        self.told.append(f"steps wait for {stream}")


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Streams:
    streams = Streams()
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda tensor, stream: stream.told.append(f"{tensor.device} kept")
    )
    return streams


def test_a_copy_is_queued_beside_and_the_steps_wait_for_it(streams: Streams) -> None:
    batch = {"x": torch.zeros(3), "more": [torch.ones(2), ("a", 1, None)]}
    there = AheadOfNeed(GPU, streams).move(batch)
    assert (there["x"].device, there["more"][0].device, there["more"][1]) == (GPU, GPU, ("a", 1, None))
    assert batch["x"].device.type == "cpu"
    copying = ["copies on beside", "copied", "steps wait for beside", "meta kept", "meta kept"]
    assert streams.told == ["made", *copying]
    AheadOfNeed(GPU, streams).move(batch)
    assert streams.told == ["made", *copying, *copying]  # on the same stream


BATCHES: dict[str, tuple[Any, bool]] = {
    "a tensor": (torch.zeros(1), True),
    "a list": ([torch.zeros(1), "text", 1, None], True),
    "nested": ({"a": (torch.zeros(1), [torch.zeros(2)])}, True),
    "a named tuple": (Pair(torch.zeros(1), torch.zeros(1)), True),
    "nothing": (None, True),
    "a tensor that is there": ([torch.zeros(1), torch.zeros(1, device=GPU)], False),
    "a subclass of tensor": ([nn.Parameter(torch.zeros(1))], False),
    "a mapping of the user's": (UserDict(x=torch.zeros(1)), False),
    "an object": ([torch.zeros(1), object()], False),
}


@pytest.mark.parametrize("name", BATCHES)
def test_what_is_moved_ahead(name: str, streams: Streams) -> None:
    batch, can = BATCHES[name]
    assert AheadOfNeed(GPU, streams).can_move(batch) is can


class Steps(lighter.LighterModule):
    """Keeps its losses on the GPU; while it is watched, what waits for the GPU is an error."""

    watched = range(0)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx in (self.watched.start, self.watched.stop):
            torch.cuda.set_sync_debug_mode("error" if batch_idx in self.watched else "default")
        loss = self.criterion(self(batch[0]), batch[1])
        self.losses.append(loss.detach())
        return loss


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_no_step_waits_for_the_gpu_and_losses_are_lightnings(precision: str, tmp_path: Path) -> None:
    x, y = torch.randn(1280, 64), torch.randint(10, (1280,))
    losses = {}
    for trainer_class in (pl.Trainer, lighter.Trainer):
        torch.manual_seed(2)
        network = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.1), nn.Linear(256, 10))
        module = Steps(network, nn.CrossEntropyLoss(), lambda parameters: torch.optim.SGD(parameters, lr=0.1))
        module.losses = []
        module.watched = range(5, 35) if trainer_class is lighter.Trainer else range(0)
        own = {"exact_resume": False, "on_non_finite": "continue"} if trainer_class is lighter.Trainer else {}
        trainer = trainer_class(
            accelerator="gpu",
            devices=1,
            max_epochs=1,
            precision=precision,
            log_every_n_steps=1000,
            default_root_dir=tmp_path,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **own,
        )
        try:
            trainer.fit(module, DataLoader(TensorDataset(x, y), batch_size=32, pin_memory=True))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        losses[trainer_class] = torch.stack(module.losses).tolist()
    assert len(losses[lighter.Trainer]) == 40
    assert losses[lighter.Trainer] == losses[pl.Trainer]
