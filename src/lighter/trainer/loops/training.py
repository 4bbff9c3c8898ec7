"""The training loop: an epoch's batches, with what is the same for all of them found once."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Any, cast

from pytorch_lightning.loops.fetchers import _profile_nothing
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop  # private, as all of Lightning's loops are
from pytorch_lightning.trainer.states import RunningStage, TrainerFn
from pytorch_lightning.utilities.exceptions import SIGTERMException
from pytorch_lightning.utilities.model_helpers import is_overridden

from lighter._lightning.access import takes_batch_idx
from lighter.trainer.loops.batches import plan_transfer
from lighter.trainer.loops.choice import choose_loop
from lighter.trainer.loops.evaluation import LeanEvaluationLoop
from lighter.trainer.loops.fetching import plan_fetch
from lighter.trainer.loops.hooks import find_hook, savers_last
from lighter.trainer.loops.manual import ManualOptimization
from lighter.trainer.loops.optimization import LeanOptimization
from lighter.trainer.loops.step_log import PlainResults, StepLog
from lighter.trainer.resume.dataloaders import FROM_START
from lighter.trainer.resume.position import BATCH_END, VALIDATED

log = logging.getLogger("lighter")


class Plan:
    """What is the same for all batches of an epoch, or until a callback comes or goes."""

    def __init__(self, trainer: Any, results: Any, fetcher: Any) -> None:
        self.callbacks = list(trainer.callbacks)
        self.fetch = plan_fetch(fetcher)
        self.log = StepLog(trainer, results)
        self.transfer = plan_transfer(trainer)
        self.batch_start = find_hook(trainer, "on_train_batch_start")
        self.batch_end = find_hook(trainer, "on_train_batch_end", saves_last=trainer.exact_resume)
        self.takes_batch_idx = takes_batch_idx(trainer.lightning_module.training_step)
        source = trainer.fit_loop.epoch_loop.val_loop._data_source  # private, as `trainer.enable_validation` reads it
        self.can_validate = source.is_defined() and is_overridden("validation_step", trainer.lightning_module)
        self.is_one_of_several = trainer.world_size > 1


class LeanTrainingEpochLoop(_TrainingEpochLoop):
    """Lightning's loop over an epoch's batches. Where `choose_loop` says so, it is Lightning's to the letter."""

    trainer: Any
    automatic_optimization: LeanOptimization

    def __init__(self, trainer: Any, min_steps: int | None, max_steps: int) -> None:
        super().__init__(trainer, min_steps=min_steps, max_steps=max_steps)
        self.automatic_optimization = LeanOptimization(trainer)
        self.manual_optimization = ManualOptimization(trainer)
        self.val_loop = LeanEvaluationLoop(
            trainer, TrainerFn.FITTING, RunningStage.VALIDATING, verbose=False, inference_mode=False
        )
        self._results = PlainResults(training=True)
        self._plan: Plan | None = None

    def reset(self) -> None:
        """Begin an epoch's counters anew, unless its batches go on."""
        saved = self.trainer.fit_loop.goes_on
        if saved is None or not saved.is_within:
            super().reset()

    def on_run_start(self, data_fetcher: Any) -> None:
        """Begin an epoch, or go on with it: choose the loop, and plan its batches."""
        fits = self.trainer.fit_loop
        fits.seed_order()
        if self.trainer.current_epoch > 0 and not fits.is_resuming and not self.restarting:  # as Lightning asks itself
            fits.loaders.begin_epoch()
        with fits.loaders.iterated():
            super().on_run_start(data_fetcher)
        self.trainer.finite_check.begin_epoch()
        fits.loaders.note(data_fetcher.fetched)
        saved = fits.take_up_batches()
        choice = choose_loop(self.trainer, data_fetcher)
        if choice != self.trainer.loop_choice and not choice.is_lean:
            log.info("Lightning's own training loop runs: %s", choice.reason)
        self.trainer.loop_choice = choice
        self._plan = None
        self.automatic_optimization.forget()
        if choice.is_lean:
            cycles = fits.loaders.replays
            data_fetcher._start_profiler = fits.loaders.open if cycles else _profile_nothing
            begin_step = fits.end_fetch if cycles else fits.begin_step
            data_fetcher._stop_profiler = _profile_nothing if fits.streams is None else begin_step
            self._make_plan(data_fetcher)
        if saved is not None:
            self._finish_batch(saved, data_fetcher)
            if fits.loaders.choice.name == FROM_START and not self.batch_progress.is_last_batch:
                self._begin_again(data_fetcher)

    def run(self, data_fetcher: Any) -> None:
        """Train for an epoch."""
        super().run(data_fetcher)
        self.trainer.finite_check.end_epoch()

    def _on_before_fetch(self) -> None:
        super()._on_before_fetch()
        self.trainer.fit_loop.loaders.open()

    def _on_after_fetch(self) -> None:
        super()._on_after_fetch()
        self.trainer.fit_loop.end_fetch()

    def _finish_batch(self, saved: Any, data_fetcher: Any) -> None:
        """Do what was still to be done when a checkpoint was saved after a batch."""
        fits, val_loop = self.trainer.fit_loop, cast(LeanEvaluationLoop, self.val_loop)
        if fits.loaders.replay(data_fetcher, self.batch_progress.current.ready):
            fits.set_back_datasets(saved)
        if saved.place == BATCH_END:
            fits.save_the_rest("on_train_batch_end", None, None, self.batch_idx)
            self.trainer._logger_connector.log_metrics(fits.row_to_log(saved))
        if saved.place == VALIDATED:
            self.trainer.validating = val_loop.is_over = True
            fits.save_the_rest("on_validation_end")
            self.trainer.training = True
        if saved.place in (BATCH_END, VALIDATED):
            self._skip_next_val = saved.place == VALIDATED
            self.on_advance_end(data_fetcher)

    def _begin_again(self, data_fetcher: Any) -> None:
        """The epoch's batches come again from the first: those that were trained before do not count among them."""
        current: Any = self.batch_progress.current
        data_fetcher.fetched -= current.ready
        current.reset()
        self.trainer.lightning_module.zero_grad()  # theirs add up anew

    def _make_plan(self, data_fetcher: Any) -> Plan:
        self._plan = plan = Plan(self.trainer, self._results, data_fetcher)
        self.automatic_optimization.plan(outputs_are_read=plan.batch_end is not None)
        return plan

    def advance(self, data_fetcher: Any) -> None:
        """Train on a batch.

        Raises:
            StopIteration: there is none left, or `on_train_batch_start` returned -1.
        """
        plan = self._plan
        if plan is None or self._restarting:  # the first batch after a restart decides what was done before
            with savers_last(self.trainer, "on_train_batch_end"):
                super().advance(data_fetcher)
            return
        trainer, progress = self.trainer, self.batch_progress
        if trainer.callbacks != plan.callbacks:
            plan = self._make_plan(data_fetcher)
        total: Any = progress.total
        current: Any = progress.current
        if self.val_loop._restarting:
            self.val_loop.restarting = False
        if plan.is_one_of_several:
            trainer.stopping.agree()

        batch = plan.fetch()
        batch_idx = current.ready
        progress.is_last_batch = data_fetcher.done
        batch = plan.transfer(batch, 0)
        total.ready += 1
        current.ready += 1
        plan.log.begin(batch)
        outputs = self._train(plan, batch, batch_idx)
        if trainer.callbacks != plan.callbacks:
            plan = self._make_plan(data_fetcher)
        if plan.batch_end is not None:
            plan.batch_end(outputs, batch, batch_idx)
        has_step_values = plan.log.end()
        total.completed += 1
        current.completed += 1
        if has_step_values:
            trainer._logger_connector.update_train_step_metrics()

    def _train(self, plan: Plan, batch: Any, batch_idx: int) -> Any:
        """Everything between a batch that is on its device and `on_train_batch_end`."""
        trainer, progress = self.trainer, self.batch_progress
        outputs, skips = None, False
        if batch is None:
            # filters know how Lightning's begins
            self._warning_cache.warn("train_dataloader yielded None. No step gets to see it")
        else:
            skips = plan.batch_start is not None and plan.batch_start(batch, batch_idx) == -1
            if skips:
                progress.increment_by(0, is_last_batch=True)
            else:
                progress.total.started += 1  # type: ignore[attr-defined]
                progress.current.started += 1  # type: ignore[attr-defined]
                kwargs: OrderedDict[str, Any] = OrderedDict(batch=batch)
                if plan.takes_batch_idx:
                    kwargs["batch_idx"] = batch_idx
                if trainer.lightning_module.automatic_optimization:
                    outputs = self.automatic_optimization.run(trainer.optimizers[0], batch_idx, kwargs)
                else:
                    outputs = self.manual_optimization.run(kwargs)
        progress.total.processed += 1  # type: ignore[attr-defined]
        progress.current.processed += 1  # type: ignore[attr-defined]
        if trainer.lr_scheduler_configs:
            self.update_lr_schedulers("step", update_plateau_schedulers=False)
            if self._num_ready_batches_reached():
                self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        if skips:
            raise StopIteration
        return outputs

    def on_advance_end(self, data_fetcher: Any) -> None:
        """Validate, if it is time, and see whether training is over."""
        if self._plan is None or self._skip_next_val or self._should_check_val_fx(data_fetcher):
            super().on_advance_end(data_fetcher)
            return
        trainer = self.trainer
        if trainer.lr_scheduler_configs:
            self.update_lr_schedulers("step", update_plateau_schedulers=True)
        accumulates = self._should_accumulate()
        if not accumulates:
            self._batches_that_stepped += 1
        if trainer.should_stop:
            self._save_loggers_on_train_batch_end()
        if trainer.received_sigterm and not accumulates and not self._is_training_done:
            raise SIGTERMException

    @property
    def done(self) -> bool:
        """Whether the epoch is over. Lightning counts the steps of all optimizers for this, twice a step."""
        is_endless = self.max_steps == -1 and not self.trainer.should_stop
        if self._plan is None or not is_endless or self._restarting:
            return bool(super().done)
        return self._num_ready_batches_reached()

    def _broadcast_sigterm_tensor(self) -> None:
        """Where Lightning's own loop asks whether the first process was told to stop, at every step, all agree."""
        self.trainer.stopping.agree()

    def _should_accumulate(self) -> bool:
        return self.trainer.accumulate_grad_batches != 1 and super()._should_accumulate()

    def _should_check_val_epoch(self) -> bool:
        """Lightning's own looks up at every step whether there is a `validation_step`, and data for it."""
        if self._plan is None:
            return bool(super()._should_check_val_epoch())
        every = self.trainer.check_val_every_n_epoch
        in_this_epoch = every is None or (self.trainer.current_epoch + 1) % every == 0
        return self._plan.can_validate and self.trainer.limit_val_batches > 0 and in_this_epoch

    def teardown(self) -> None:
        """The run is over, and so is its plan."""
        super().teardown()
        self._plan = None
        self.automatic_optimization.forget()
        self.trainer.finite_check.end_fit()
