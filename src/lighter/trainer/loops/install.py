"""Puts our loops in the place of Lightning's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_lightning.trainer.states import RunningStage, TrainerFn

from lighter._lightning.logged_values import LoggerConnector
from lighter.parts.metrics.arrays import keep_logged_arrays
from lighter.trainer.loops.evaluation import LeanEvaluationLoop
from lighter.trainer.loops.fit import LeanFitLoop
from lighter.trainer.loops.prediction import LeanPredictionLoop
from lighter.trainer.loops.training import LeanTrainingEpochLoop

if TYPE_CHECKING:
    from lighter.trainer import Trainer


def install_loops(trainer: Trainer) -> None:
    """Replace Lightning's loops, and what hands their values on. Checkpoints look the same."""
    LoggerConnector.install(trainer).keep = keep_logged_arrays
    replaced, inference_mode = trainer.fit_loop, trainer.predict_loop.inference_mode
    # what the constructor made of its arguments is in the loops that are replaced
    trainer.fit_loop = LeanFitLoop(trainer, replaced.min_epochs, replaced.max_epochs)
    trainer.fit_loop.epoch_loop = LeanTrainingEpochLoop(trainer, replaced.min_steps, replaced.max_steps)
    trainer.validate_loop, trainer.test_loop = (
        LeanEvaluationLoop(trainer, function, stage, verbose=True, inference_mode=inference_mode)
        for function, stage in (
            (TrainerFn.VALIDATING, RunningStage.VALIDATING),
            (TrainerFn.TESTING, RunningStage.TESTING),
        )
    )
    trainer.predict_loop = LeanPredictionLoop(trainer, inference_mode=inference_mode)
