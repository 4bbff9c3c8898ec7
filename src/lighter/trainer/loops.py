"""Puts our loops in the place of Lightning's."""

from __future__ import annotations

from typing import Any

from pytorch_lightning.loops.fit_loop import _FitLoop  # private, as all of Lightning's loops are
from pytorch_lightning.trainer.states import RunningStage, TrainerFn

from lighter.trainer.evaluation import LeanEvaluationLoop
from lighter.trainer.prediction import LeanPredictionLoop
from lighter.trainer.training import LeanTrainingEpochLoop


class FitLoop(_FitLoop):
    """Lightning's loop over epochs."""

    trainer: Any

    def _load_combined_loader_states(self) -> None:
        """The one moment between the dataloaders and their workers, which Lightning leaves nothing public at."""
        self.trainer.stopping.begin(self._combined_loader)
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
