"""The training loop: an epoch's batches in, steps of the optimizer and logged values out."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytorch_lightning.trainer.states import RunningStage, TrainerFn
from pytorch_lightning.utilities.model_helpers import is_overridden

from lighter._lightning.fetchers import DataFetcher, plan_fetch
from lighter._lightning.logged_values import ResultCollection, logger_connector
from lighter._lightning.loops import TrainingEpochLoop
from lighter._lightning.step_log import StepLog
from lighter._lightning.steps import takes_batch_idx
from lighter.parts.plain_tensors import plain_tensor
from lighter.trainer.loops.batches import plan_transfer
from lighter.trainer.loops.choice import choose_loop
from lighter.trainer.loops.evaluation import LeanEvaluationLoop
from lighter.trainer.loops.hooks import find_hook, savers_last
from lighter.trainer.loops.manual import ManualOptimization
from lighter.trainer.loops.optimization import LeanOptimization
from lighter.trainer.loops.step_view import StepView, plan_view
from lighter.trainer.resume.dataloaders import FROM_START
from lighter.trainer.resume.position import BATCH_END, VALIDATED

if TYPE_CHECKING:
    from lighter.trainer import Trainer
    from lighter.trainer.loops.fit import LeanFitLoop

log = logging.getLogger("lighter")


class Plan:
    """The hooks, transfer and fetch of a batch, found once an epoch, or again when a callback comes or goes."""

    def __init__(self, trainer: Trainer, results: ResultCollection, fetcher: DataFetcher) -> None:
        fit: LeanFitLoop = trainer.fit_loop
        self.callbacks = list(trainer.callbacks)
        # several dataloaders: one that is over begins anew within a fetch
        self.fetch = plan_fetch(fetcher, fit.end_fetch if fit.loaders.replays else fit.numbers.begin_step)
        self.log = StepLog(trainer, results)
        self.transfer = plan_transfer(trainer)
        self.batch_start = find_hook(trainer, "on_train_batch_start")
        self.batch_end = find_hook(trainer, "on_train_batch_end", saves_last=trainer.exact_resume)
        self.takes_batch_idx = takes_batch_idx(trainer.lightning_module.training_step)
        self.is_one_of_several = trainer.world_size > 1


class LeanTrainingEpochLoop(TrainingEpochLoop):
    """Lightning's loop over an epoch's batches. Where `choose_loop` says so, it is Lightning's to the letter.

    A batch goes through `advance`: it is fetched (`plan.fetch`), moved to the device (`plan.transfer`), trained
    (`_train`, which runs `automatic_optimization` or `manual_optimization`), handed to the hooks, and logged.
    """

    trainer: Trainer
    automatic_optimization: LeanOptimization
    manual_optimization: ManualOptimization
    val_loop: LeanEvaluationLoop

    def __init__(self, trainer: Trainer, min_steps: int | None, max_steps: int) -> None:
        super().__init__(trainer, min_steps=min_steps, max_steps=max_steps)
        self.automatic_optimization = LeanOptimization(trainer)
        self.manual_optimization = ManualOptimization(trainer)
        self.val_loop = LeanEvaluationLoop(
            trainer, TrainerFn.FITTING, RunningStage.VALIDATING, verbose=False, inference_mode=False
        )
        self.results = ResultCollection(training=True, convert=plain_tensor)
        self._plan: Plan | None = None
        self._view: StepView | None = None

    def reset(self) -> None:
        saved = self.trainer.fit_loop.resume_state
        # an epoch that resumes continues its counters
        if saved is None or not saved.is_within:
            super().reset()

    def on_run_start(self, data_fetcher: DataFetcher) -> None:
        """Begin an epoch, or resume it: choose the loop, and plan its batches."""
        trainer, fit = self.trainer, self.trainer.fit_loop
        fit.numbers.seed_order()
        if trainer.current_epoch > 0 and not fit.is_resuming and not self.restarting:  # as Lightning asks itself
            fit.loaders.begin_epoch()
        with fit.loaders.iterated(), fit.batches.begun(fit.combined_loader):
            super().on_run_start(data_fetcher)
        trainer.finite_check.begin_epoch()
        # Lightning may have fetched a batch ahead, when the iteration began
        fit.loaders.note(data_fetcher.fetched)
        resumed = fit.take_up_batches()
        choice = choose_loop(trainer, data_fetcher)
        if choice != trainer.loop_choice and not choice.is_lean:
            log.info("Lightning's own training loop runs: %s", choice.reason)
        trainer.loop_choice = choice
        self._forget_plan()
        if choice.is_lean:
            self._make_plan(data_fetcher)
        if resumed is not None:
            self._finish_batch(*resumed, data_fetcher)
            if fit.loaders.choice.name == FROM_START and not self.batch_progress.is_last_batch:
                self._begin_again(data_fetcher)

    def run(self, data_fetcher: DataFetcher) -> None:
        super().run(data_fetcher)
        self.trainer.finite_check.end_epoch()

    def before_fetch(self) -> None:
        """Prepare for a dataloader that begins anew; the lean loop has no profiler."""
        if self._plan is None:
            super().before_fetch()
        self.trainer.fit_loop.begin_fetch()

    def after_fetch(self) -> None:
        """Seed what the step draws; the lean loop has no profiler."""
        if self._plan is None:
            super().after_fetch()
        self.trainer.fit_loop.end_fetch()

    def _finish_batch(self, place: str, process: Mapping[str, Any], data_fetcher: DataFetcher) -> None:
        """Do what was still to be done when a checkpoint was saved after a batch, at a `place` of `resume.position`."""
        # `process` is empty where the checkpoint is of another number of processes
        trainer, fit = self.trainer, self.trainer.fit_loop
        if fit.loaders.replay(data_fetcher, self.batch_progress.current.ready):
            fit.changes.restore_datasets(process.get("switches", {}))
        if place == BATCH_END:
            fit.save_the_rest("on_train_batch_end", None, None, self.batch_idx)
            logger_connector(trainer).log_metrics(process.get("row", {}))
        if place == VALIDATED:
            # callbacks save as they would in that hook, and ask the trainer what runs
            trainer.validating = self.val_loop.is_over = True
            fit.save_the_rest("on_validation_end")
            trainer.training = True
        if place in (BATCH_END, VALIDATED):
            self.skips_next_validation = place == VALIDATED
            self.on_advance_end(data_fetcher)

    def _begin_again(self, data_fetcher: DataFetcher) -> None:
        """Load the epoch's batches from the first."""
        # those that were trained before do not count among them
        current = self.batch_progress.current
        data_fetcher.fetched -= current.ready
        current.reset()
        # their gradients add up anew
        self.trainer.lightning_module.zero_grad()

    def _make_plan(self, data_fetcher: DataFetcher) -> Plan:
        self._plan = plan = Plan(self.trainer, self.results, data_fetcher)
        self._view = plan_view(self.trainer, self.results, lambda: self.batch_idx, "training_step", self._view)
        module = self.trainer.lightning_module
        self.may_validate = self.has_validation_data() and is_overridden("validation_step", module)
        self.automatic_optimization.plan(self._view, outputs_are_read=plan.batch_end is not None)
        self.manual_optimization.view = self._view
        return plan

    def _forget_plan(self) -> None:
        self._plan = self.may_validate = None
        self.automatic_optimization.forget()
        self.manual_optimization.view = None

    def advance(self, data_fetcher: DataFetcher) -> None:
        """Train on a batch.

        Raises:
            StopIteration: there is none left, or `on_train_batch_start` returned -1.
        """
        plan = self._plan
        if plan is None or self.is_restarting:  # the first batch after a restart decides what was done before
            with savers_last(self.trainer, "on_train_batch_end"):
                super().advance(data_fetcher)
            return
        trainer, progress = self.trainer, self.batch_progress
        # a callback may bring another, or leave, at any batch
        if trainer.callbacks != plan.callbacks:
            plan = self._make_plan(data_fetcher)
        total: Any = progress.total
        current: Any = progress.current
        if self.val_loop.is_restarting:
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
            logger_connector(trainer).update_train_step_metrics()

    def _train(self, plan: Plan, batch: Any, batch_idx: int) -> Mapping[str, Any] | None:
        """Run all between a batch's transfer and `on_train_batch_end`. Returns the outputs of the training step."""
        trainer, progress = self.trainer, self.batch_progress
        total: Any = progress.total
        current: Any = progress.current
        outputs, skips = None, False
        if batch is None:
            # filters match the start of Lightning's text
            self.warn_once("train_dataloader yielded None. No step gets to see it")
        else:
            skips = plan.batch_start is not None and plan.batch_start(batch, batch_idx) == -1
            if skips:
                progress.increment_by(0, is_last_batch=True)
            else:
                total.started += 1
                current.started += 1
                kwargs: OrderedDict[str, Any] = OrderedDict(batch=batch)
                if plan.takes_batch_idx:
                    kwargs["batch_idx"] = batch_idx
                if trainer.lightning_module.automatic_optimization:
                    outputs = self.automatic_optimization.run(trainer.optimizers[0], batch_idx, kwargs)
                else:
                    outputs = self.manual_optimization.run(kwargs)
        total.processed += 1
        current.processed += 1
        if trainer.lr_scheduler_configs:
            self.update_lr_schedulers("step", update_plateau_schedulers=False)
            if self.is_last_batch():
                self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        # here, as in Lightning: the schedulers step after a batch that was skipped, too
        if skips:
            raise StopIteration
        return outputs

    def on_advance_end(self, data_fetcher: DataFetcher) -> None:
        """Validate, if it is time, and see whether training is over."""
        if self._plan is None or self.skips_next_validation or self.is_validation_due(data_fetcher):
            logger_connector(self.trainer).read_step()  # a validation has other values
            super().on_advance_end(data_fetcher)
        else:
            if self.trainer.lr_scheduler_configs:
                self.update_lr_schedulers("step", update_plateau_schedulers=True)
            self.finish_batch()
        pause = self.trainer.stopping.pause
        if pause is not None and not self.is_training_done and not self.accumulates():
            pause.after_batch(self.trainer)

    @property
    def done(self) -> bool:
        """True when the epoch is over."""
        # Lightning counts the steps of all optimizers for this, twice a step
        is_endless = self.max_steps == -1 and not self.trainer.should_stop
        if self._plan is None or not is_endless or self.is_restarting:
            return bool(super().done)
        return self.is_last_batch()

    def agree_on_stopping(self) -> None:
        """Let all processes agree on stopping."""
        # in place of Lightning's own exchange, which tells the others only what the first process was told
        self.trainer.stopping.agree()

    def teardown(self) -> None:
        """Drop the plan with the rest of the run: it holds objects that do not pickle."""
        super().teardown()
        self._forget_plan()
        self._view = None
        self.trainer.finite_check.end_fit()
