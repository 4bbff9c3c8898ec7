"""A run's module with the weights of a checkpoint, evaluated again on the run's own data, on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from pytorch_lightning import LightningDataModule, LightningModule, seed_everything
from pytorch_lightning.utilities.seed import isolate_rng
from torch.utils.data import DataLoader, IterableDataset, Subset

from lighter._lightning.metric_values import is_array
from lighter.config import Config
from lighter.config.defaults import FOLDER
from lighter.config.objects import Objects
from lighter.config.problems import Problem
from lighter.engine.build import Parts, build_data, build_module, check_parts, prepare_split
from lighter.engine.load import load_weights, objects_of
from lighter.engine.plan import plan_of
from lighter.engine.trial import QUIET, quiet_trainer, without_advice
from lighter.errors import CheckpointError, ConfigError, RefusedCheckpointError
from lighter.exporting.weights import not_opened
from lighter.files.run_folder import RunFolder
from lighter.runs.find_checkpoint import read_checkpoint, verify
from lighter.runs.read import read_run, trusted
from lighter.runs.record import CHECKPOINT_KEY, refuse_unsaved

STAGES = {"validate": "val", "test": "test"}
_DOUBLE = ("64", "64-true")


class ResizedData(LightningDataModule):
    """Batches of another size, moved to the device and transformed as the run's data module does it."""

    def __init__(self, loader: object, original: LightningDataModule | None) -> None:
        super().__init__()
        self.loader = loader
        if original is not None:
            self.transfer_batch_to_device = original.transfer_batch_to_device  # type: ignore[method-assign]
            self.on_before_batch_transfer = original.on_before_batch_transfer  # type: ignore[method-assign]
            self.on_after_batch_transfer = original.on_after_batch_transfer  # type: ignore[method-assign]

    def val_dataloader(self) -> Any:
        return self.loader

    def test_dataloader(self) -> Any:
        return self.loader


@dataclass(frozen=True)
class Evaluation:
    """The objects of an evaluation; `run` may be called any number of times.

    Attributes:
        checkpoint: what the file holds, on the CPU.
        stage: `validate` or `test`.
        precision: that of the run's trainer, as its config spells it.
    """

    parts: Parts
    objects: Objects
    checkpoint: Mapping[str, Any]
    stage: str
    seed: int
    precision: str

    @property
    def module(self) -> LightningModule:
        return self.parts.module

    def run(self, loader: object = None, batches: int | None = None) -> dict[str, float]:
        """Evaluate, and return the values of whole epochs that were logged.

        Args:
            loader: batches in place of the run's.
            batches: at most so many of each dataloader.
        """
        seed_everything(self.seed, workers=True, verbose=False)
        limit = f"limit_{STAGES[self.stage]}_batches"
        before = getattr(self.parts.trainer, limit)
        data = self.parts.data if loader is None else ResizedData(loader, self.parts.data)
        if batches is not None:
            setattr(self.parts.trainer, limit, batches)
        try:
            getattr(self.parts.trainer, self.stage)(self.module, datamodule=data, verbose=False)
        finally:
            setattr(self.parts.trainer, limit, before)
        logged = self.parts.trainer.callback_metrics.items()
        return {name: float(value) for name, value in logged if not is_array(value) and "/step" not in name}

    def loader(self) -> DataLoader[Any] | None:
        """Return the first dataloader of the last run; None if it is another kind of iterable."""
        loaders = getattr(self.parts.trainer, f"{STAGES[self.stage]}_dataloaders")
        while isinstance(loaders, (list, tuple, dict)) and loaders:
            loaders = next(iter(loaders.values() if isinstance(loaders, dict) else loaders))
        return loaders if isinstance(loaders, DataLoader) and loaders.batch_size is not None else None


def resized_loader(loader: DataLoader[Any], size: int) -> DataLoader[Any]:
    """Return a loader of one batch of the same data, of another size; where there are too few samples, they repeat."""
    dataset: Any = loader.dataset
    if isinstance(dataset, IterableDataset):
        dataset = [*islice(dataset, size)]
    indices = [index % len(dataset) for index in range(size)]
    return DataLoader(Subset(dataset, indices), batch_size=size, collate_fn=loader.collate_fn)


@contextmanager
def evaluation_of(run: RunFolder, path: Path, stage: str | None, batches: int | None = None) -> Iterator[Evaluation]:
    """Build the module and the data of a checkpoint's config, for `validate` or, where that lacks something, `test`.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ConfigError: the config makes no module any more, or there is nothing to evaluate.
        RunError: the run's config is untrusted.
    """
    trusted(read_run(run.path))
    try:
        verify(str(path), weights_only=True)
    except RefusedCheckpointError as error:
        raise not_opened(path, error.__cause__ or error) from error
    content = read_checkpoint(path)
    ours = content.get(CHECKPOINT_KEY)
    saved = ours.get("config") if isinstance(ours, Mapping) else None
    if not isinstance(saved, dict):
        raise CheckpointError(f"{path} has no config with it, so its network cannot be made")
    # advice is for trainings; the original of a compiled network is what is exported
    quiet = without_advice(), torch.compiler.set_stance("force_eager")
    with isolate_rng(), quiet[0], quiet[1], objects_of([saved], None) as (config, _), TemporaryDirectory() as name:
        refuse_unsaved(config)
        evaluation = _built(config, stage, {"default_root_dir": name, **_limits(batches)}, run, content)
        load_weights(evaluation.module, content, path, None)
        yield evaluation


def _limits(batches: int | None) -> dict[str, int]:
    return {} if batches is None else {f"limit_{mode}_batches": batches for mode in STAGES.values()}


def _built(
    config: Config, stage: str | None, settings: Mapping[str, Any], run: RunFolder, content: Mapping[str, Any]
) -> Evaluation:
    lacking: ConfigError | None = None
    for each in STAGES if stage is None else (stage,):
        objects = config.objects()
        objects.define(FOLDER, str(run.path))
        plan = plan_of(objects, each)
        prepare_split(objects, plan)
        seed_everything(config.seed, workers=True, verbose=False)
        precision = _precision(objects)
        # half precision has no value that single precision lacks, so only double precision is kept
        kept = "64-true" if precision in _DOUBLE else "32-true"
        module = build_module(objects, plan)
        trainer = quiet_trainer(
            objects,
            {**QUIET, "accelerator": "cpu", "precision": kept, "plugins": None, "inference_mode": False, **settings},
        )
        trainer.precision_plugin.convert_module(module)  # in place
        parts = Parts(module, build_data(objects, plan), trainer)
        try:
            check_parts(objects, plan, parts)
        except ConfigError as error:
            lacking = lacking or error
            continue
        return Evaluation(parts, objects, content, each, config.seed, precision)
    assert lacking is not None  # each stage has returned or failed
    problem = Problem("an export is verified by a validation or a test of the run, and it can do neither")
    raise ConfigError([problem, *lacking.problems])


def _precision(objects: Objects) -> str:
    written = objects.lookup(objects.followed("trainer"))
    return str((written.get("precision") if isinstance(written, Mapping) else None) or "32-true")
