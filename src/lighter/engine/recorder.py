"""What is recorded of a run while the trainer runs it: progress, checkpoints, loggers, data, the first losses.

Nothing here reads a value from a device but at the end of an epoch, and once after the first losses.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback
from pytorch_lightning.plugins.io import CheckpointIO

from lighter._lightning.access import log_other_hparams
from lighter.engine.epoch_lines import EpochLines
from lighter.engine.fingerprint import fingerprint
from lighter.engine.sanity_check import MetricsAfterSanityCheck, MonitorsInSanityCheck
from lighter.engine.shortfalls import Shortfalls
from lighter.files import run_folder as paths
from lighter.files.atomic import write_whole
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

FIRST = 100  # losses
_SECONDS = 5.0  # the record is not written more often while it runs
_BEST_AND_LAST = ("best_model_path", "last_model_path")
_LOSSES = "losses"  # in a checkpoint of ours: how many of the first losses there were
_HYPERPARAMETERS = ("hyper_parameters", "datamodule_hyper_parameters")


def attach(
    trainer: Any, module: Any, data: Any, journal: Journal, saved: dict[str, Any], begun: Callable[[], None]
) -> None:
    """Have a trainer record its run, whose saved config this is; `begun` is called when the loops begin."""
    trainer.callbacks[:0] = [ScheduleEnds(), Recorder(journal, saved, begun), OptimizerSettings(), Shortfalls()]
    trainer.callbacks.insert(0, MonitorsInSanityCheck())
    if not isinstance(trainer, Trainer):
        trainer.callbacks[:0] = [KeepsOwnFiles(), AveragesFollow(), MetricsAfterSanityCheck()]
    if paths.is_rank_zero():
        trainer.callbacks.insert(0, EpochLines())
        trainer.callbacks.insert(0, FirstLosses(journal.folder.path / paths.LOSSES))
    _hide_secrets(trainer, [one for one in (module, data) if one is not None], journal.secrets)


class Recorder(Callback):
    """Writes down how far a run is, and puts its config into every checkpoint."""

    def __init__(self, journal: Journal, config: dict[str, Any], begun: Callable[[], None]) -> None:
        self.journal, self.config, self._begun = journal, config, begun
        self._written = 0.0
        self.has_begun = False
        self._rows_before: dict[str, int] = {}  # of the loggers, when the validation that runs began

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """The config goes with the weights; and what was logged before a checkpoint is on disk before it is."""
        for logger in trainer.loggers:
            try:
                logger.save()
            except OSError as error:
                log.warning("%s cannot write: %s", type(logger).__name__, error.strerror or error)
        own = {"config": self.config, "steps_seen": getattr(pl_module, "steps_seen", {})}
        if isinstance(trainer, Trainer) and trainer.exact_resume:
            validation: Any = trainer.fit_loop.epoch_loop.val_loop
            own["steps_seen"] = validation.counts()["steps_seen"]
            if paths.is_rank_zero():
                own["logged"] = self._rows_before if validation.is_run_again else self._rows(trainer)
        checkpoint[CHECKPOINT_KEY] = {**checkpoint.get(CHECKPOINT_KEY, {}), **own}

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Loggers and data are there."""
        self._start(trainer, data={"train": lambda: trainer.train_dataloader, "val": lambda: trainer.val_dataloaders})

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """The same where there is no training. In a fit, what is logged from here on may be logged again."""
        if trainer.state.fn == "validate":
            self._start(trainer, data={"val": lambda: trainer.val_dataloaders})
        elif paths.is_rank_zero():
            self._rows_before = self._rows(trainer)

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Loggers and data are there."""
        self._start(trainer, data={"test": lambda: trainer.test_dataloaders})

    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        """Loggers and data are there."""
        self._start(trainer, data={"predict": lambda: trainer.predict_dataloaders})

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """An epoch is over; its values are not asked for, as the user's own hooks may still add to them."""
        if time.monotonic() - self._written > _SECONDS:
            self._written = time.monotonic()
            self.journal.note(**how_far(trainer))

    def _rows(self, trainer: Any) -> dict[str, int]:
        return logged(trainer.loggers, self.journal.folder.path)

    def _start(self, trainer: Any, data: Mapping[str, Callable[[], Any]]) -> None:
        self._written = time.monotonic()
        self.has_begun = self.journal.in_loops = True
        self._begun()
        self.journal.note(
            loggers=lambda: [_logger(logger) for logger in trainer.loggers],
            data=lambda: {split: fingerprint(loaders()) for split, loaders in data.items()},
            trainer=lambda: _of_trainer(trainer),
        )


