"""Indices of both sides: those of scikit-learn's splitters, or of a file."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from sklearn import model_selection as scikit

from lighter.splits.indices import Columns, Indices, make_indices
from lighter.splits.settings import SplitError, SplitSettings

LABELS = np.repeat([0, 1, 2], [60, 30, 13])
GROUPS = np.arange(103) % 17
COLUMNS = Columns(labels=LABELS, groups=GROUPS)


def folds(kind: str, count: int = 5, **settings: object) -> list[Indices]:
    every = [SplitSettings(kind, fold=fold, **settings) for fold in range(count)]  # type: ignore[arg-type]
    return [make_indices(each, len(LABELS), COLUMNS) for each in every]


@pytest.mark.parametrize(
    ("kind", "settings", "splitter"),
    [
        ("plain", {"seed": 3}, scikit.KFold(5, shuffle=True, random_state=3)),
        ("plain", {"shuffle": False}, scikit.KFold(5)),
        ("plain", {"n": 7}, scikit.KFold(7, shuffle=True, random_state=0)),
        ("stratified", {}, scikit.StratifiedKFold(5, shuffle=True, random_state=0)),
        ("stratified", {"shuffle": False}, scikit.StratifiedKFold(5)),
        ("grouped", {"shuffle": False}, scikit.GroupKFold(5)),
        ("stratified_grouped", {}, scikit.StratifiedGroupKFold(5, shuffle=True, random_state=0)),
        ("time_series", {}, scikit.TimeSeriesSplit(5)),
        ("time_series", {"gap": 4, "n": 3}, scikit.TimeSeriesSplit(3, gap=4)),
        ("repeated", {"n": 3, "repeats": 4}, scikit.RepeatedKFold(n_splits=3, n_repeats=4, random_state=0)),
        (
            "repeated_stratified",
            {"n": 2, "repeats": 3, "seed": 9},
            scikit.RepeatedStratifiedKFold(n_splits=2, n_repeats=3, random_state=9),
        ),
    ],
)
def test_as_scikit_learn(kind: str, settings: dict[str, object], splitter: scikit.BaseCrossValidator) -> None:
    wanted = list(splitter.split(np.zeros(len(LABELS)), LABELS, GROUPS if "grouped" in kind else None))
    found = folds(kind, len(wanted), **settings)
    assert len(found) > 1
    for mine, (train, val) in zip(found, wanted, strict=True):
        assert mine.train.tolist() == train.tolist()
        assert mine.val.tolist() == val.tolist()


@pytest.mark.parametrize("kind", ["plain", "stratified", "grouped", "stratified_grouped"])
def test_each_sample_is_validated_once(kind: str) -> None:
    found = folds(kind, shuffle=kind != "grouped")
    assert sorted(np.concatenate([each.val for each in found])) == list(range(len(LABELS)))
    assert all(not np.intersect1d(each.train, each.val).size for each in found)


def test_stratified_folds_have_the_shares_of_the_whole() -> None:
    for each in folds("stratified"):
        shares = np.bincount(LABELS[each.val]) / len(each.val)
        assert np.abs(shares - np.bincount(LABELS) / len(LABELS)).max() < 0.03


def test_a_time_series_goes_by_times() -> None:
    times = np.arange(103)[::-1]
    split = make_indices(SplitSettings("time_series", n=4, fold=2, gap=5), 103, Columns(times=times))
    assert times[split.train].max() + 5 < times[split.val].min()
    assert split.val.tolist() == sorted(split.val.tolist())


def test_a_splitter() -> None:
    splitter = scikit.GroupShuffleSplit(4, random_state=1)
    split = make_indices(SplitSettings("splitter", n=4, fold=2), 103, COLUMNS, splitter)
    train, val = list(splitter.split(np.zeros(103), LABELS, GROUPS))[2]
    assert (split.train.tolist(), split.val.tolist()) == (sorted(train), sorted(val))


def test_a_splitter_without_a_seed_is_refused() -> None:
    with pytest.raises(SplitError, match="ShuffleSplit has no `random_state`"):
        make_indices(SplitSettings("splitter"), 103, COLUMNS, scikit.ShuffleSplit(3))
    make_indices(SplitSettings("splitter"), 103, COLUMNS, scikit.KFold(3))


def test_indices_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_text(json.dumps([{"train": [3, 1], "val": [2]}, {"val": [0, 4]}]))
    first, second = (make_indices(SplitSettings("indices", fold=n, file=str(path)), 5, Columns()) for n in (0, 1))
    assert (first.train.tolist(), first.val.tolist()) == ([1, 3], [2])
    assert (second.train.tolist(), second.val.tolist()) == ([1, 2, 3], [0, 4])
    np.savez(tmp_path / "split.npz", train=first.train, val=first.val)
    again = make_indices(SplitSettings("indices", file=str(tmp_path / "split.npz")), 5, Columns())
    assert again.hash == first.hash != second.hash


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nothing", "has no indices: JSONDecodeError"),
        ('{"train": [0]}', "has no indices: KeyError"),
        ('{"val": [0, 7]}', "the validation side has sample 7, and the dataset 5 samples"),
        ('{"val": [-1]}', "the validation side has sample -1"),
        ('{"val": []}', "the validation side of this split has no samples"),
        ('{"trian": [0], "val": [1]}', "split.json has `trian` and no `train`"),
        ("[[0], [1]]", "has no indices: TypeError"),
        ('{"train": [0.5], "val": [1]}', "the training side of this split is no list of whole numbers"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "split.json"
    path.write_text(content)
    with pytest.raises(SplitError, match=message):
        make_indices(SplitSettings("indices", file=str(path)), 5, Columns())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (SplitSettings("plain", n=200), "103 samples cannot be split so: at least 200 are needed"),
        (SplitSettings("stratified", n=90), "this data cannot be split so: n_splits=90"),
        (SplitSettings("time_series", n=5, gap=50), "with a gap of 50 there is nothing before the first fold"),
        (SplitSettings("indices", fold=3, file="x"), "x has no indices"),
    ],
)
def test_data_that_cannot_be_split(settings: SplitSettings, message: str) -> None:
    with pytest.raises(SplitError, match=message):
        make_indices(settings, 103, COLUMNS)


def test_a_class_with_fewer_samples_than_folds_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "lighter"):
        make_indices(SplitSettings("stratified", n=20), 103, COLUMNS)
    assert "split: The least populated class in y has only 13 members" in caplog.text


def test_a_fold_that_a_file_lacks(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_text('[{"val": [0]}]')
    with pytest.raises(SplitError, match="there is no fold 1: there is 1 fold, from 0 on"):
        make_indices(SplitSettings("indices", fold=1, file=str(path)), 5, Columns())
