"""Puts our loops in the place of Lightning's."""

from __future__ import annotations

from typing import Any

from pytorch_lightning.trainer.states import RunningStage, TrainerFn

from lighter.trainer.loops.evaluation import LeanEvaluationLoop
from lighter.trainer.loops.fit import LeanFitLoop
from lighter.trainer.loops.prediction import LeanPredictionLoop
from lighter.trainer.loops.training import LeanTrainingEpochLoop


def install_loops(trainer: Any) -> None:
    """Replace Lightning's loops. Checkpoints look the same."""
    replaced = trainer.fit_loop
    trainer.fit_loop = LeanFitLoop(trainer, replaced.min_epochs, replaced.max_epochs)
    trainer.fit_loop.epoch_loop = LeanTrainingEpochLoop(trainer, replaced.min_steps, replaced.max_steps)
    inference_mode = trainer.predict_loop.inference_mode
    trainer.validate_loop = LeanEvaluationLoop(
        trainer, TrainerFn.VALIDATING, RunningStage.VALIDATING, inference_mode=inference_mode
    )
    trainer.test_loop = LeanEvaluationLoop(
        trainer, TrainerFn.TESTING, RunningStage.TESTING, inference_mode=inference_mode
    )
    trainer.predict_loop = LeanPredictionLoop(trainer, inference_mode=inference_mode)
