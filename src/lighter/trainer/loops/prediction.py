"""The loop of prediction."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning.callbacks import BasePredictionWriter
from pytorch_lightning.loops.fetchers import _profile_nothing
from pytorch_lightning.loops.prediction_loop import _PredictionLoop  # private, as all of Lightning's loops are

from lighter.trainer.loops.batches import moved
from lighter.trainer.loops.choice import choose_loop
from lighter.trainer.loops.evaluation import StepPlan

CPU = torch.device("cpu")


class LeanPredictionLoop(_PredictionLoop):
    """Lightning's prediction loop. Where `choose_loop` says so, it is Lightning's to the letter."""

    trainer: Any
    _plan: StepPlan | None = None
    _has_writers = False

    def reset(self) -> None:
        """Before the dataloaders' workers start."""
        self.trainer.stopping.begin(self._combined_loader)
        super().reset()

    def on_run_start(self) -> None:
        """Begin: choose the loop, and plan its batches."""
        super().on_run_start()
        fetcher: Any = self._data_fetcher
        choice = self.trainer.loop_choice = choose_loop(self.trainer, fetcher)
        self._plan = None
        if choice.is_lean:
            fetcher._start_profiler = fetcher._stop_profiler = _profile_nothing
            self._make_plan()

    def teardown(self) -> None:
        """The run is over, and so is its plan: it holds what does not pickle."""
        super().teardown()
        self._plan = None

    def _make_plan(self) -> StepPlan:
        self._has_writers = any(isinstance(callback, BasePredictionWriter) for callback in self.trainer.callbacks)
        self._plan = StepPlan(self.trainer, "predict", names_loader=self.num_dataloaders > 1)
        return self._plan

    def _predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int, dataloader_iter: Any) -> None:
        if self._plan is None:
            super()._predict_step(batch, batch_idx, dataloader_idx, dataloader_iter)
        else:
            self._lean_step(self._plan, batch, batch_idx, dataloader_idx)
        self.trainer.stopping.after_prediction()

    def _lean_step(self, plan: StepPlan, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        progress = self.batch_progress
        if self.trainer.callbacks != plan.callbacks:
            plan = self._make_plan()
        total: Any = progress.total
        current: Any = progress.current
        batch = plan.transfer(batch, dataloader_idx)
        total.ready += 1
        current.ready += 1
        is_kept = self._store_data_for_prediction_writer(batch_idx, dataloader_idx) if self._has_writers else False
        args = (batch, batch_idx, dataloader_idx) if plan.names_loader else (batch, batch_idx)
        if plan.batch_start is not None:
            plan.batch_start(*args)
        total.started += 1
        current.started += 1
        predictions = plan.step(args)
        if predictions is None:
            self._warning_cache.warn("predict returned None, which may be meant")  # filters know how Lightning's begins
        total.processed += 1
        current.processed += 1
        if plan.batch_end is not None:
            plan.batch_end(predictions, *args)
        total.completed += 1
        current.completed += 1
        if self._return_predictions or is_kept:
            self._predictions[dataloader_idx].append(moved(predictions, CPU))
