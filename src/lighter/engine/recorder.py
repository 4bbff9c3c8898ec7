"""Record a run while the trainer runs it: progress, checkpoints, loggers, data, the first losses.

No value is read from a device but at the end of an epoch, and once after the first losses.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.io import CheckpointIO

from lighter._lightning.modules import log_other_hparams
from lighter._lightning.versions import IS_TESTED
from lighter.engine.build import Parts
from lighter.engine.epoch_lines import EpochLines, values_of_epochs
from lighter.engine.fingerprint import fingerprint
from lighter.engine.first_losses import FirstLosses
from lighter.engine.sanity_check import MetricsAfterSanityCheck, MonitorsInSanityCheck
from lighter.engine.shortfalls import Shortfalls
from lighter.files import run_folder as paths
from lighter.files.storage import is_remote, joined
from lighter.runs.journal import Journal
from lighter.runs.record import CHECKPOINT_KEY
from lighter.runs.resume.logger_arguments import logged
from lighter.runs.resume.optimizer_settings import OptimizerSettings
from lighter.runs.resume.schedule_lengths import ScheduleEnds
from lighter.runs.secrets import Secrets
from lighter.trainer import Trainer
from lighter.trainer.checkpointing.restored import KeepsOwnFiles
from lighter.trainer.weight_averaging import AveragesFollow

log = logging.getLogger("lighter.runs")

_SECONDS = 5.0  # the record is not written more often while it runs
_BEST_AND_LAST = ("best_model_path", "last_model_path")
_HYPERPARAMETERS = ("hyper_parameters", "datamodule_hyper_parameters")


def attach(parts: Parts, journal: Journal, saved: dict[str, Any], begun: Callable[[], object] | None) -> None:
    """Have a trainer record its run.

    `saved` is the config as it is saved; `begun` is called when the loops begin.
    """
    trainer: Any = parts.trainer
    ours: list[Callback] = [MonitorsInSanityCheck(), ScheduleEnds(), Recorder(journal, saved, begun)]
    ours += [OptimizerSettings(), Shortfalls()]
    # What `lighter.Trainer` does by itself, as far as callbacks can.
    if IS_TESTED and not isinstance(trainer, Trainer):
        ours[:0] = [KeepsOwnFiles(), AveragesFollow(), MetricsAfterSanityCheck()]
    if paths.is_rank_zero():
        ours[:0] = [FirstLosses(journal.folder.path / paths.LOSSES), EpochLines()]
    # Before those of the user, which may read what these have set right.
    trainer.callbacks[:0] = ours
    _hide_secrets(parts, journal.secrets)


class Recorder(Callback):
    """Note how far a run is, and put its config into every checkpoint."""

    def __init__(self, journal: Journal, config: dict[str, Any], begun: Callable[[], object] | None) -> None:
        self.journal, self.config, self._begun = journal, config, begun
        self._written = 0.0
        self.has_begun = False
        # The steps of the starts before, without that from which this one began.
        self._steps_before = 0
        # Of the loggers, when the validation that runs began.
        self._rows_before: dict[str, int] = {}

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # A resumed run drops rows that are newer than its checkpoint, and must find all the others.
        for logger in trainer.loggers:
            try:
                logger.save()
            except OSError as error:
                log.warning("%s cannot write: %s", type(logger).__name__, error.strerror or error)
        ours = {"config": self.config, "steps_seen": getattr(pl_module, "steps_seen", {})}
        if isinstance(trainer, Trainer) and trainer.exact_resume:
            validation: Any = trainer.fit_loop.epoch_loop.val_loop
            ours["steps_seen"] = validation.counts()["steps_seen"]
            if paths.is_rank_zero():
                ours["logged"] = self._rows_before if validation.is_run_again else self._rows(trainer)
        checkpoint[CHECKPOINT_KEY] = {**checkpoint.get(CHECKPOINT_KEY, {}), **ours}
        is_pausing = IS_TESTED and isinstance(trainer, Trainer) and trainer.stopping.is_pausing
        if is_pausing or (trainer.state.fn == "fit" and trainer.is_last_batch):
            # Before the file is there: a fit that is stopped after that ends at once, with no values of its own.
            self.journal.note(**results(trainer, self.journal.facts.get("metrics")))

    def on_train_start(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        self._start(trainer, {"train": lambda: trainer.train_dataloader, "val": lambda: trainer.val_dataloaders})

    def on_validation_start(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        # What is logged from here on may be logged once more, if the fit is resumed within this validation.
        if trainer.state.fn == "validate":
            self._start(trainer, {"val": lambda: trainer.val_dataloaders})
        elif paths.is_rank_zero():
            self._rows_before = self._rows(trainer)

    def on_test_start(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        self._start(trainer, {"test": lambda: trainer.test_dataloaders})

    def on_predict_start(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        self._start(trainer, {"predict": lambda: trainer.predict_dataloaders})

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        # No values: the user's own hooks may still add to them.
        if time.monotonic() - self._written > _SECONDS:
            self._written = time.monotonic()
            self.journal.note(**how_far(trainer))

    def steps_made(self, trainer: pl.Trainer) -> int:
        """Return how many steps all starts of a run made, those included that a later one made again."""
        return max(self._steps_before + trainer.global_step, 0)

    def _rows(self, trainer: pl.Trainer) -> dict[str, int]:
        return logged(trainer.loggers, self.journal.folder.path)

    def _start(self, trainer: pl.Trainer, data: Mapping[str, Callable[[], Any]]) -> None:
        self._written = time.monotonic()
        if not self.has_begun:
            self._steps_before = self.journal.facts.get("steps_made", 0) - trainer.global_step
        self.has_begun = self.journal.in_loops = True
        if self._begun is not None:
            self._begun()
        self.journal.note(
            loggers=lambda: [_logger(logger) for logger in trainer.loggers],
            data=lambda: {split: fingerprint(loaders()) for split, loaders in data.items()},
            trainer=lambda: _of_trainer(trainer),
        )


def how_far(trainer: pl.Trainer) -> dict[str, Callable[[], Any]]:
    """Return how far a run is, and the checkpoints that a fit saved; worked out when they are noted."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    # Nothing before the loops began: a fit that is resumed, and fails before that, is as far as it was.
    begun = [callback for callback in callbacks if isinstance(callback, Recorder) and callback.has_begun]
    if not begun:
        return {}
    progress: dict[str, Callable[[], Any]] = {
        "progress": lambda: {"epoch": trainer.current_epoch, "step": trainer.global_step},
        "steps_made": lambda: begun[0].steps_made(trainer),
    }
    return {**progress, **({"checkpoints": lambda: _checkpoints(trainer)} if trainer.state.fn == "fit" else {})}


