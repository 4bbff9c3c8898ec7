"""The loop of prediction: batches in, predictions out to writers, callbacks and the caller of `predict`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning.callbacks import BasePredictionWriter

from lighter._lightning.loops import PredictionLoop
from lighter.trainer.batch_indexing import BatchIndexing
from lighter.trainer.loops.batches import moved
from lighter.trainer.loops.choice import choose_loop
from lighter.trainer.loops.step_plan import StepPlan

if TYPE_CHECKING:
    from lighter.trainer import Trainer

CPU = torch.device("cpu")


class LeanPredictionLoop(PredictionLoop):
    """Lightning's prediction loop. Where `choose_loop` says so, it is Lightning's to the letter."""

    trainer: Trainer
    _plan: StepPlan | None = None
    _has_writers = False

    def __init__(self, trainer: Trainer, *, inference_mode: bool) -> None:
        super().__init__(trainer, inference_mode=inference_mode)
        self._batches = BatchIndexing()

    def reset(self) -> None:
        """Prepare for the dataloaders, whose workers start here."""
        self.trainer.stopping.begin(self.combined_loader)
        with self._batches.begun(self.combined_loader):
            super().reset()

    def on_run_start(self) -> None:
        super().on_run_start()
        choice = self.trainer.loop_choice = choose_loop(self.trainer, self.data_fetcher)
        self._plan = self._make_plan() if choice.is_lean else None

    def teardown(self) -> None:
        """Drop the plan with the rest of the run: it holds objects that do not pickle."""
        super().teardown()
        self._plan = None

    def _make_plan(self) -> StepPlan:
        self._has_writers = any(isinstance(callback, BasePredictionWriter) for callback in self.trainer.callbacks)
        return StepPlan(self.trainer, "predict", names_loader=self.num_dataloaders > 1)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int, dataloader_iter: Iterator | None) -> None:
        """Run a batch, then stop if a signal came."""
        if self._plan is None:
            super().predict_step(batch, batch_idx, dataloader_idx, dataloader_iter)
        else:
            self._lean_step(self._plan, batch, batch_idx, dataloader_idx)
        self.trainer.stopping.after_prediction()

    def _lean_step(self, plan: StepPlan, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        progress = self.batch_progress
        if self.trainer.callbacks != plan.callbacks:
            plan = self._plan = self._make_plan()
        total: Any = progress.total
        current: Any = progress.current
        batch = plan.transfer(batch, dataloader_idx)
        total.ready += 1
        current.ready += 1
        is_kept = self.note_samples(batch_idx, dataloader_idx) if self._has_writers else False
        args = (batch, batch_idx, dataloader_idx) if plan.names_loader else (batch, batch_idx)
        if plan.batch_start is not None:
            plan.batch_start(*args)
        total.started += 1
        current.started += 1
        predictions = plan.step(args)
        if predictions is None:
            # filters match the start of Lightning's text
            self.warn_once("predict returned None, which may be meant")
        total.processed += 1
        current.processed += 1
        if plan.batch_end is not None:
            plan.batch_end(predictions, *args)
        total.completed += 1
        current.completed += 1
        if self.keeps_all or is_kept:
            # on the CPU, as Lightning keeps them: all of a dataset may not fit into a GPU
            self.kept[dataloader_idx].append(moved(predictions, CPU))

    def before_fetch(self) -> None:
        """Prepare for a dataloader that begins; the lean loop has no profiler."""
        if self._plan is None:
            super().before_fetch()
        # the first one begins in `reset`, the others within the fetch of their first batch
        if self.num_dataloaders > 1:
            self._batches.open(self.combined_loader)

    def after_fetch(self) -> None:
        if self._plan is None:
            super().after_fetch()
        self._batches.close()
