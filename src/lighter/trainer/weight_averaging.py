"""Averages of weights that have not begun are the weights themselves.

Lightning's `WeightAveraging` validates, saves and ends with its average. One that begins later, by
`update_starting_at_epoch` say, is a copy of the initial weights until then, and so is all that is made of it.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from pytorch_lightning import Callback

from lighter._lightning.access import average_before_start


class AveragesFollow(Callback):
    """Gives averages that have not begun the weights of now; it comes before the callbacks that keep them."""

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """The averages are validated."""
        self._follow(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        """The averages are saved as the weights."""
        self._follow(trainer, pl_module)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """The averages become the weights."""
        self._follow(trainer, pl_module)

    def _follow(self, trainer: Any, module: Any) -> None:
        for average in filter(None, map(average_before_start, trainer.callbacks)):
            theirs = chain(average.module.parameters(), average.module.buffers())
            with torch.no_grad():
                for value, own in zip(theirs, chain(module.parameters(), module.buffers()), strict=False):
                    value.copy_(own)
