"""Automatic and manual optimization as Lightning's loops run them."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.core.optimizer import do_nothing_closure
from pytorch_lightning.loops.optimization.automatic import _AutomaticOptimization
from pytorch_lightning.loops.optimization.manual import _ManualOptimization

from lighter._lightning.aliases import Renamed, alias

ManualOptimization = _ManualOptimization


class AutomaticOptimization(Renamed, _AutomaticOptimization):
    """Lightning's loop around one training step and its optimizer.

    Attributes:
        skips_backward: whether a step only runs forwards, as stochastic weight averaging has it in its last epoch.
    """

    skips_backward: bool = alias("_skip_backward")

    make_closure = _AutomaticOptimization._make_closure


def steps_plainly(trainer: pl.Trainer) -> bool:
    """Return whether nothing stands between the first optimizer and its step: a user's wrapper, a scaler, an averager.

    Lightning steps its own wrapper of the optimizer, which a user may have given, and which manual optimization hooks.
    """
    strategy = trainer.strategy
    wrapper = strategy._lightning_optimizers[0]
    return (
        wrapper._optimizer is strategy.optimizers[0]
        and wrapper._on_before_step is do_nothing_closure
        and wrapper._on_after_step is do_nothing_closure
        and getattr(trainer.precision_plugin, "scaler", None) is None
        and getattr(strategy, "_model_averager", None) is None  # DDP's, which averages after the step
    )