def results(trainer: pl.Trainer, before: Mapping[str, Any] | None = None) -> dict[str, Callable[[], Any]]:
    """Return the last value of each metric; of one that was not logged since the fit resumed, that of `before`."""
    # Where one of several processes failed, this would wait for it: so it is asked of a success only.
    return {"metrics": lambda: {**(before or {}), **values_of_epochs(trainer)}}


def _checkpoints(trainer: pl.Trainer) -> list[dict[str, Any]]:
    root, entries = Path(trainer.default_root_dir).absolute(), dict[str, dict[str, Any]]()
    for callback in trainer.checkpoint_callbacks:
        monitor = getattr(callback, "monitor", None)
        scores = {**getattr(callback, "best_k_models", {})}
        for path in filter(None, [*scores, *(getattr(callback, name, "") for name in _BEST_AND_LAST)]):
            file = Path(path).absolute()
            shown = path if is_remote(path) else str(file.relative_to(root) if root in file.parents else Path(path))
            entry = entries.setdefault(path, {"path": shown})
            if path in scores and scores[path] is not None:
                is_best = path == getattr(callback, "best_model_path", None)
                entry |= {"monitor": monitor, "score": float(scores[path])} | ({"best": True} if is_best else {})
    return list(entries.values())


def _logger(logger: Logger) -> dict[str, Any]:
    # the names by which the logger's own run can be resumed
    run_id = getattr(logger, "run_id", None)
    return {
        "class": type(logger).__name__,
        "version": logger.version,
        "run_id": run_id if isinstance(run_id, str) else None,
        "folder": joined(logger.log_dir) if logger.log_dir else None,
    }


def _of_trainer(trainer: pl.Trainer) -> dict[str, Any]:
    return {
        "class": f"{type(trainer).__module__}.{type(trainer).__qualname__}",
        "accelerator": type(trainer.accelerator).__name__,
        "strategy": type(trainer.strategy).__name__,
        "devices": trainer.num_devices,
        "nodes": trainer.num_nodes,
        "precision": str(trainer.precision),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "fast_dev_run": bool(trainer.fast_dev_run),  # type: ignore[attr-defined]
        "gpu": torch.cuda.get_device_name() if trainer.strategy.root_device.type == "cuda" else None,
    }


def _hide_secrets(parts: Parts, secrets: Secrets) -> None:
    # The user's own code may have saved them as hyperparameters, which go into files and loggers.
    holders = [holder for holder in (parts.module, parts.data) if holder is not None]
    clean = [secrets.data(dict(holder.hparams)) for holder in holders]
    if clean == [dict(holder.hparams) for holder in holders]:
        return
    strategy = parts.trainer.strategy
    strategy.checkpoint_io = _WithoutSecrets(strategy.checkpoint_io, secrets)
    for holder, hparams in zip(holders, clean, strict=True):
        log_other_hparams(holder, hparams)


class _WithoutSecrets(CheckpointIO):
    def __init__(self, inner: CheckpointIO, secrets: Secrets) -> None:
        self.inner, self.secrets = inner, secrets

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        clean = {key: self.secrets.data(checkpoint[key]) for key in _HYPERPARAMETERS if key in checkpoint}
        self.inner.save_checkpoint({**checkpoint, **clean}, path, storage_options=storage_options)

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return self.inner.load_checkpoint(path, *args, **kwargs)

    def remove_checkpoint(self, path: Any) -> None:
        self.inner.remove_checkpoint(path)

    def teardown(self) -> None:
        self.inner.teardown()
