"""Checkpoints of a validation that `WeightAveraging` has put its averages in for: a stop saves there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytorch_lightning.callbacks import WeightAveraging


@contextmanager
def training_weights(trainer: Any) -> Iterator[None]:
    """Put the weights that train back into the module for as long as this lasts, if averages are in their place.

    `WeightAveraging` saves the module's weights as those that train and its own as the averages; between the first and
    the last hook of a validation's epoch it has swapped them.
    """
    in_validation = trainer.validating and trainer.fit_loop.epoch_loop.val_loop.is_in_epoch
    callbacks = [one for one in trainer.callbacks if in_validation and _swaps(one)]
    for callback in callbacks:
        callback._swap_models(trainer.lightning_module)  # private: its hooks do nothing else
    try:
        yield
    finally:
        for callback in callbacks:
            callback._swap_models(trainer.lightning_module)


def _swaps(callback: Any) -> bool:
    return (
        isinstance(callback, WeightAveraging)
        and type(callback).on_validation_epoch_start is WeightAveraging.on_validation_epoch_start
        and callback._average_model is not None
    )