class FirstLosses(Callback):
    """Keeps the losses of a fit's first steps where they are, then writes them down, exactly, and goes away.

    What `lighter reproduce --verify` compares. The values are those that are propagated back, and are read from their
    device all at once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._losses: list[torch.Tensor] | None = []
        self._earlier: list[str] = []
        self._had: int | None = None
        self._is_told = False

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """How many losses there were when it was saved."""
        own = checkpoint.get(CHECKPOINT_KEY)
        had = own.get(_LOSSES) if isinstance(own, Mapping) else None
        self._had = had if isinstance(had, int) else None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """A run that goes on keeps those that it had by its checkpoint, and adds the rest."""
        if self._had is not None:
            rows = self.path.read_text(encoding="utf-8").splitlines()[1:] if self.path.is_file() else []
            self._earlier = rows[: self._had]
            self._losses = [] if len(rows) >= self._had else None
        elif self.path.exists() or trainer.global_step > 0:
            self._losses = None

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the loss, if the step has one."""
        if self._losses is None:
            return
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            self._losses = None
            return
        self._losses.append(loss.detach().reshape(()))
        if len(self._earlier) + len(self._losses) == FIRST:
            self._end()
            trainer.callbacks = [callback for callback in trainer.callbacks if callback is not self]

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        """The device is waited for now anyway, and the process may be killed before it has them all."""
        self._write()
        if self._losses is not None:
            had = {_LOSSES: len(self._earlier) + len(self._losses)}
            checkpoint[CHECKPOINT_KEY] = {**checkpoint.get(CHECKPOINT_KEY, {}), **had}

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """A fit of fewer steps."""
        self._end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """A fit that failed."""
        self._end()

    def _end(self) -> None:
        self._write()
        self._losses = None

    def _write(self) -> None:
        if not self._losses:
            return
        try:
            values = torch.stack([loss.double() for loss in self._losses]).tolist()
            rows = [f"{step},{value!r}" for step, value in enumerate(values, len(self._earlier))]
            write_whole(self.path, "\n".join(["step,loss", *self._earlier, *rows, ""]))
        except Exception as error:  # noqa: BLE001  a run is worth more than its record
            if not self._is_told:
                log.warning("the first losses are not recorded: %s", error)
            self._is_told = True


def how_far(trainer: Any) -> dict[str, Any]:
    """How far a run is, and the checkpoints that a fit saved with what they scored; worked out when they are noted.

    Nothing before the loops began: a fit that goes on, and fails before it does, is as far as it was.
    """
    if not any(isinstance(callback, Recorder) and callback.has_begun for callback in trainer.callbacks):
        return {}
    progress = {"progress": lambda: {"epoch": trainer.current_epoch, "step": trainer.global_step}}
    return {**progress, **({"checkpoints": lambda: _checkpoints(trainer)} if trainer.state.fn == "fit" else {})}


def results(trainer: Any) -> dict[str, Any]:
    """The last value of each metric. Not to be asked for where one of several processes failed: the others wait."""
    return {
        "metrics": lambda: {
            name: float(value) for name, value in trainer.callback_metrics.items() if not name.endswith("/step")
        }
    }


def _checkpoints(trainer: Any) -> list[dict[str, Any]]:
    root, found = Path(trainer.default_root_dir), dict[str, dict[str, Any]]()
    for callback in trainer.checkpoint_callbacks:
        monitor = getattr(callback, "monitor", None)
        scored = {**getattr(callback, "best_k_models", {})}
        for path in filter(None, [*scored, *(getattr(callback, name, "") for name in _BEST_AND_LAST)]):
            entry = found.setdefault(path, {"path": path if is_remote(path) else _shown(Path(path), root)})
            if path in scored and scored[path] is not None:
                is_best = path == getattr(callback, "best_model_path", None)
                entry |= {"monitor": monitor, "score": float(scored[path])} | ({"best": True} if is_best else {})
    return list(found.values())


def _shown(path: Path, root: Path) -> str:
    within = root.absolute() in path.absolute().parents
    return str(path.absolute().relative_to(root.absolute()) if within else path)


def _logger(logger: Any) -> dict[str, Any]:
    """What a logger calls its run, so that it can go on with it."""
    run_id = getattr(logger, "run_id", None)
    return {
        "class": type(logger).__name__,
        "version": logger.version,
        "run_id": run_id if isinstance(run_id, str) else None,
        "folder": joined(logger.log_dir) if logger.log_dir else None,
    }


def _of_trainer(trainer: Any) -> dict[str, Any]:
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
        "fast_dev_run": bool(trainer.fast_dev_run),
        "gpu": torch.cuda.get_device_name() if trainer.strategy.root_device.type == "cuda" else None,
    }


def _hide_secrets(trainer: Any, objects: Sequence[Any], secrets: Secrets) -> None:
    """Hyperparameters that the user's own code saved may hold a secret: then neither files nor loggers get it."""
    clean = [secrets.data(dict(one.hparams)) for one in objects]
    if clean == [dict(one.hparams) for one in objects]:
        return
    trainer.strategy.checkpoint_io = _WithoutSecrets(trainer.strategy.checkpoint_io, secrets)
    for one, hparams in zip(objects, clean, strict=True):
        log_other_hparams(one, hparams)


class _WithoutSecrets(CheckpointIO):
    """Saves checkpoints as another does, without the secrets among the hyperparameters."""

    def __init__(self, inner: Any, secrets: Secrets) -> None:
        self.inner, self.secrets = inner, secrets

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save a copy of what it is given."""
        clean = {key: self.secrets.data(checkpoint[key]) for key in _HYPERPARAMETERS if key in checkpoint}
        self.inner.save_checkpoint({**checkpoint, **clean}, path, storage_options=storage_options)

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As the other does."""
        loaded: dict[str, Any] = self.inner.load_checkpoint(path, *args, **kwargs)
        return loaded

    def remove_checkpoint(self, path: Any) -> None:
        """As the other does."""
        self.inner.remove_checkpoint(path)

    def teardown(self) -> None:
        """As the other does."""
        self.inner.teardown()
