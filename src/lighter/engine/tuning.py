"""The learning rate and the batch size to train with, looked for by Lightning's `Tuner` in trials of a config.

What is found is not applied. It comes with the place in the config to write it to.
"""

from __future__ import annotations

import csv
import inspect
import math
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, LightningDataModule, LightningModule
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.tuner.tuning import Tuner

from lighter.config import Config, read
from lighter.config.load import Input
from lighter.config.objects import Objects
from lighter.config.problems import Problem
from lighter.config.tree import Node, is_target, join, split
from lighter.data import LighterDataModule
from lighter.engine.build import prepare_split
from lighter.engine.claim import RunOptions, claim_folder
from lighter.engine.lightning_classes import is_overridden
from lighter.engine.plan import SectionPlan, plan_of
from lighter.engine.trial import Trial, make_trial
from lighter.errors import ConfigError
from lighter.files.run_folder import RunFolder
from lighter.parts.collate import keep_none
from lighter.processes.slurm import no_srun_hint
from lighter.runs.log import logging_to

# Validations take time, and the searches look at training steps only.
_NO_VALIDATION = {"check_val_every_n_epoch": 10**9}
_NO_CURVE = "Let it take more steps (--num_training), or from a lower learning rate on (--min_lr)."
_LOADERS = {"system": "system::dataloaders::train", "model": "data::train_dataloader"}


@dataclass(frozen=True)
class FoundLr:
    """A learning rate: the one at which the loss fell most steeply.

    `key` is its config path, None if it has none; `curve` has the learning rates that were tried and the smoothed loss
    at each, and is written to `folder`.
    """

    lr: float
    key: str | None
    curve: Sequence[tuple[float, float]]
    folder: RunFolder


@dataclass(frozen=True)
class FoundBatchSize:
    """The largest batch size that was tried and fitted into memory, with its config path.

    `samples` says how many the training data has, if that can be told.
    """

    batch_size: int
    key: str
    samples: int | None


@no_srun_hint()
def find_lr(inputs: Sequence[Input], **options: Any) -> FoundLr:
    """Train with a rising learning rate for a hundred steps, and find where the loss falls most steeply.

    The options are those of `Tuner.lr_find`: `min_lr`, `max_lr`, `num_training`, `mode`, `early_stop_threshold`.

    Raises:
        ConfigError: the config is wrong, its module has not one optimizer, or no learning rate stands out.
    """
    config = read(inputs)
    run = RunOptions.of(config, inputs)
    folder = claim_folder(replace(run, name=f"{run.name}-tune-lr"), config)
    try:
        with logging_to(folder.log):
            trial = make_trial(config, folder.path, **_NO_VALIDATION)
            results = _lr_finder(trial, options).results
            curve = list(zip(results["lr"], results["loss"], strict=False))
            lr = steepest(curve)
            if lr is None:
                raise ConfigError([Problem("no learning rate stands out", hint=_NO_CURVE)])
    except BaseException:
        # A search that fails leaves no folder behind.
        folder.abandon()
        raise
    folder.config.write_text(config.dump(), encoding="utf-8")
    with open(folder.lr_curve, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("lr", "loss"), *curve])
    return FoundLr(lr, _lr_key(config, trial), curve, folder)


def steepest(curve: Sequence[tuple[float, float]]) -> float | None:
    """Return the learning rate at which the loss falls most for each factor that the rate grows by; None without one.

    Like Lightning, it leaves out the first ten points and the last.
    """
    points = [(lr, loss) for lr, loss in curve[10:-1] if math.isfinite(loss)]
    if len(points) < 2:
        return None
    lrs, losses = torch.tensor(points, dtype=torch.float64).T
    # Lightning takes the slope over the learning rate itself (`suggestion`), where the smallest rates lie so close
    # together that noise is steeper there than any true fall.
    slopes = torch.gradient(losses, spacing=[lrs.log()])[0]
    return float(lrs[slopes.argmin()])


def plot(result: FoundLr) -> Path | None:
    """Draw the curve into the folder; None where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*result.curve, strict=True))
    axes.plot(result.lr, dict(result.curve)[result.lr], marker="o", color="red", label=f"steepest: {result.lr:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="smoothed loss")
    axes.legend()
    figure.savefig(result.folder.lr_plot, dpi=120)
    return result.folder.lr_plot


@no_srun_hint()
def find_batch_size(inputs: Sequence[Input], key: str | None = None, **options: Any) -> FoundBatchSize:
    """Train a few steps with larger and larger batches, until memory does not suffice or there is no more data.

    `key` is the config path of the batch size, if that is not where it is looked for. The options are those of
    `Tuner.scale_batch_size`: `mode`, `init_val`, `max_trials`, `steps_per_trial`, `max_val`.

    Raises:
        ConfigError: the config is wrong, or says no batch size in the places that are known.
    """
    config = read(inputs)
    with TemporaryDirectory() as folder, logging_to(None):
        trial = make_trial(config, Path(folder), **_NO_VALIDATION)
        key = key or _batch_size_key(config, trial)
        source = trial.parts.data or trial.parts.module
        # For each trial the training data is built anew, from the config with the batch size in it.
        resized = _Resized(_loader_of(inputs, trial.plan.section, key), source)
        data = trial.parts.data if _has_batch_size(trial) else resized
        size = _tuner(trial).scale_batch_size(trial.parts.module, datamodule=data, **options)
        dataset = getattr(trial.parts.trainer.train_dataloader, "dataset", None)
        return FoundBatchSize(int(size or 0), key, len(dataset) if isinstance(dataset, Sized) else None)


def _tuner(trial: Trial) -> Tuner:
    trainer = trial.parts.trainer
    trainer.callbacks.append(_LiftLimits())  # type: ignore[attr-defined]
    trainer.strategy.checkpoint_io = _OwnCheckpoints()
    return Tuner(trainer)


class _LiftLimits(Callback):
    """Let a search take as many steps as it wants, once the optimizers are built."""

    def setup(self, trainer: pl.Trainer, pl_module: LightningModule, stage: str) -> None:
        """Come before the callback that searches, which Lightning puts first."""
        trainer.callbacks = [self, *(callback for callback in trainer.callbacks if callback is not self)]  # type: ignore[attr-defined]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        # Not before: schedules are made of the config's own limits, by `trainer.estimated_stepping_batches`.
        trainer.fit_loop.max_epochs, trainer.fit_loop.epoch_loop.max_steps = -1, -1


class _OwnCheckpoints(TorchCheckpointIO):
    """Keep the state from before a search in a file, which this process alone has written."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        # Hyperparameters may be objects of any kind, the network say. They are not restored, and so are not saved.
        kept = {key: value for key, value in checkpoint.items() if not key.endswith("hyper_parameters")}
        super().save_checkpoint(kept, path, storage_options)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        # This process has written it, so it may be loaded whole.
        return super().load_checkpoint(path, map_location, weights_only=False)


