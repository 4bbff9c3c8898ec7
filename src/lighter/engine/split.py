"""Split the data of a config (`data::split`) while its loaders are built.

The datasets are made where the config has them, when a loader needs them, so random numbers are drawn in the same order
as without a split. All who refer to a loader's dataset get its side: samplers too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sized
from typing import Any

from pytorch_lightning import LightningDataModule
from torch.utils.data import IterableDataset, Subset

from lighter.config.expression import referred
from lighter.config.objects import Objects
from lighter.config.plain_definitions import walk
from lighter.config.problems import Problem
from lighter.config.split_loaders import SplitPlaces
from lighter.config.tree import is_target, join
from lighter.engine.plan import INDEX_ARGUMENTS
from lighter.errors import ConfigError
from lighter.splits.columns import column, find_labels
from lighter.splits.indices import Columns, Indices, make_indices
from lighter.splits.leaks import leaks
from lighter.splits.settings import (
    COLUMNS,
    IGNORE,
    NEED_LABELS,
    SPLITTER,
    VALIDATION,
    WARN,
    SplitError,
    SplitSettings,
    parse,
)

check_log = logging.getLogger("lighter.check")


class DataSplit:
    """A split that is made when the first dataset is there, or the first indices are asked for.

    Attributes:
        samples: the number of samples of the whole dataset.
        indices: those of both sides; None until the split is made.
    """

    def __init__(self, objects: Objects, places: SplitPlaces, settings: SplitSettings) -> None:
        self.settings, self.samples = settings, 0
        self.indices: Indices | None = None
        self._objects, self._places = objects, places
        self._columns = Columns()
        # the datasets as the config has them, and the training side of the first
        self._whole: Any = None
        self._whole_validation: Any = None
        self._training: Subset | None = None

    @classmethod
    def of(cls, objects: Objects, places: SplitPlaces) -> DataSplit:
        """Return the split of a config; raise a `ConfigError` if its settings are wrong."""
        node, problems = objects.tree.find(places.split), list[Problem]()
        settings = parse(node, places.split, problems) if node is not None else None
        if settings is None or problems:
            raise ConfigError(problems)
        return cls(objects, places, settings)

    def cut_loaders(self) -> None:
        """Let the loaders get the sides of their datasets in place of these."""
        self._change_dataset(self._places.train, self._train_side)
        self._change_dataset(self._places.val, self._val_side)
        if self.settings.predict == VALIDATION:
            self._change_dataset(self._places.predict, lambda _: self._all_of_validation())
            loader = self._objects.followed(self._places.predict)
            if is_target(self._objects.lookup(loader)):
                # of the whole dataset, so that writers know the samples by their indices in it
                self._objects.add_arguments(loader, {"sampler": self._defined(join(loader, "sampler"), self._val_list)})

    def define_indices(self) -> None:
        """Let a data module that makes its own loaders refer to the indices of both sides."""
        for key, side in zip(INDEX_ARGUMENTS, (self._train_list, self._val_list), strict=True):
            self._defined(join(self._places.split, key), side)

    def predicted(self, data: LightningDataModule | None) -> LightningDataModule | None:
        """Return the data to predict: of a data module with its own loaders, the validation side if that is asked for.

        `cut_loaders` has seen to it for all others.
        """
        is_own = data is not None and not self._objects.has(self._places.train)
        return ValidationData(data) if is_own and self.settings.predict == VALIDATION else data

    def refuse_leaks(self) -> None:
        """See that the validation side tells something new.

        Raises:
            ConfigError: it does not, and leaks are refused.
        """
        if self.settings.leaks == IGNORE or self.indices is None:
            return
        problems = [self._problem(leak) for leak in leaks(self.indices, self._columns, self._whole)]
        if self.settings.leaks == WARN:
            for problem in problems:
                check_log.warning("%s", problem)
        elif problems:
            hint = "If that is meant: `leaks: warn`, or `ignore`."
            last = problems[-1]
            problems[-1] = Problem(last.message, last.origin, last.path, f"{last.hint}\n{hint}".strip())
            raise ConfigError(problems)

    def problem(self, message: str, hint: str = "") -> Problem:
        return self._objects.problem(message, self._places.split, hint)

    @property
    def facts(self) -> dict[str, Any]:
        """The split as a run's record has it."""
        indices, settings = self._made(), self.settings
        return {
            "kind": settings.kind,
            **({"n": settings.n} if settings.n is not None else {}),
            "fold": settings.fold,
            "seed": settings.seed,
            "hash": indices.hash,
            "samples": self.samples,
            "train": len(indices.train),
            "val": len(indices.val),
        }

    def _change_dataset(self, loader: str, change: Callable[[Any], Any]) -> None:
        objects, loader = self._objects, self._objects.followed(loader)
        definition = objects.lookup(loader)
        if not is_target(definition) or "dataset" not in definition:
            return
        path = join(loader, "dataset")
        objects.change(path, change)
        written = definition["dataset"]
        if is_target(written) or (isinstance(written, str) and written.startswith("$")):
            return
        # What is made elsewhere, or is an object from Python, has no result of its own at this path. Samplers that
        # refer to the dataset where it is made mean the loader's.
        elsewhere = referred(written)[0] if isinstance(written, str) and referred(written) else ""
        objects.exchange(loader, {**_referring(definition, elsewhere, path), "dataset": f"@{path}"})
        for inner, value in walk(definition, loader):
            changed = _referring(value, elsewhere, path)
            if inner not in (loader, path) and changed != value and (is_target(value) or isinstance(value, str)):
                (objects.exchange if is_target(value) else objects.define)(inner, changed)

    def _defined(self, path: str, make: Callable[[Any], Any]) -> str:
        self._objects.define(path, None)
        self._objects.change(path, make)
        return f"@{path}"

    def _train_side(self, dataset: Any) -> Subset:
        self._split(dataset)
        self._training = Subset(dataset, self._train_list())
        return self._training

    def _val_side(self, dataset: Any) -> Subset:
        self._objects.get(self._train_dataset)
        # who refers to the training loader's dataset means the whole
        whole = self._whole if dataset is self._training else dataset
        samples = len(whole) if isinstance(whole, Sized) else 0
        if samples != self.samples:
            message = f"its dataset has {samples} samples, and that of the training loader {self.samples}"
            hint = "`split` cuts both by the same indices: give both the same samples, or leave this loader out."
            raise ConfigError([self._objects.problem(message, self._places.val, hint)])
        self._whole_validation = whole
        return Subset(whole, self._val_list())

    @property
    def _train_dataset(self) -> str:
        return join(self._objects.followed(self._places.train), "dataset")

    def _all_of_validation(self) -> Any:
        self._objects.get(join(self._objects.followed(self._places.val), "dataset"))
        return self._whole_validation

    def _split(self, dataset: Any) -> None:
        """Make the indices of a dataset; without one, of as many samples as the settings say."""
        try:
            self._whole, self.samples = dataset, self._stated_samples() if dataset is None else _length(dataset)
            self._columns = self._columns_of(dataset)
            is_splitter = self.settings.kind == SPLITTER
            splitter = self._objects.get(join(self._places.split, SPLITTER)) if is_splitter else None
            self.indices = make_indices(self.settings, self.samples, self._columns, splitter)
        except SplitError as error:
            raise ConfigError([self._problem(error)]) from error

    def _columns_of(self, dataset: Any) -> Columns:
        columns = {key: self._column(key, dataset, self.samples) for key in COLUMNS}
        if self.settings.kind in NEED_LABELS and columns["labels"] is None:
            if dataset is None:
                raise SplitError(f"a {self.settings.kind} split needs `labels`, or the `dataset` that has them")
            columns["labels"] = find_labels(dataset, self.samples)
        return Columns(**columns)

    def _column(self, key: str, dataset: Any, samples: int) -> Any:
        if key not in self.settings.given:
            return None
        return column(self._objects.get(join(self._places.split, key)), dataset, samples, key)

    def _stated_samples(self) -> int:
        for key in ("n_samples", *COLUMNS):
            if key in self.settings.given:
                value = self._objects.get(join(self._places.split, key))
                if key == "n_samples" and type(value) is int:
                    return value
                if key != "n_samples" and not isinstance(value, str):
                    return _length(value)
        message = "how many samples there are to split is not known"
        raise SplitError(message, "", "Add `dataset: {...}`, `n_samples`, or the `labels` of all samples.")

    def _made(self) -> Indices:
        if self.indices is None and self._objects.has(self._train_dataset):
            self._objects.get(self._train_dataset)
        elif self.indices is None:
            given = "dataset" in self.settings.given
            self._split(self._objects.get(join(self._places.split, "dataset")) if given else None)
        assert self.indices is not None
        return self.indices

    def _train_list(self, _: object = None) -> list[int]:
        return [*map(int, self._made().train)]

    def _val_list(self, _: object = None) -> list[int]:
        return [*map(int, self._made().val)]

    def _problem(self, error: SplitError) -> Problem:
        path = self._places.split
        return self._objects.problem(str(error), join(path, error.key) if error.key else path, error.hint)


