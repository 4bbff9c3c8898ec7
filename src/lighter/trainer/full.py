"""`lighter.Trainer` on the versions of Lightning that Lighter was tested with."""

from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning
from pytorch_lightning.callbacks import Checkpoint

from lighter._lightning.saves import saves_folders
from lighter._lightning.step_log import read_step_on_error
from lighter._lightning.trainer import StagedTrainer, defaults_from_env_vars
from lighter.files.storage import is_remote, normal
from lighter.lightning_alias import refuse_second_copies
from lighter.parts.metrics.state import metrics_in, unchanged
from lighter.processes.slurm import no_srun_hint
from lighter.trainer.arguments import OnNonFinite, OnSaveError, flag, one_of, signature_with_lightnings, with_defaults
from lighter.trainer.checkpointing.defaults import first_of, with_checkpoints
from lighter.trainer.checkpointing.io import install_saving
from lighter.trainer.checkpointing.save_guard import guard_saves, save_sharded
from lighter.trainer.loops.choice import LoopChoice
from lighter.trainer.loops.evaluation import LeanEvaluationLoop
from lighter.trainer.loops.fit import LeanFitLoop
from lighter.trainer.loops.install import install_loops
from lighter.trainer.loops.prediction import LeanPredictionLoop
from lighter.trainer.loops.step_view import drop_unread_values
from lighter.trainer.nonfinite.check import FiniteCheck
from lighter.trainer.resume.dataloaders import ResumeChoice
from lighter.trainer.stopping.dataloader_workers import dead_worker, is_worker_death
from lighter.trainer.stopping.graceful import Stopping, stops_cleanly
from lighter.trainer.weight_averaging import AveragesFollow


class Trainer(StagedTrainer):
    """Lightning's trainer. It takes the same arguments; where one is left out, it chooses as follows.

    - `logger`: a `CSVLogger` that writes `metrics.csv` into `default_root_dir`, the run's folder. Where that folder
      has a `metrics.csv` already, or no folder is given, Lightning's `lightning_logs/version_N/` keeps them apart.
    - `callbacks`: checkpoints in the folder `checkpoints`: `last.ckpt` after every epoch, and `best.ckpt` by
      `val/loss/epoch` (or `val/loss/total/epoch`) where the module logs that. A `ModelCheckpoint` of yours replaces
      both, and saves there too unless it has a `dirpath`.
    - `profiler`: one given by name reports into the run's folder.
    - `enable_model_summary`: one line with the number of parameters. With `true`, Lightning's table.
    - `enable_progress_bar`: Rich's bar when a person watches a terminal, none in a pipe or a file.

    Its loops do what Lightning's do, hook for hook, and find out once an epoch instead of at every step what there
    is to do; see `docs/07-speed.md`.

    Args:
        exact_resume: random numbers are a function of the seed and the position in training, so that a resumed fit
            does what it would have done without the stop. With False they are Lightning's.
        on_non_finite: the reaction to a loss, gradient or weight with NaN or Inf: `stop` the fit, `skip` the
            optimizer's step, or `continue`, as Lightning does.
        on_save_error: the reaction to a checkpoint that cannot be written: `stop` the fit, or `continue` without it.
        async_save: checkpoints are copied to CPU memory and written asynchronously.

    Attributes:
        loop_choice: which loop ran last, the lean one or Lightning's own, and why; None if none did.
        saves: the saves of the last fit; `saves.failed` is how many failed.
        resume_choice: how the last fit resumes from a checkpoint within an epoch, and why; None if none ran.
    """

    __module__ = "lighter.trainer"  # its public name, in records of runs and in pickles

    fit_loop: LeanFitLoop
    validate_loop: LeanEvaluationLoop
    test_loop: LeanEvaluationLoop
    predict_loop: LeanPredictionLoop
    loop_choice: LoopChoice | None = None
    resume_choice: ResumeChoice | None = None

    # Lightning's own wrapper would come after our defaults, and give our arguments to its constructor
    @defaults_from_env_vars
    def __init__(
        self,
        *,
        exact_resume: bool = True,
        on_non_finite: OnNonFinite = "stop",
        on_save_error: OnSaveError = "stop",
        async_save: bool = False,
        **kwargs: Any,
    ) -> None:
        self.exact_resume = flag(exact_resume, "exact_resume")
        self.async_save = flag(async_save, "async_save")
        self.on_non_finite = one_of(OnNonFinite, on_non_finite, "on_non_finite")
        self.on_save_error = one_of(OnSaveError, on_save_error, "on_save_error")
        if kwargs.get("default_root_dir") is not None:
            kwargs["default_root_dir"] = normal(kwargs["default_root_dir"])
        arguments = kwargs if kwargs.get("barebones") else with_defaults(kwargs, with_checkpoints)
        with no_srun_hint():
            inspect.unwrap(StagedTrainer.__init__)(self, **arguments)
        refuse_second_copies([*self.callbacks, *self.loggers])
        self.finite_check = FiniteCheck(self)
        self.stopping = Stopping(self, kwargs.get("default_root_dir"))
        install_loops(self)
        install_saving(self)
        self.saves = guard_saves(self, continues=self.on_save_error == "continue", in_background=self.async_save)
        if not kwargs.get("barebones"):
            self.callbacks = [AveragesFollow(), *self.callbacks, self.saves]

    def run_sanity_check(self) -> None:
        """Validate some batches before a fit, unless it resumes within an epoch, where that would be once more."""
        # some metrics keep the best value of all, whatever resets them
        if self.fit_loop.resume_state is None:
            with unchanged(metrics_in(self.lightning_module) if self.num_sanity_val_steps else ()):
                super().run_sanity_check()

    def save_checkpoint(
        self, filepath: str | Path, weights_only: bool | None = None, storage_options: Any = None
    ) -> None:
        """Save a checkpoint, in all processes; it is there when this returns.

        Raises:
            StorageError: it cannot be written, and no fit runs that is to continue without it (`on_save_error`).
            NonFiniteError: weights have NaN or Inf; not with `on_non_finite="continue"`.
        """
        if not self.finite_check.allows_saving(filepath):
            return
        self.fit_loop.saves_to = filepath
        save = partial(super().save_checkpoint, filepath, weights_only, storage_options)
        if self.saves.files is not None and saves_folders(self) and not (storage_options or is_remote(filepath)):
            save = partial(save_sharded, self, self.saves.files, filepath, weights_only)
        self.saves.save(self, save, filepath)

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

    def run_stage(self) -> Any:
        # a signal stops the loops, and a dead worker is named
        if self.state.fn == "fit":
            self.fit_loop.end_setup()
        try:
            with self.stopping.of_stage(), read_step_on_error(self):
                return super().run_stage()
        except RuntimeError as error:
            # torch's signal handler has raised it while `of_stage` took another error
            if is_worker_death(error) and (died := dead_worker(self, error)) is not None:
                raise died from error
            raise
        finally:
            drop_unread_values(self)


Trainer.__init__.__signature__ = signature_with_lightnings(Trainer.__init__)  # type: ignore[attr-defined]
