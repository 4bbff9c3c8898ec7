"""Steps without a profiler's ranges do what torch's own do, and a profiler finds the ranges."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD, Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.data import DataLoader, TensorDataset

import lighter
from lighter._lightning.unprofiled import next_batch, step_optimizer, zero_gradients
from tests.jobs import PlainClassifier, loader

RANGES = {"Optimizer.step#Adam.step", "Optimizer.zero_grad#Adam.zero_grad"}


class Doubling(SGD):
    """Steps twice, as a subclass of the user's may."""

    def step(self, closure: Any = None) -> Any:
        super().step(closure)
        return super().step()


class Wrapped(SGD):
    @functools.wraps(SGD.step)
    def step(self, closure: Any = None) -> Any:
        with torch.no_grad():
            self.param_groups[0]["params"][0].add_(100)
        return super().step(closure)


class Keeping(SGD):
    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none=False)


def stepped(kind: type[SGD], step: Callable[[Optimizer, Any], object], prepare: Callable[[Any], object]) -> float:
    """The weight after a step of an optimizer."""
    weight = torch.ones(1, requires_grad=True)
    optimizer = kind([weight], lr=1)
    handle: Any = prepare(optimizer)

    def closure() -> torch.Tensor:
        weight.grad = torch.full((1,), 3.0)
        return weight.sum()

    step(optimizer, closure)
    if hasattr(handle, "remove"):
        handle.remove()
    return weight.item()


def scale(optimizer: Optimizer, *_: Any) -> None:
    optimizer.param_groups[0]["lr"] *= 10


def replace_step(optimizer: Any) -> None:
    optimizer.step = lambda closure: None


PREPARED: dict[str, Callable[[Any], object]] = {
    "as it is": lambda optimizer: None,
    "a hook before": lambda optimizer: optimizer.register_step_pre_hook(scale),
    "a hook of all": lambda optimizer: register_optimizer_step_pre_hook(scale),
    "another step": replace_step,
    "a scheduler": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1),
}


@pytest.mark.parametrize("kind", [SGD, Doubling, Wrapped])
@pytest.mark.parametrize("how", PREPARED)
def test_a_step_is_torchs(kind: type[SGD], how: str) -> None:
    SGD([torch.ones(1)], lr=1)  # torch wraps a class's `step` when its first object is made
    theirs = stepped(kind, lambda optimizer, closure: optimizer.step(closure=closure), PREPARED[how])
    assert stepped(kind, step_optimizer, PREPARED[how]) == theirs


@pytest.mark.filterwarnings("error")
def test_a_scheduler_sees_the_step() -> None:
    optimizer = SGD([torch.ones(1, requires_grad=True)], lr=1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    step_optimizer(optimizer, lambda: None)
    scheduler.step()  # warns where the optimizer has not stepped


@pytest.mark.parametrize(("kind", "left"), [(SGD, None), (Keeping, 0.0)])
def test_gradients_are_zeroed_as_the_optimizer_does(kind: type[SGD], left: float | None) -> None:
    weights = [torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)]
    weights[0].grad = torch.ones(1)
    zero_gradients(kind([{"params": [weights[0]]}, {"params": [weights[1]]}], lr=1))
    assert [weight.grad for weight in weights] == [left, None]


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_the_loaders(workers: int) -> None:
    batches = DataLoader(
        TensorDataset(torch.arange(5)), batch_size=2, num_workers=workers, persistent_workers=workers > 0
    )
    for _ in range(2):
        iterator: Any = iter(batches)
        assert [next_batch(iterator)[0].tolist() for _ in range(3)] == [[0, 1], [2, 3], [4]]
        with pytest.raises(StopIteration):
            next_batch(iterator)
        assert iterator._num_yielded == 3


def test_a_profiler_finds_the_ranges_of_a_fit(tmp_path: Path) -> None:
    trainer = lighter.Trainer(
        default_root_dir=tmp_path, accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False
    )
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        trainer.fit(PlainClassifier(), loader(0, 64), loader(64, 96))
    assert trainer.loop_choice is not None
    assert trainer.loop_choice.is_lean
    steps = {event.key: event.count for event in profile.key_averages()}
    assert {name: count for name, count in steps.items() if name in RANGES} == dict.fromkeys(
        RANGES, trainer.global_step
    )
    assert any(name.startswith("enumerate(DataLoader)") for name in steps)
