"""Puts our loops in the place of Lightning's."""

from __future__ import annotations

from typing import Any

from pytorch_lightning.loops.fit_loop import _FitLoop  # private, as all of Lightning's loops are
from pytorch_lightning.trainer.states import RunningStage, TrainerFn

from lighter.trainer.evaluation import LeanEvaluationLoop
from lighter.trainer.prediction import LeanPredictionLoop
from lighter.trainer.training import LeanTrainingEpochLoop
from lighter.trainer.workers import let_workers_stay


class FitLoop(_FitLoop):
    """Lightning's loop over epochs, which tells the dataloaders' workers how a run is stopped."""

    def _load_combined_loader_states(self) -> None:
        """The one moment between the dataloaders and their workers, which Lightning leaves nothing public at."""
        let_workers_stay(self._combined_loader.flattened)  # type: ignore[union-attr]
        super()._load_combined_loader_states()


def install_loops(trainer: Any) -> None:
    """Replace Lightning's loops; checkpoints look the same."""
    replaced = trainer.fit_loop.epoch_loop
    trainer.fit_loop = FitLoop(trainer, trainer.fit_loop.min_epochs, trainer.fit_loop.max_epochs)
    trainer.fit_loop.epoch_loop = LeanTrainingEpochLoop(trainer, replaced.min_steps, replaced.max_steps)
    inference_mode = trainer.predict_loop.inference_mode
    trainer.validate_loop = LeanEvaluationLoop(
        trainer, TrainerFn.VALIDATING, RunningStage.VALIDATING, inference_mode=inference_mode
    )
    trainer.test_loop = LeanEvaluationLoop(
        trainer, TrainerFn.TESTING, RunningStage.TESTING, inference_mode=inference_mode
    )
    trainer.predict_loop = LeanPredictionLoop(trainer, inference_mode=inference_mode)
