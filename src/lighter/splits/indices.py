"""Indices of the training and the validation side: made of settings, labels, groups and times.

Both sides are in ascending order. Plain, repeated and time-series splits are those of scikit-learn's `KFold`,
`RepeatedKFold` and `TimeSeriesSplit`, the same indices for the same seed, without the package.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lighter.config.problems import close_to
from lighter.files.storage import expanded
from lighter.splits.settings import (
    GROUPED,
    INDICES,
    NEEDS_SCIKIT,
    PLAIN,
    REPEATED,
    REPEATED_STRATIFIED,
    STRATIFIED,
    STRATIFIED_GROUPED,
    TIME_SERIES,
    SplitError,
    SplitSettings,
)

log = logging.getLogger("lighter.check")

Ints = NDArray[np.int64]
Fold = tuple[Any, Any]  # the indices of the training and of the validation side


class Splitter(Protocol):
    """The interface of scikit-learn's splitters."""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterable[Fold]: ...  # noqa: N803


@dataclass(frozen=True)
class Columns:
    """A value of each sample: its label, group and time; None where there is none."""

    labels: NDArray[Any] | None = None
    groups: NDArray[Any] | None = None
    times: NDArray[Any] | None = None


@dataclass(frozen=True)
class Indices:
    """The samples of both sides, by their indices in the dataset."""

    train: Ints
    val: Ints

    @property
    def hash(self) -> str:
        digest = hashlib.sha256()
        for side in (self.train, self.val):
            digest.update(f"{len(side)}:".encode() + side.astype("<i8").tobytes())
        return digest.hexdigest()[:16]


def make_indices(settings: SplitSettings, samples: int, columns: Columns, splitter: Splitter | None = None) -> Indices:
    """Return the indices of the fold that the settings ask for.

    Raises:
        SplitError: the data cannot be split so.
    """
    folds = _FOLDS[settings.kind](settings, samples, columns) if splitter is None else _split_by(splitter, columns)
    fold = _picked(folds, settings, samples)
    return Indices(_side(fold[0], samples, "training"), _side(fold[1], samples, "validation"))


def _picked(folds: Iterable[Fold] | _Unsplit, settings: SplitSettings, samples: int) -> Fold:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            folds = folds.split(samples) if isinstance(folds, _Unsplit) else folds
            found = [*islice(folds, settings.fold + 1)]
        except (ValueError, TypeError) as error:  # scikit-learn's: more folds than samples of a class, say
            raise SplitError(f"this data cannot be split so: {error}", "n" if "n" in settings.given else "") from error
    for warning in caught:  # of classes with fewer samples than folds, say
        log.warning("split: %s", warning.message)
    if len(found) <= settings.fold:
        count = "is 1 fold" if len(found) == 1 else f"are {len(found)} folds"
        raise SplitError(f"there is no fold {settings.fold}: there {count}, from 0 on", "fold")
    return found[-1]


def _side(indices: Any, samples: int, name: str) -> Ints:
    side = np.asarray(indices)
    if side.ndim != 1 or not len(side) or side.dtype.kind not in "iu":
        raise SplitError(f"the {name} side of this split has no samples" if not side.size else _NO_INDICES.format(name))
    side = np.sort(side.astype(np.int64))
    if side[0] < 0 or side[-1] >= samples:
        wrong = side[0] if side[0] < 0 else side[-1]
        raise SplitError(f"the {name} side has sample {wrong}, and the dataset {samples} samples, from 0 on")
    return side


_NO_INDICES = "the {} side of this split is no list of whole numbers"


@dataclass(frozen=True)
class _Unsplit:
    """A splitter of scikit-learn's with all that it is called with but the number of samples."""

    splitter: Splitter
    columns: Columns

    def split(self, samples: int) -> Iterable[Fold]:
        # splitters look at the number of rows alone
        return self.splitter.split(np.zeros((samples, 1)), self.columns.labels, self.columns.groups)


def _split_by(splitter: Splitter, columns: Columns) -> _Unsplit:
    is_random = getattr(splitter, "random_state", 0) is None and getattr(splitter, "shuffle", True)
    if is_random:
        message = f"{type(splitter).__name__} has no `random_state`: it would split the data otherwise each time"
        raise SplitError(message, "splitter", "Add `random_state: 0`.")
    return _Unsplit(splitter, columns)


def _scikit(name: str) -> Callable[..., Splitter]:
    try:
        module = importlib.import_module("sklearn.model_selection")
    except ImportError as error:
        message = "this kind of split is scikit-learn's, which is not installed"
        raise SplitError(message, "kind", NEEDS_SCIKIT) from error
    made: Callable[..., Splitter] = getattr(module, name)
    return made


