"""What metrics compute, sorted into numbers and arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lighter.errors import MisfitError
from lighter.parts.metrics.values import MAX_NUMBERS, sort_values

MATRIX = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("computed", "numbers", "arrays"),
    [
        (0.5, {"m": 0.5}, []),
        (True, {"m": 1}, []),
        (torch.ones(1, 1), {"m": 1}, []),
        (np.float32(2), {"m": 2}, []),
        (None, {}, []),
        (torch.arange(3), {"m_0": 0, "m_1": 1, "m_2": 2}, []),
        (np.ones(2), {"m_0": 1, "m_1": 1}, []),
        (torch.zeros(MAX_NUMBERS + 1), {}, ["m"]),
        (MATRIX, {}, ["m"]),
        (np.zeros((2, 2)), {}, ["m"]),
        ([torch.tensor(0.5)], {"m": 0.5}, []),
        ((torch.tensor(0.5), 3), {"m_0": 0.5, "m_1": 3}, []),
        ((torch.zeros(3), torch.zeros(2)), {}, ["m_0", "m_1"]),
        (([torch.zeros(3), torch.zeros(2)], torch.tensor(1)), {}, ["m_0_0", "m_0_1", "m_1"]),
        ({"a": 1, "b": MATRIX, "c": torch.ones(2)}, {"a": 1, "c_0": 1, "c_1": 1}, ["b"]),
        ({"a": {"b": 1}}, {"a_b": 1}, []),
    ],
)
def test_numbers_and_arrays(computed: Any, numbers: dict[str, float], arrays: list[str]) -> None:
    values = sort_values("m", computed)
    assert {name: float(value) for name, value in values.numbers.items()} == numbers
    assert all(value.shape == () for value in values.numbers.values())
    assert [*values.arrays] == arrays


@pytest.mark.parametrize("computed", ["text", {"a": object()}, [object()]])
def test_anything_else_is_no_value(computed: Any) -> None:
    with pytest.raises(MisfitError, match="a metric gives numbers, tensors or arrays"):
        sort_values("m", computed)
