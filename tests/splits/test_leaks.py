"""Planted leaks of each kind are found, and nothing else is."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from lighter.splits import contents
from lighter.splits.indices import Columns, Indices
from lighter.splits.leaks import leaks

TRAIN, VAL = np.arange(0, 8), np.arange(8, 12)
SIDES = Indices(TRAIN, VAL)


class Held(Dataset):
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def __len__(self) -> int:
        return 12


def found(dataset: Any = None, indices: Indices = SIDES, **columns: Any) -> list[str]:
    return [str(leak) for leak in leaks(indices, Columns(**columns), dataset)]


def rows() -> torch.Tensor:
    return torch.arange(12 * 3).float().reshape(12, 3)


def planted(values: Any) -> Any:
    """The same values, with the one of sample 2 at 9 too."""
    copied = values.clone() if isinstance(values, torch.Tensor) else values.copy()
    copied[9] = copied[2]
    return copied


LABELS = torch.arange(12) % 2
PICTURES = [Image.fromarray(np.full((4, 4), n, dtype=np.uint8)) for n in range(12)]


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (lambda values: TensorDataset(values, LABELS), rows()),
        (lambda values: TensorDataset(values, torch.arange(12)), rows()),  # under another label
        (lambda values: TensorDataset(values), rows()),
        (lambda values: TensorDataset(values, rows()[:, :1] * 0, LABELS), rows()),
        (lambda values: Held(data=values, targets=LABELS), rows().numpy()),
        (lambda values: Held(data=values, targets=LABELS, index=np.arange(12)), rows().numpy()),
        (lambda values: Held(images=values, labels=[0] * 12), [*rows()]),
        (lambda values: Held(images=values, labels=[0] * 12), [*rows().numpy()]),
        (lambda values: Held(images=values), PICTURES),
        (lambda values: Held(texts=values, labels=["good"] * 12), [f"text {n}" for n in range(12)]),
        (lambda values: Subset(TensorDataset(values, LABELS), list(range(12))), rows()),
        (lambda values: ConcatDataset([TensorDataset(values[:5]), TensorDataset(values[5:])]), rows()),
    ],
)
def test_the_same_sample_on_both_sides(make: Any, values: Any) -> None:
    assert found(make(values)) == []
    assert found(make(planted(values))) == [
        "1 validation samples are in the training too, under other indices: 2 and 9"
    ]


@pytest.mark.parametrize("most", [contents.MOST_READ, 0])
def test_the_same_file_on_both_sides(tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MOST_READ", most)
    names = [str(tmp_path / f"{n}.png") for n in range(12)]
    for n, name in enumerate(names):
        Path(name).write_bytes(bytes([n] * 5))
    assert found(Held(samples=[(name, 0) for name in names])) == []
    assert len(found(Held(samples=[(name, 0) for name in planted(names)]))) == 1
    # a copy has another name, and files beyond the limit are not read
    Path(names[9]).write_bytes(Path(names[2]).read_bytes())
    assert len(found(Held(samples=[(name, 0) for name in names]))) == (1 if most else 0)


def test_files_of_other_sizes_are_not_read(tmp_path: Path) -> None:
    names = [tmp_path / f"{n}.png" for n in range(12)]
    for n, name in enumerate(names):
        name.write_bytes(b"x" * (n + 1))
    names[3].chmod(0)
    assert contents.hashes(Held(files=names)) == [None] * 12


def test_a_file_in_two_datasets(tmp_path: Path) -> None:
    names = [str(tmp_path / f"{n}.png") for n in range(6)]
    for n, name in enumerate(names):
        Path(name).write_bytes(b"x" * (n + 1))
    parts = [Held(samples=[(name, 0) for name in names]) for _ in range(2)]
    for part in parts:
        part.__class__ = type("Six", (Held,), {"__len__": lambda self: 6})
    assert found(ConcatDataset(parts)) == [
        "4 validation samples are in the training too, under other indices: 2 and 8, 3 and 9, 4 and 10, 5 and 11"
    ]


def test_a_sample_twice_in_a_subset() -> None:
    dataset = Subset(TensorDataset(rows(), LABELS), [*range(11), 2])
    assert found(dataset) == ["1 validation samples are in the training too, under other indices: 2 and 11"]


def test_rows_of_one_sum_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "_perhaps_alike", lambda values: np.ones(len(values), dtype=bool))
    assert found(TensorDataset(rows(), LABELS)) == []
    assert len(found(TensorDataset(planted(rows()), LABELS))) == 1


def test_an_index_on_both_sides() -> None:
    overlap = Indices(TRAIN, np.array([6, 7, 8]))
    assert found(TensorDataset(rows()), overlap) == ["2 samples are on both sides: 6, 7"]


def test_a_group_on_both_sides() -> None:
    groups = np.array([*"aabbccdd", *"eeff"])
    assert found(groups=groups) == []
    assert found(groups=planted(groups)) == ["1 groups are on both sides: b"]


def test_time_runs_backwards() -> None:
    times = np.arange(12)
    assert found(times=times) == []
    assert found(times=planted(times)[::-1]) != []
    assert found(times=np.array([f"2026-01-{n + 1:02}" for n in range(12)])) == []
    days = np.array([f"2026-01-{n + 1:02}" for n in (*range(7), 20, *range(7, 11))])
    (message,) = found(times=days)
    assert message == (
        "time runs backwards: the training has samples as late as 2026-01-21, and the validation begins at 2026-01-08"
    )


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [
        (Held(targets=LABELS), "Held does not hold its samples"),
        (Held(index=np.arange(12), label=["cat", "dog"] * 6), "Held does not hold its samples"),
        (TensorDataset(torch.eye(12).to_sparse(), LABELS), "its samples are on a device, or sparse"),
    ],
)
def test_what_is_not_looked_at_is_said(dataset: Any, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lighter"):
        assert found(dataset) == []
    assert f"whether a sample is on both sides was not looked at: {reason}" in caplog.text


def test_large_tensors_are_not_hashed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(contents, "MOST_BYTES", 100)
    with caplog.at_level(logging.INFO, "lighter"):
        assert found(TensorDataset(planted(rows()), LABELS)) == []
    assert "its samples are more than" in caplog.text
