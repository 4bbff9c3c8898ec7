"""Lightning's loops, all of which are private, as base classes with public names."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.core.optimizer import do_nothing_closure
from pytorch_lightning.loops.evaluation_loop import _EvaluationLoop
from pytorch_lightning.loops.fit_loop import _FitLoop
from pytorch_lightning.loops.optimization.automatic import _AutomaticOptimization
from pytorch_lightning.loops.optimization.manual import _ManualOptimization
from pytorch_lightning.loops.prediction_loop import _PredictionLoop
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from pytorch_lightning.utilities.exceptions import SIGTERMException

from lighter._lightning.aliases import Renamed, alias
from lighter._lightning.fetchers import DataFetcher
from lighter._lightning.logged_values import ResultCollection

ManualOptimization = _ManualOptimization


class FitLoop(Renamed, _FitLoop):
    """Lightning's loop over epochs."""

    # the training dataloaders; None until they are made
    combined_loader: CombinedLoader | None = alias("_combined_loader")
    data_fetcher: DataFetcher = alias("_data_fetcher")
    # the epoch in which the dataloaders were made
    loaded_in: float = alias("_last_train_dl_reload_epoch")

    # the only method that Lightning calls between their construction and their first iteration
    begin_loaders = _FitLoop._load_combined_loader_states


class TrainingEpochLoop(Renamed, _TrainingEpochLoop):
    """Lightning's loop over the batches of an epoch."""

    # the values that were logged
    results: ResultCollection = alias("_results")
    # whether its counters come from a checkpoint and no batch has run since
    is_restarting: bool = alias("_restarting")
    # whether the validation that is due after this batch has run already
    skips_next_validation: bool = alias("_skip_next_val")
    # whether there is a `validation_step` and data for it; None to let Lightning look at each step
    may_validate: bool | None = None

    before_fetch = _TrainingEpochLoop._on_before_fetch
    after_fetch = _TrainingEpochLoop._on_after_fetch
    # called before each batch of several processes
    agree_on_stopping = _TrainingEpochLoop._broadcast_sigterm_tensor
    is_last_batch = _TrainingEpochLoop._num_ready_batches_reached
    is_validation_due = _TrainingEpochLoop._should_check_val_fx
    is_training_done = _TrainingEpochLoop._is_training_done

    def _should_accumulate(self) -> bool:
        # Lightning asks several times a step, and looks at counters and strategy each time
        return self.trainer.accumulate_grad_batches != 1 and super()._should_accumulate()

    accumulates = _should_accumulate

    def _should_check_val_epoch(self) -> bool:
        if self.may_validate is None:
            return bool(super()._should_check_val_epoch())
        every = self.trainer.check_val_every_n_epoch
        in_this_epoch = every is None or (self.trainer.current_epoch + 1) % every == 0
        # the rest is asked each time: users change these settings during a fit
        return self.may_validate and self.trainer.limit_val_batches > 0 and in_this_epoch

    def has_validation_data(self) -> bool:
        return self.val_loop._data_source.is_defined()

    def warn_once(self, message: str) -> None:
        """Warn, unless this message has been shown before."""
        self._warning_cache.warn(message)

    def finish_batch(self) -> None:
        """Do what Lightning's `on_advance_end` does where no validation is due and no scheduler steps.

        Raises:
            SIGTERMException: the process was told to stop.
        """
        trainer, accumulates = self.trainer, self._should_accumulate()
        if not accumulates:
            self._batches_that_stepped += 1
        if trainer.should_stop:
            self._save_loggers_on_train_batch_end()
        if trainer.received_sigterm and not accumulates and not self._is_training_done:
            raise SIGTERMException

    def log_epoch(self) -> None:
        """Hand the epoch's values to the loggers, as Lightning does after the epoch's hooks."""
        # as of the epoch's last step, although the counter is one further
        self._batches_that_stepped -= 1
        self.trainer._logger_connector.update_train_epoch_metrics()
        self._batches_that_stepped += 1


class EvaluationLoop(Renamed, _EvaluationLoop):
    """Lightning's loop of a validation or a test."""

    # the dataloaders; None until they are made
    combined_loader: CombinedLoader | None = alias("_combined_loader")
    data_fetcher: DataFetcher = alias("_data_fetcher")
    # the values that were logged
    results: ResultCollection = alias("_results")
    # whether its counters come from a checkpoint and no batch has run since
    is_restarting: bool = alias("_restarting")
    # whether the dataloaders run one after another
    is_sequential: bool = alias("_is_sequential")
    # the batches of each dataloader since it was made; loggers get their number as the step
    batches_logged: dict[int, int] = alias("_seen_batches_per_dataloader")
    # the epoch in which the dataloaders were made
    loaded_in: float = alias("_last_val_dl_reload_epoch")
    # whether any batch has run
    has_run: bool = alias("_has_run")

    before_fetch = _EvaluationLoop._on_before_fetch
    after_fetch = _EvaluationLoop._on_after_fetch
    begin_epoch = _EvaluationLoop._on_evaluation_epoch_start
    evaluation_step = _EvaluationLoop._evaluation_step
    end_dataloader = _EvaluationLoop._store_dataloader_outputs
    end_epoch = _EvaluationLoop._on_evaluation_epoch_end
    end_evaluation = _EvaluationLoop._on_evaluation_end

    @property
    def module_modes(self) -> dict[str, bool]:
        """The modes (`training`) that the modules have outside of this evaluation, by their names."""
        return self._module_mode.mode


class PredictionLoop(Renamed, _PredictionLoop):
    """Lightning's loop of a prediction."""

    # the dataloaders; None until they are made
    combined_loader: CombinedLoader | None = alias("_combined_loader")
    data_fetcher: DataFetcher = alias("_data_fetcher")
    # the predictions of each dataloader, for what `predict` returns or for writers at the epoch's end
    kept: list[list[Any]] = alias("_predictions")
    # whether `predict` returns the predictions
    keeps_all: bool = alias("_return_predictions")

    before_fetch = _PredictionLoop._on_before_fetch
    after_fetch = _PredictionLoop._on_after_fetch
    note_samples = _PredictionLoop._store_data_for_prediction_writer
    predict_step = _PredictionLoop._predict_step

    def warn_once(self, message: str) -> None:
        """Warn, unless this message has been shown before."""
        self._warning_cache.warn(message)


class AutomaticOptimization(Renamed, _AutomaticOptimization):
    """Lightning's loop around one training step and its optimizer."""

    # whether a step only runs forwards, as stochastic weight averaging has it in its last epoch
    skips_backward: bool = alias("_skip_backward")

    make_closure = _AutomaticOptimization._make_closure


def steps_plainly(trainer: pl.Trainer) -> bool:
    """Return whether nothing stands between the first optimizer and its step: no wrapper, scaler or averager."""
    strategy = trainer.strategy
    # what Lightning steps: a user may have given it, and manual optimization hooks it
    wrapper = strategy._lightning_optimizers[0]
    return (
        wrapper._optimizer is strategy.optimizers[0]
        and wrapper._on_before_step is do_nothing_closure
        and wrapper._on_after_step is do_nothing_closure
        and getattr(trainer.precision_plugin, "scaler", None) is None
        and getattr(strategy, "_model_averager", None) is None  # DDP's, which averages after the step
    )
