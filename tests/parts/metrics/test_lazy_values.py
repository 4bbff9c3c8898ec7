"""Values that are computed when they are used: whatever uses them finds the value."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lighter.parts.metrics.lazy_values import LazyTensor

pytestmark = pytest.mark.filterwarnings("ignore:To copy construct from a tensor:UserWarning")

USES: dict[str, Callable[[Any], Any]] = {
    "a tensor of it": torch.tensor,
    "a tensor of a list of it": lambda value: torch.tensor([value, value]),
    "a tensor of another type": lambda value: torch.tensor(value, dtype=torch.float64),
    "Tensor": torch.Tensor,
    "new_tensor": lambda value: torch.zeros(2).new_tensor(value),
    "new_full": lambda value: torch.zeros(2).new_full((2,), value),
    "full": lambda value: torch.full((2,), value),
    "full_like": lambda value: torch.full_like(torch.zeros(2), value),
    "fill_": lambda value: torch.zeros(2).fill_(value),
    "arange": lambda value: torch.arange(0, value, 0.1),
    "a factor of an addition": lambda value: torch.add(torch.ones(2), torch.ones(2), alpha=value),
    "a limit": lambda value: torch.ones(2).clamp(min=0, max=value),
    "a slope": lambda value: torch.nn.functional.leaky_relu(-torch.ones(2), value),
    "arithmetic": lambda value: 2 * value - value**2,
    "a comparison": lambda value: value > 0.5,
    "an item": lambda value: value.item(),
    "a NumPy array": lambda value: np.array([value, value]),
    "text": lambda value: f"{value:.4f} {value}",
    "a stack": lambda value: torch.stack([value, value]),
    "a copy": copy.deepcopy,
    "a pickle": lambda value: pickle.loads(pickle.dumps(value)),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_use_finds_the_value(use: Callable[[Any], Any]) -> None:
    def value() -> Tensor:
        return torch.tensor(0.625)

    expected, actual = use(value()), use(LazyTensor(value))
    assert type(actual) is type(expected)
    assert str(actual) == str(expected)
