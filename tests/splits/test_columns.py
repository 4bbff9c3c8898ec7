"""Labels and groups of the samples: of attributes where there are any, and read once where not."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from lighter.splits.columns import column, find_labels
from lighter.splits.settings import SplitError

X = torch.randn(6, 2)
Y = torch.tensor([0, 1, 0, 1, 2, 2])


class Held(Dataset):
    """Has attributes, and fails if a sample is asked for."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("read")


class Samples(Dataset):
    def __init__(self, samples: list[Any]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        torch.rand(1)  # as an augmentation does
        return self.samples[index]


TENSORS = TensorDataset(X, Y)


@pytest.mark.parametrize(
    ("dataset", "labels"),
    [
        (TENSORS, Y.tolist()),
        (Subset(TENSORS, [5, 0, 3]), [2, 0, 1]),
        (ConcatDataset([TENSORS, Subset(TENSORS, [4])]), [*Y.tolist(), 2]),
        (Held(targets=Y.tolist()), Y.tolist()),
        (Held(labels=Y.numpy()), Y.tolist()),
        (Held(y=[*"abcabc"]), [*"abcabc"]),
        (Held(targets=Y[:, None]), Y.tolist()),
    ],
)
def test_labels_that_are_held(dataset: Any, labels: list[Any]) -> None:
    assert find_labels(dataset, len(labels)).tolist() == labels


@pytest.mark.parametrize("of", [lambda x, y: (x, y), lambda x, y: [x, 0, y], lambda x, y: {"image": x, "label": y}])
def test_labels_that_are_read(of: Any, caplog: pytest.LogCaptureFixture) -> None:
    dataset, state = Samples([of(x, y) for x, y in zip(X, Y, strict=True)]), torch.get_rng_state()
    with caplog.at_level(logging.INFO, "lighter"):
        assert find_labels(dataset, 6).tolist() == Y.tolist()
    assert "the labels are not held by Samples: each of its 6 samples is read once" in caplog.text
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("sample", [torch.zeros(2), {"image": 1}, (torch.zeros(2),)])
def test_no_labels(sample: Any) -> None:
    with pytest.raises(SplitError, match="the labels of the samples are not found"):
        find_labels(Samples([sample] * 6), 6)


def test_a_named_column() -> None:
    dataset = Held(info=Held(patient=[3, 3, 1, 1, 2, 2]))
    assert column("info.patient", dataset, 6, "groups").tolist() == [3, 3, 1, 1, 2, 2]
    assert column("patient", Samples([{"patient": n} for n in range(6)]), 6, "groups").tolist() == [*range(6)]
    assert column(1, Samples([(n, n * n) for n in range(6)]), 6, "labels").tolist() == [0, 1, 4, 9, 16, 25]


def test_nothing_private_is_read() -> None:
    with pytest.raises((SplitError, AssertionError)):
        column("__class__.__name__", Held(), 6, "groups")


def test_values() -> None:
    assert column([1, 2, 1, 2, 1, 2], None, 6, "groups").tolist() == [1, 2, 1, 2, 1, 2]
    assert column(Y, None, 6, "groups").tolist() == Y.tolist()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 2], r"`groups` is a value for each of the 6 samples; this is of shape \(2,\)"),
        (np.zeros((6, 3)), r"of shape \(6, 3\)"),
        ({"a": 1}, "this is no list"),
        ([1.0, 2, np.nan, 4, 5, 6], "`groups` has NaN in it: 1 of 6"),
    ],
)
def test_values_that_are_wrong(values: Any, message: str) -> None:
    with pytest.raises(SplitError, match=message):
        column(values, None, 6, "groups")
