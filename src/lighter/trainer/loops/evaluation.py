"""The loops of validation and test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytorch_lightning.loops.evaluation_loop import _EvaluationLoop  # private, as all of Lightning's loops are
from pytorch_lightning.loops.fetchers import _profile_nothing
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.utilities.exceptions import SIGTERMException

from lighter._lightning.access import is_sanity_check, takes_batch_idx
from lighter.trainer.loops.batches import plan_transfer
from lighter.trainer.loops.choice import choose_loop
from lighter.trainer.loops.hooks import find_hook, savers_last
from lighter.trainer.loops.step_log import PlainResults, StepLog
from lighter.trainer.resume.dataloaders import Loaders
from lighter.trainer.resume.epoch_results import metrics_of, shown


class StepPlan:
    """What is the same for all batches of a run of the loop, or until a callback comes or goes.

    Args:
        stage: how hooks and step call it: `validation`, `test` or `predict`.
        names_loader: whether they are told the index of the dataloader.
    """

    def __init__(self, trainer: Any, stage: str, *, names_loader: bool) -> None:
        module, strategy = trainer.lightning_module, trainer.strategy
        self.callbacks = list(trainer.callbacks)
        self.names_loader = names_loader
        self.transfer = plan_transfer(trainer)
        self.batch_start = find_hook(trainer, f"on_{stage}_batch_start")
        self.batch_end = find_hook(trainer, f"on_{stage}_batch_end")
        self._module, self._step_name = module, f"{stage}_step"
        self._takes_batch_idx = takes_batch_idx(getattr(module, self._step_name))
        is_direct = strategy.model is module and type(trainer.precision_plugin) is Precision
        self._owner = module if is_direct else strategy

    def step(self, args: tuple[Any, ...]) -> Any:
        """The user's step, through the wrapper of a strategy and the context of a precision where there are such."""
        state = vars(self._module)
        before, state["_current_fx_name"] = state["_current_fx_name"], self._step_name
        if not self._takes_batch_idx:
            args = (args[0], *args[2:])
        output = getattr(self._owner, self._step_name)(*args)
        state["_current_fx_name"] = before
        return output


