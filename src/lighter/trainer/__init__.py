"""`lighter.Trainer`: Lightning's trainer with defaults that suit a run in a folder of its own."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import pytorch_lightning
from pytorch_lightning.callbacks import Callback, Checkpoint, ProgressBar, RichProgressBar
from pytorch_lightning.utilities.argparse import _defaults_from_env_vars  # private: reads `PL_TRAINER_LOGGER` and so on

from lighter.files.run_folder import METRICS
from lighter.files.storage import exists, joined, normal
from lighter.lightning_alias import refuse_second_copies
from lighter.parts.metrics.state import metrics_in, unchanged
from lighter.processes.slurm import no_srun_hint
from lighter.trainer.checkpointing.defaults import DEFAULT_MONITORS as DEFAULT_MONITORS
from lighter.trainer.checkpointing.defaults import BestCheckpoint as BestCheckpoint
from lighter.trainer.checkpointing.defaults import LastCheckpoint as LastCheckpoint
from lighter.trainer.checkpointing.defaults import first_of, with_checkpoints
from lighter.trainer.checkpointing.io import install_saving
from lighter.trainer.checkpointing.save_guard import guard_saves
from lighter.trainer.csv_logger import CSVLogger
from lighter.trainer.loops.choice import LoopChoice
from lighter.trainer.loops.install import install_loops
from lighter.trainer.nonfinite.check import FiniteCheck
from lighter.trainer.profilers import reporting_to
from lighter.trainer.resume.dataloaders import ResumeChoice
from lighter.trainer.stopping.dataloader_workers import dead_worker, is_worker_death
from lighter.trainer.stopping.graceful import Stopping, stops_cleanly
from lighter.trainer.weight_averaging import AveragesFollow

OWN_ARGUMENTS = ("exact_resume", "on_non_finite", "on_save_error", "async_save")  # the others are Lightning's
OnNonFinite = Literal["stop", "skip", "continue"]
OnSaveError = Literal["stop", "continue"]


class Trainer(pytorch_lightning.Trainer):
    """Lightning's trainer. It takes the same arguments; where one is left out, it chooses as follows.

    - `logger`: a `CSVLogger` that writes `metrics.csv` into `default_root_dir`, the run's folder. Where that folder
      has a `metrics.csv` already, or no folder is given, Lightning's `lightning_logs/version_N/` keeps them apart.
    - `callbacks`: checkpoints in the folder `checkpoints`: `last.ckpt` after every epoch, and `best.ckpt` by
      `val/loss/epoch` (or `val/loss/total/epoch`) where the module logs that. A `ModelCheckpoint` of yours replaces
      both, and saves there too unless it has a `dirpath`.
    - `profiler`: one given by name reports into the run's folder.
    - `enable_progress_bar`: Rich's bar when a person watches a terminal, none in a pipe or a file.

    Its loops do what Lightning's do, hook for hook, and find out once an epoch instead of at every step what there
    is to do; see `docs/07-speed.md`.

    Args:
        exact_resume: random numbers are a function of the seed and of where the training is, so that a fit that goes
            on from a checkpoint does what it would have done had it not stopped. With False they are Lightning's.
        on_non_finite: what a loss, gradient or weight that is not finite does: `stop` the fit, `skip` the optimizer's
            step, or `continue`, as Lightning does.
        on_save_error: what a checkpoint that cannot be written does: `stop` the fit, or `continue` without it.
        async_save: what a checkpoint callback saves is copied into the CPU's memory, and written beside the training.
        kwargs: Lightning's.

    Attributes:
        loop_choice: which loop ran last, the lean one or Lightning's own, and why; None if none did.
        saves: the saves of the last fit; `saves.failed` is how many failed.
        resume_choice: how the last fit goes on from a checkpoint in the middle of an epoch, and why; None if none ran.
    """

    loop_choice: LoopChoice | None = None
    resume_choice: ResumeChoice | None = None

    @_defaults_from_env_vars  # Lightning's would come after our defaults, and give our arguments to its constructor
    def __init__(
        self,
        *,
        exact_resume: bool = True,
        on_non_finite: OnNonFinite = "stop",
        on_save_error: OnSaveError = "stop",
        async_save: bool = False,
        **kwargs: Any,
    ) -> None:
        self.exact_resume = _flag(exact_resume, "exact_resume")
        self.async_save = _flag(async_save, "async_save")
        self.on_non_finite = _one_of(OnNonFinite, on_non_finite, "on_non_finite")
        self.on_save_error = _one_of(OnSaveError, on_save_error, "on_save_error")
        if kwargs.get("default_root_dir") is not None:
            kwargs["default_root_dir"] = normal(kwargs["default_root_dir"])
        arguments = kwargs if kwargs.get("barebones") else _with_defaults(kwargs)
        with no_srun_hint():
            inspect.unwrap(super(Trainer, type(self)).__init__)(self, **arguments)
        refuse_second_copies([*self.callbacks, *self.loggers])
        self.finite_check = FiniteCheck(self)
        self.stopping = Stopping(self, kwargs.get("default_root_dir"))
        install_loops(self)
        install_saving(self)
        self.saves = guard_saves(self, goes_on=self.on_save_error == "continue", in_background=self.async_save)
        if not kwargs.get("barebones"):
            self.callbacks: list[Callback] = [AveragesFollow(), *self.callbacks, self.saves]

    def _run_sanity_check(self) -> None:
        """Lightning's, private: it would come again where a checkpoint of an epoch's end is gone on from.

        It leaves no trace in metrics: some keep the best value of all, whatever resets them.
        """
        fit_loop: Any = self.fit_loop
        if fit_loop.goes_on is None:
            with unchanged(metrics_in(self.lightning_module) if self.num_sanity_val_steps else ()):
                super()._run_sanity_check()

    def save_checkpoint(
        self, filepath: str | Path, weights_only: bool | None = None, storage_options: Any = None
    ) -> None:
        """Save a checkpoint, in all processes; it is there when this returns.

        Raises:
            StorageError: it cannot be written, and no fit runs that is to go on without (`on_save_error`).
            NonFiniteError: weights are not finite; not with `on_non_finite="continue"`.
        """
        if not self.finite_check.allows_saving(filepath):
            return
        loop: Any = self.fit_loop
        loop.saves_to = filepath
        self.saves.save(self, partial(super().save_checkpoint, filepath, weights_only, storage_options), filepath)

    @property
    def checkpoint_callback(self) -> Checkpoint | None:
        """The first of the checkpoint callbacks; of the default ones, the first that has saved.

        So a script finds the best checkpoint here, or the last one where no value says which is best.
        """
        return first_of(self.checkpoint_callbacks)

    fit = stops_cleanly(pytorch_lightning.Trainer.fit)
    validate = stops_cleanly(pytorch_lightning.Trainer.validate)
    test = stops_cleanly(pytorch_lightning.Trainer.test)
    predict = stops_cleanly(pytorch_lightning.Trainer.predict)

    def _run_stage(self) -> Any:
        """Private, because nothing public is called in all stages when the loops begin and when they have ended."""
        fit_loop: Any = self.fit_loop
        if self.state.fn == "fit":
            fit_loop.end_setup()
        try:
            with self.stopping.of_stage():
                return super()._run_stage()
        except RuntimeError as error:  # raised by torch's signal handler while the context manager took another error
            if is_worker_death(error) and (died := dead_worker(self, error)) is not None:
                raise died from error
            raise


def _with_lightnings(init: Any) -> inspect.Signature:
    """A constructor's signature with Lightning's arguments in the place of `**kwargs`."""
    theirs = inspect.signature(pytorch_lightning.Trainer.__init__).parameters
    *own, _ = inspect.signature(init, eval_str=True).parameters.values()
    return inspect.Signature([theirs["self"], *own[1:], *(theirs[name] for name in theirs if name != "self")])


Trainer.__init__.__signature__ = _with_lightnings(Trainer.__init__)  # type: ignore[attr-defined]


def _one_of(choices: Any, given: str, name: str) -> str:
    if given not in get_args(choices):
        raise ValueError(f"{name} is one of {', '.join(get_args(choices))}, not {given!r}")
    return given


def _flag(given: object, name: str) -> bool:
    if given not in (True, False):
        raise ValueError(f"{name} is True or False, not {given!r}")
    return bool(given)


def _with_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    kwargs, folder = dict(given), given.get("default_root_dir")
    callbacks = kwargs.get("callbacks") or []
    callbacks = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
    if kwargs.get("logger") in (None, True):
        kwargs["logger"] = default_logger(folder)
    kwargs["profiler"] = reporting_to(folder, kwargs.get("profiler"))
    has_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
    if kwargs.get("enable_progress_bar") is None:
        kwargs["enable_progress_bar"] = has_bar or (sys.stderr.isatty() and sys.stdout.isatty())
    if kwargs["enable_progress_bar"] and not has_bar:
        callbacks.append(RichProgressBar())
    if kwargs.get("enable_checkpointing") is not False:
        callbacks = with_checkpoints(callbacks, folder)
    return {**kwargs, "callbacks": callbacks}


def default_logger(folder: str | Path | None) -> CSVLogger:
    """A CSV logger that writes into a run's folder and never over another run's rows."""
    if folder is None or exists(joined(folder, METRICS)):
        return CSVLogger(folder or Path.cwd())
    logger = CSVLogger(folder, name="", version="")
    with warnings.catch_warnings():  # that the folder is not empty: the run's log is in it, but no metrics.csv
        warnings.filterwarnings("ignore", "Experiment logs directory")
        _ = logger.experiment
    return logger
