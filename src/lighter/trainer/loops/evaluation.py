"""The loops of validation and test: batches in, logged values out; and the validation that a fit resumes after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytorch_lightning.trainer.states import RunningStage, TrainerFn
from pytorch_lightning.utilities.exceptions import SIGTERMException

from lighter._lightning.logged_values import ResultCollection, logger_connector
from lighter._lightning.loops import EvaluationLoop
from lighter._lightning.step_log import StepLog
from lighter._lightning.steps import is_sanity_check
from lighter.parts.plain_tensors import plain_tensor
from lighter.trainer.batch_indexing import BatchIndexing
from lighter.trainer.loops.choice import choose_loop
from lighter.trainer.loops.hooks import find_hook, savers_last
from lighter.trainer.loops.step_plan import StepPlan
from lighter.trainer.loops.step_view import StepView, plan_view
from lighter.trainer.resume.dataloaders import Loaders
from lighter.trainer.resume.epoch_results import metrics_of, shown

if TYPE_CHECKING:
    from lighter.trainer import Trainer


class LeanEvaluationLoop(EvaluationLoop):
    """Lightning's evaluation loop. Where `choose_loop` says so, it is Lightning's to the letter."""

    trainer: Trainer
    # whether all is measured, and only the last hooks are to come
    is_over = False
    # whether it is between the hooks that begin and end an epoch
    is_in_epoch = False
    # when a validation of a fit began: what the module's metrics had accumulated, the values that callbacks saw, and
    # the attributes that hooks had changed
    metrics_before: Mapping[str, Any] = {}
    shown_before: Mapping[str, Any] = {}
    attributes_before: Mapping[str, Any] = {}
    # of a checkpoint, until the dataloaders are made, with which Lightning's count begins anew
    _batches_to_restore: Mapping[int, int] | None = None
    # the epoch whose dataloaders those batches are of
    _loaded_in: float = float("-inf")
    _counts_before: Mapping[str, Any] | None = None
    _plan: StepPlan | None = None
    _view: StepView | None = None
    _log: StepLog
    _is_in_fit = _may_begin_loader = False

    def __init__(
        self, trainer: Trainer, trainer_fn: TrainerFn, stage: RunningStage, *, verbose: bool, inference_mode: bool
    ) -> None:
        super().__init__(trainer, trainer_fn, stage, verbose=verbose, inference_mode=inference_mode)
        self.results = ResultCollection(training=False, convert=plain_tensor)
        self._loaders, self._batches = Loaders(), BatchIndexing()

    def reset(self) -> None:
        """Begin to load batches."""
        trainer, fit, combined = self.trainer, self.trainer.fit_loop, self.combined_loader
        trainer.stopping.begin(combined)
        if trainer.state.fn == "fit" and trainer.exact_resume and combined is not None:
            fit.attribute_changes.add_loaders("val", combined.flattened)
            if fit.streams is not None:
                # what is drawn for the batches is a function of where the fit is
                fit.numbers.seed_validation()
                self._loaders.place = fit.numbers.place_of_validation()
                self._loaders.take(combined.flattened)
        with self._loaders.iterated(), self._batches.begun(combined):
            super().reset()

    def on_run_start(self) -> None:
        self._is_in_fit = self.trainer.state.fn == "fit"
        if self._is_in_fit:
            self._begin_in_fit()
        super().on_run_start()
        choice = choose_loop(self.trainer, self.data_fetcher)
        # in a fit, the choice that users are told is that of the training
        if not self._is_in_fit:
            self.trainer.loop_choice = choice
        self._plan = self._make_plan() if choice.is_lean else None
        # one dataloader begins in `reset`; a further one within the fetch of its first batch
        self._may_begin_loader = not choice.is_lean or self.num_dataloaders > 1

    def _begin_in_fit(self) -> None:
        trainer, fit = self.trainer, self.trainer.fit_loop
        if fit.streams is not None:
            fit.numbers.seed_validation()
            self.metrics_before = metrics_of(trainer.lightning_module)
            self.shown_before = shown(logger_connector(trainer), {})
            self.attributes_before = fit.attribute_changes.state(trainer, in_evaluation_mode=False)
        if self._batches_to_restore is not None:
            # dataloaders that are to be made anew count from zero
            every = trainer.reload_dataloaders_every_n_epochs
            if not every or trainer.current_epoch - self._loaded_in < every:
                self.batches_logged.update(self._batches_to_restore)
                self.loaded_in = self._loaded_in
            self._batches_to_restore = None
        self._counts_before, self.is_over = self.counts(), False

    def _make_plan(self) -> StepPlan:
        self._log = StepLog(self.trainer, self.results)
        stage, progress = "test" if self.trainer.testing else "validation", self.batch_progress
        self._view = plan_view(
            self.trainer, self.results, lambda: progress.current.ready - 1, f"{stage}_step", self._view
        )
        return StepPlan(self.trainer, stage, self._view, names_loader=self.is_sequential and self.num_dataloaders > 1)

    def before_fetch(self) -> None:
        """Prepare for a dataloader that begins anew; the lean loop has no profiler."""
        if self._plan is None:
            super().before_fetch()
        if self._may_begin_loader:
            self._loaders.open()
            self._batches.open(self.combined_loader)

    def after_fetch(self) -> None:
        """Seed what the step draws; the lean loop has no profiler."""
        if self._plan is None:
            super().after_fetch()
        self._batches.close()
        if self._is_in_fit:
            self._loaders.close()
            # once the batch is there: what this process drew to load it is not to matter
            self.trainer.fit_loop.numbers.seed_validation(self.data_fetcher.fetched)

    def evaluation_step(
        self, batch: Any, batch_idx: int, dataloader_idx: int, dataloader_iter: Iterator | None
    ) -> None:
        """Run a batch.

        Raises:
            StopIteration: one of several processes was told to stop; the rest of the batches is left out.
            SIGTERMException: the only process was.
        """
        if self._plan is None:
            super().evaluation_step(batch, batch_idx, dataloader_idx, dataloader_iter)
        else:
            self._lean_step(self._plan, batch, batch_idx, dataloader_idx)
        if self.trainer.stopping.leaves_loader():
            raise StopIteration

    def end_dataloader(self) -> None:
        # where all processes meet: one may have more batches than another
        self.trainer.stopping.agree_after_loader()
        super().end_dataloader()

    def _lean_step(self, plan: StepPlan, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        trainer, progress = self.trainer, self.batch_progress
        # a callback may bring another, or leave, at any batch
        if trainer.callbacks != plan.callbacks:
            plan = self._plan = self._make_plan()
        total: Any = progress.total
        current: Any = progress.current
        batch = plan.transfer(batch, dataloader_idx)
        args = (batch, batch_idx, dataloader_idx) if plan.names_loader else (batch, batch_idx)
        total.ready += 1
        current.ready += 1
        self._log.begin(batch, dataloader_idx if plan.names_loader else None)
        if plan.batch_start is not None:
            plan.batch_start(*args)
        total.started += 1
        current.started += 1
        output = plan.step(args)
        total.processed += 1
        current.processed += 1
        if plan.batch_end is not None:
            plan.batch_end(output, *args)
        has_step_values = self._log.end()
        total.completed += 1
        current.completed += 1
        if not is_sanity_check(trainer):
            if not self.has_run:
                self.has_run = True
            if has_step_values:
                logger_connector(trainer).update_eval_step_metrics(self.batches_logged[dataloader_idx])
            self.batches_logged[dataloader_idx] += 1
        if trainer.received_sigterm and not progress.is_last_batch:
            raise SIGTERMException

    @property
    def is_run_again(self) -> bool:
        """Return whether a fit that resumes from here repeats the validation that is running."""
        return bool(self.trainer.validating) and not self.is_over

    def counts(self) -> Mapping[str, Any]:
        """Return the steps of evaluations, by which their values are logged; those before one that is run again."""
        if self.is_run_again and self._counts_before is not None:
            return self._counts_before
        # `steps_seen` counts those that a module of ours logs, `batches` those that Lightning does, `progress` all
        steps_seen = getattr(self.trainer.lightning_module, "steps_seen", {})
        batches = self._batches_to_restore or self.batches_logged
        reloads = self._batches_to_restore is None and self.trainer.reload_dataloaders_every_n_epochs  # else they stay
        loaded_in = self.loaded_in if reloads else self._loaded_in
        progress = self.batch_progress.state_dict()
        return {"steps_seen": dict(steps_seen), "batches": dict(batches), "loaded_in": loaded_in, "progress": progress}

    def resume_counts(self, counts: Mapping[str, Any]) -> None:
        """Continue these counts."""
        if counts["steps_seen"]:
            self.trainer.lightning_module.steps_seen = counts["steps_seen"]
        # Lightning's begin anew with the dataloaders, so these wait for those
        self._batches_to_restore, self._loaded_in = counts["batches"], counts["loaded_in"]
        if "progress" in counts:  # not in checkpoints of earlier versions
            self.batch_progress.load_state_dict(counts["progress"])

    def reload_when_due(self) -> None:
        """Have the dataloaders made anew in the epoch in which that is due."""
        # Lightning loads them before `on_train_start` for a progress bar, and notes that epoch
        self.loaded_in = self._loaded_in

    def begin_epoch(self) -> None:
        super().begin_epoch()
        self.is_in_epoch = True

    def end_epoch(self) -> None:
        self.is_in_epoch = False
        super().end_epoch()

    def end_evaluation(self) -> None:
        """Call the last hooks; in a fit that resumes exactly, those that save come after the module's."""
        self.is_over = True
        # a checkpoint from here on does not repeat the validation, and the values need memory
        self.metrics_before, self.shown_before, self.attributes_before = {}, {}, {}
        self._loaders.release()
        trainer = self.trainer
        if trainer.state.fn != "fit" or trainer.fit_loop.streams is None:
            super().end_evaluation()
        elif self._plan is None:
            with savers_last(trainer, "on_validation_end"):
                super().end_evaluation()
        else:
            hook = find_hook(trainer, "on_validation_end", saves_last=True)
            if hook is not None:
                hook()
            trainer.strategy.on_validation_end()
            logger_connector(trainer).reset_results()

    def teardown(self) -> None:
        """Drop the plan with the rest of the run: it holds objects that do not pickle."""
        super().teardown()
        self._plan = self._view = None