class ValidationData(LightningDataModule):
    """The validation side of a data module, to predict."""

    def __init__(self, data: LightningDataModule | None) -> None:
        super().__init__()
        assert data is not None
        self._data = data

    def prepare_data(self) -> None:
        self._data.prepare_data()

    def setup(self, stage: str) -> None:
        self._data.trainer = self.trainer
        self._data.setup("validate")

    def teardown(self, stage: str) -> None:
        self._data.teardown("validate")

    def predict_dataloader(self) -> Any:
        return self._data.val_dataloader()


def _referring(value: Any, elsewhere: str, path: str) -> Any:
    """Return a value whose references to one path lead to another."""
    if isinstance(value, Mapping):
        return {key: _referring(child, elsewhere, path) for key, child in value.items()}
    if isinstance(value, list):
        return [_referring(child, elsewhere, path) for child in value]
    if elsewhere and isinstance(value, str) and elsewhere in referred(value):
        return _renamed(value, elsewhere, path)
    return value


def _renamed(text: str, elsewhere: str, path: str) -> str:
    pieces = text.split(f"@{elsewhere}")
    # `@a::b` is not within `@a::bc`, nor within `@a::b::c`
    ends = ["" if piece[:1].isalnum() or piece[:1] == "_" or piece[:2] == "::" else path for piece in pieces[1:]]
    return pieces[0] + "".join(f"@{end or elsewhere}{piece}" for end, piece in zip(ends, pieces[1:], strict=True))


def _length(dataset: Any) -> int:
    if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
        raise SplitError(f"a {type(dataset).__name__} has no indices that it could be split by")
    return len(dataset)
