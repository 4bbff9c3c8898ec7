"""Numbers that are not finite, in models whose tensors are of unusual kinds: all are trained as Lightning does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.faults.spoiled import BATCHES, MODULES, Fault, fit

pytestmark = pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
WithLightning = MODULES["lightning"]


class Remembers(WithLightning):
    """Does something to its buffers at each step."""

    def __init__(self, fault: Fault, step: Callable[[Any, Tensor], None], **options: Any) -> None:
        super().__init__(fault, **options)
        self.step = step
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("first", None)
        self.register_buffer("history", torch.zeros(0))
        self.tracker = nn.LazyBatchNorm1d(affine=False) if step is begin else None

    def losses(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        self.step(self, batch["x"])
        return super().losses(batch, batch_idx)


def assign_anew(module: Any, x: Tensor) -> None:
    module.mean = 0.9 * module.mean + 0.1 * x.mean()


def register(module: Any, x: Tensor) -> None:
    part = module.network[0]  # which has no buffers
    if not part._buffers:
        part.register_buffer("late", torch.zeros(()))
    part.late.mul_(0.9).add_(0.1 * x.mean())


def fill(module: Any, x: Tensor) -> None:
    if module.first is None:
        module.first = x.mean()


def grow(module: Any, x: Tensor) -> None:
    count = len(module.history)
    module.history.resize_(count + 1)
    module.history[count] = x.mean()


def begin(module: Any, x: Tensor) -> None:
    module.tracker(x)


def expand(module: Any, x: Tensor) -> None:
    if "wide" not in module._buffers:
        module.register_buffer("wide", torch.zeros(1).expand(3))


def infer(module: Any, x: Tensor) -> None:
    with torch.inference_mode():
        module.mean = module.mean + x.mean()


@pytest.mark.parametrize("step", [assign_anew, register, fill, grow, begin, expand, infer])
def test_a_buffer_is_put_back_whatever_a_step_does_to_it(step: Any, tmp_path: Path) -> None:
    place = (0, 0) if step is fill else (0, 5)
    module, other = Remembers(Fault("batch", *place), step), Remembers(Fault("none"), step, left_out=(place,))
    for number, each in enumerate((module, other)):
        assert fit(each, tmp_path / str(number), on_non_finite="skip", max_epochs=1).global_step >= BATCHES - 1
    assert module.state_dict().keys() == other.state_dict().keys()
    for name, value in other.state_dict().items():
        assert torch.equal(module.state_dict()[name], value), name