class LeanEvaluationLoop(_EvaluationLoop):
    """Lightning's evaluation loop. Where `choose_loop` says so, it is Lightning's to the letter."""

    trainer: Any
    is_over = False  # whether all is measured, and only the last hooks are to come
    is_in_epoch = False  # between the hooks that begin and end an epoch
    metrics_before: Mapping[str, Any] = {}  # what the module's own had added up when a validation of a fit began
    shown_before: Mapping[str, Any] = {}  # the values that callbacks saw then
    attributes_before: Mapping[str, Any] = {}  # and what hooks had changed by then
    _batches_before: Mapping[int, int] | None = None
    _loaded_in: float = float("-inf")  # the epoch whose dataloaders those are of
    _counts_before: Mapping[str, Any] | None = None
    _plan: StepPlan | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._results = PlainResults(training=False)
        self._loaders = Loaders()

    def reset(self) -> None:
        """Begin to load batches; in a fit, what is drawn for them is a function of where it is."""
        fits = self.trainer.fit_loop
        self.trainer.stopping.begin(self._combined_loader)
        if self.trainer.state.fn == "fit" and self.trainer.exact_resume and self._combined_loader is not None:
            fits.switches.add_loaders("val", self._combined_loader.flattened)
        if self.trainer.state.fn == "fit" and fits.streams is not None and self._combined_loader is not None:
            fits.seed_validation()
            self._loaders.place = fits.place_of_validation()
            self._loaders.take(self._combined_loader.flattened)
        with self._loaders.iterated():
            super().reset()

    def on_run_start(self) -> None:
        """Begin: choose the loop, and plan its batches."""
        if self.trainer.state.fn == "fit":
            self._begin_in_fit()
        super().on_run_start()
        fetcher: Any = self._data_fetcher
        choice = choose_loop(self.trainer, fetcher)
        if self.trainer.state.fn != "fit":
            self.trainer.loop_choice = choice
        self._plan = None
        if choice.is_lean:
            in_fit, several = self.trainer.state.fn == "fit", self.num_dataloaders > 1
            fetcher._start_profiler = self._loaders.open if in_fit and several else _profile_nothing
            seed = self._end_fetch if several else self._seed_batch
            fetcher._stop_profiler = seed if in_fit else _profile_nothing
            self._make_plan()

    def _on_before_fetch(self) -> None:
        super()._on_before_fetch()
        self._loaders.open()

    def _on_after_fetch(self) -> None:
        super()._on_after_fetch()
        if self.trainer.state.fn == "fit":
            self._end_fetch()

    def _end_fetch(self) -> None:
        self._loaders.close()
        self._seed_batch()

    def _seed_batch(self) -> None:
        """A batch is loaded: what its step draws does not depend on who loaded it."""
        fetcher: Any = self._data_fetcher
        self.trainer.fit_loop.seed_validation(fetcher.fetched)

    def _begin_in_fit(self) -> None:
        fits = self.trainer.fit_loop
        fits.seed_validation()
        if fits.streams is not None:
            self.metrics_before = metrics_of(self.trainer.lightning_module)
            self.shown_before = shown(self.trainer._logger_connector, {})
            self.attributes_before = fits.switches.state(self.trainer, in_evaluation_mode=False)
        if self._batches_before is not None:
            every = self.trainer.reload_dataloaders_every_n_epochs
            if not every or self.trainer.current_epoch - self._loaded_in < every:
                self._seen_batches_per_dataloader.update(self._batches_before)
                self._last_val_dl_reload_epoch = self._loaded_in
            self._batches_before = None
        self._counts_before, self.is_over = self.counts(), False

    @property
    def is_run_again(self) -> bool:
        """Return whether a fit that goes on from here begins the validation that is running anew."""
        return bool(self.trainer.validating) and not self.is_over

    def counts(self) -> Mapping[str, Any]:
        """The steps of evaluations, by which their values are logged; of one that will be run again, those before it.

        `steps_seen` counts those that a module of ours logs, `batches` those that Lightning does, `progress` all.
        """
        if self.is_run_again and self._counts_before is not None:
            return self._counts_before
        steps_seen = getattr(self.trainer.lightning_module, "steps_seen", {})
        batches = self._batches_before or self._seen_batches_per_dataloader
        loaded_in = self._loaded_in
        if self._batches_before is None and self.trainer.reload_dataloaders_every_n_epochs:  # else they stay
            loaded_in = self._last_val_dl_reload_epoch
        progress = self.batch_progress.state_dict()
        return {"steps_seen": dict(steps_seen), "batches": dict(batches), "loaded_in": loaded_in, "progress": progress}

    def go_on_counting(self, counts: Mapping[str, Any]) -> None:
        """Count on from there. Lightning's count begins anew with the dataloaders, so it waits for those."""
        if counts["steps_seen"]:
            self.trainer.lightning_module.steps_seen = counts["steps_seen"]
        self._batches_before, self._loaded_in = counts["batches"], counts["loaded_in"]
        if "progress" in counts:  # not in checkpoints of earlier versions
            self.batch_progress.load_state_dict(counts["progress"])

    def reload_when_due(self) -> None:
        """Lightning has loaded the dataloaders for a progress bar; when they are made anew is as it was before."""
        self._last_val_dl_reload_epoch = self._loaded_in

    def _on_evaluation_epoch_start(self, *args: Any, **kwargs: Any) -> None:
        super()._on_evaluation_epoch_start(*args, **kwargs)
        self.is_in_epoch = True

    def _on_evaluation_epoch_end(self) -> None:
        self.is_in_epoch = False
        super()._on_evaluation_epoch_end()

    def _on_evaluation_end(self) -> None:  # Lightning's own calls it without arguments
        self.is_over = True
        self.metrics_before, self.shown_before, self.attributes_before = {}, {}, {}
        self._loaders.release()
        trainer = self.trainer
        if trainer.state.fn != "fit" or trainer.fit_loop.streams is None:
            super()._on_evaluation_end()
            return
        if self._plan is None:
            with savers_last(trainer, "on_validation_end"):
                super()._on_evaluation_end()
            return
        hook = find_hook(trainer, "on_validation_end", saves_last=True)
        if hook is not None:
            hook()
        trainer.strategy.on_validation_end()
        trainer._logger_connector.reset_results()

    def teardown(self) -> None:
        """The run is over, and so is its plan: it holds what does not pickle."""
        super().teardown()
        self._plan = None

    def _make_plan(self) -> StepPlan:
        stage = "test" if self.trainer.testing else "validation"
        self._plan = StepPlan(self.trainer, stage, names_loader=self._is_sequential and self.num_dataloaders > 1)
        self._log = StepLog(self.trainer, self._results)
        return self._plan

    def _evaluation_step(self, batch: Any, batch_idx: int, dataloader_idx: int, dataloader_iter: Any) -> None:
        if self._plan is None:
            super()._evaluation_step(batch, batch_idx, dataloader_idx, dataloader_iter)
        else:
            self._lean_step(self._plan, batch, batch_idx, dataloader_idx)
        if self.trainer.stopping.leaves_loader():
            raise StopIteration

    def _store_dataloader_outputs(self) -> None:
        self.trainer.stopping.agree_after_loader()
        super()._store_dataloader_outputs()

    def _lean_step(self, plan: StepPlan, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        trainer, progress = self.trainer, self.batch_progress
        if trainer.callbacks != plan.callbacks:
            plan = self._make_plan()
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
            self._has_run = True
            if has_step_values:
                trainer._logger_connector.update_eval_step_metrics(self._seen_batches_per_dataloader[dataloader_idx])
            self._seen_batches_per_dataloader[dataloader_idx] += 1
        if trainer.received_sigterm and not progress.is_last_batch:
            raise SIGTERMException