def _lr_finder(trial: Trial, options: Mapping[str, Any]) -> Any:
    parts, section = trial.parts, trial.plan.section
    if not parts.module.automatic_optimization:
        message = f"{type(parts.module).__name__} optimizes by hand; only automatic optimization has one learning rate"
        raise ConfigError([trial.objects.problem(message, section)])
    try:
        return _tuner(trial).lr_find(parts.module, datamodule=parts.data, update_attr=False, **options)
    except MisconfigurationException as error:
        if "single optimizer" not in str(error):
            raise
        message = f"there are {len(parts.trainer.optimizers)} optimizers; a learning rate is found for one"
        raise ConfigError([trial.objects.problem(message, join(section, "optimizer"))]) from error


class _Resized(LightningDataModule):
    """Training data that is built anew with each `batch_size` that Lightning's finder sets."""

    def __init__(self, build: Callable[[int], Any], source: LightningDataModule | LightningModule) -> None:
        super().__init__()
        self.batch_size, self._build, self._source = 1, build, source

    def train_dataloader(self) -> Any:
        return self._build(self.batch_size)

    def val_dataloader(self) -> Any:
        return self._source.val_dataloader() if is_overridden("val_dataloader", self._source) else []


def _loader_of(inputs: Sequence[Input], section: str, key: str) -> Callable[[int], Any]:
    def build(batch_size: int) -> Any:
        objects = read([*inputs, f"{key}={batch_size}"]).objects()
        prepare_split(objects, plan_of(objects, "fit"))
        loader = objects.get(_LOADERS[section])
        return keep_none(loader) if section == "system" else loader

    return build


def _has_batch_size(trial: Trial) -> bool:
    # Where Lightning's finder looks for a `batch_size` to set.
    data, module = trial.parts.data, trial.parts.module
    holders = [module, *([data] if data is not None and type(data) is not LighterDataModule else [])]
    return any(hasattr(holder, "batch_size") or "batch_size" in holder.hparams for holder in holders)


def _lr_key(config: Config, trial: Trial) -> str | None:
    objects, plan = trial.objects, trial.plan
    optimizer = written_at(config.merged, join(plan.section, "optimizer"))
    if isinstance(objects.lookup(optimizer), list):
        optimizer = written_at(config.merged, join(optimizer, 0))
    if is_target(objects.lookup(optimizer)):
        return written_at(config.merged, join(optimizer, "lr"))
    names = (name for name in ("lr", "learning_rate") if _takes(objects, plan.module, name))
    return next((written_at(config.merged, join(plan.section, name)) for name in names), None)


def _batch_size_key(config: Config, trial: Trial) -> str:
    objects, plan = trial.objects, trial.plan
    for section, section_plan in (("data", plan.data), (plan.section, plan.module)):
        if _has_batch_size(trial) and _takes(objects, section_plan, "batch_size"):
            return written_at(config.merged, join(section, "batch_size"))
    loader = _LOADERS[plan.section]
    if is_target(objects.lookup(objects.followed(loader))):
        return written_at(config.merged, join(loader, "batch_size"))
    message = "the config has no `batch_size` where it is looked for"
    hint = f"It is looked for in `{loader}`, and among the arguments of your data module, which keeps it as"
    hint += " `self.batch_size`.\nName another place with --key."
    raise ConfigError([objects.problem(message, loader, hint)])


def written_at(tree: Node, path: str) -> str:
    """Return the path where a value is written, past `@` and `%`: `vars::lr` for `model::optimizer::lr`."""
    here = ""
    for step in split(path):
        here = join(here, step)
        seen = {here}
        while (reference := _reference(tree, here)) and reference not in seen:
            here = reference
            seen.add(here)
    return here


def _reference(tree: Node, path: str) -> str:
    value = getattr(tree.find(path), "value", None)
    if not isinstance(value, str) or value[:1] not in ("@", "%") or not value[1:]:
        return ""
    # what leads into another file cannot be changed by an override
    return value[1:].strip() if tree.find(value[1:].strip()) is not None else ""


def _takes(objects: Objects, plan: SectionPlan, name: str) -> bool:
    """Return whether the object of a section is given an argument, or could be."""
    definition = objects.lookup(plan.path)
    return is_target(definition) and (name in definition or name in inspect.signature(plan.target).parameters)
