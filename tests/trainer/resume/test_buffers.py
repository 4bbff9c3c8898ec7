"""Buffers of a process that differ from those of the first one; what a fit makes of them is among the fault jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lighter.trainer.resume.buffers import buffers_of_process, load_buffers


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def second_process(first: Any, **kwargs: Any) -> Any:
    """A trainer in a process to which the first one broadcasts what `first` has."""
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    model = DistributedDataParallel(module, **kwargs)
    return SimpleNamespace(lightning_module=module, strategy=SimpleNamespace(model=model, broadcast=lambda _: first))


def digests(trainer: Any) -> dict[str, str]:
    """The digests that a process gives the others."""
    given: list[dict[str, str]] = []
    other = SimpleNamespace(model=trainer.strategy.model, broadcast=lambda sent: given.append(sent) or sent)
    assert buffers_of_process(SimpleNamespace(lightning_module=trainer.lightning_module, strategy=other))["own"] == {}
    return given[0]


@pytest.mark.filterwarnings("ignore:`broadcast_buffers` is deprecated:FutureWarning")
@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("kwargs", [{}, {"broadcast_buffers": False}], ids=["while gradients add up", "never the same"])
def test_those_that_differ_are_kept(kwargs: dict[str, Any]) -> None:
    trainer = second_process({}, **kwargs)
    model, norm = trainer.strategy.model, trainer.lightning_module[1]
    with model.no_sync():
        model(torch.randn(4, 2))
    of_first = digests(trainer)
    trainer.strategy.broadcast = lambda _: of_first
    norm.running_mean.add_(1.0)
    saved = buffers_of_process(trainer)
    assert list(saved["own"]) == ["1.running_mean"]

    resumed = second_process({}, **kwargs)
    load_buffers(resumed, saved)
    assert torch.equal(resumed.lightning_module[1].running_mean, norm.running_mean)
    assert resumed.strategy.model.will_sync_module_buffers() == model.will_sync_module_buffers()


@pytest.mark.usefixtures("group")
def test_those_that_are_about_to_be_made_the_same_are_not() -> None:
    trainer = second_process({})
    assert buffers_of_process(trainer) == {"own": {}, "sync": True}


def test_without_ddp_there_are_none() -> None:
    module = nn.BatchNorm1d(3)
    trainer: Any = SimpleNamespace(lightning_module=module, strategy=SimpleNamespace(model=module))
    assert buffers_of_process(trainer) == {}
    load_buffers(trainer, {})