def _plain(settings: SplitSettings, samples: int, _: Columns) -> Iterator[Fold]:
    return _k_folds(settings, samples, np.random.RandomState(settings.seed) if settings.shuffle else None)


def _repeated(settings: SplitSettings, samples: int, _: Columns) -> Iterator[Fold]:
    random = np.random.RandomState(settings.seed)  # scikit-learn's generator, which all repeats draw from
    for _repeat in range(settings.repeats):
        yield from _k_folds(settings, samples, random)


def _k_folds(settings: SplitSettings, samples: int, random: np.random.RandomState | None) -> Iterator[Fold]:
    count = settings.n or 5
    _enough(samples, count)
    order = np.arange(samples)
    if random is not None:
        random.shuffle(order)
    for part in np.array_split(order, count):
        is_validation = np.zeros(samples, dtype=bool)
        is_validation[part] = True
        yield np.flatnonzero(~is_validation), np.flatnonzero(is_validation)


def _time_series(settings: SplitSettings, samples: int, columns: Columns) -> Iterator[Fold]:
    count = settings.n or 5
    _enough(samples, count + 1)
    order = np.arange(samples) if columns.times is None else np.argsort(columns.times, kind="stable")
    size = samples // (count + 1)
    for begin in range(samples - count * size, samples, size):
        if begin <= settings.gap:
            message = f"with a gap of {settings.gap} there is nothing before the first fold, which begins at {begin}"
            raise SplitError(message, "gap")
        yield order[: begin - settings.gap], order[begin : begin + size]


def _enough(samples: int, least: int) -> None:
    if samples < least:
        raise SplitError(f"{samples} samples cannot be split so: at least {least} are needed", "n")


def _by_labels(name: str) -> Callable[[SplitSettings, int, Columns], _Unsplit]:
    def folds(settings: SplitSettings, _: int, columns: Columns) -> _Unsplit:
        random = {"shuffle": settings.shuffle, "random_state": settings.seed if settings.shuffle else None}
        arguments = {"n_repeats": settings.repeats, "random_state": settings.seed} if "Repeated" in name else random
        # the others warn of groups
        groups = columns.groups if "Group" in name else None
        return _Unsplit(_scikit(name)(n_splits=settings.n, **arguments), Columns(columns.labels, groups))

    return folds


def _grouped(settings: SplitSettings, _: int, columns: Columns) -> _Unsplit:
    shuffled = {"shuffle": True, "random_state": settings.seed} if settings.shuffle else {}
    try:
        return _Unsplit(_scikit("GroupKFold")(n_splits=settings.n, **shuffled), columns)
    except TypeError as error:
        message = "to shuffle groups takes scikit-learn 1.6"
        raise SplitError(message, "shuffle", "Leave `shuffle` out, or use `stratified_grouped`.") from error


def _from_file(settings: SplitSettings, samples: int, _: Columns) -> Sequence[Fold]:
    path = expanded(settings.file or "")
    try:
        folds = _read(path)
        return [(_training(fold, samples, path), fold["val"]) for fold in folds]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        hint = 'It has {"train": [0, 2, ...], "val": [1, ...]}, or a list of such dicts.'
        raise SplitError(f"{path} has no indices: {type(error).__name__}: {error}", "file", hint) from error


def _training(fold: Mapping[str, Any], samples: int, path: Path) -> Any:
    """Return the training side of a fold of a file, which may say its validation side alone."""
    if "train" in fold:
        return fold["train"]
    near = close_to("train", [*map(str, fold)])
    if near is not None:  # otherwise it would be all other samples
        raise SplitError(f"{path} has `{near}` and no `train`", "file", "Did you mean `train`?")
    return np.setdiff1d(np.arange(samples), fold["val"])


def _read(path: Path) -> Sequence[Any]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return [{key: arrays[key] for key in arrays.files}]
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if isinstance(content, list) else [content]


_FOLDS: dict[str, Callable[[SplitSettings, int, Columns], Iterable[Fold] | _Unsplit]] = {
    PLAIN: _plain,
    REPEATED: _repeated,
    TIME_SERIES: _time_series,
    INDICES: _from_file,
    GROUPED: _grouped,
    STRATIFIED: _by_labels("StratifiedKFold"),
    STRATIFIED_GROUPED: _by_labels("StratifiedGroupKFold"),
    REPEATED_STRATIFIED: _by_labels("RepeatedStratifiedKFold"),
}
