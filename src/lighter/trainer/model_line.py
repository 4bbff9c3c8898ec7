"""One line about the model at the start of a fit, in place of Lightning's table of its direct children."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import pytorch_lightning as pl
from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import ModelSummary
from torch import Tensor
from torch.nn.parameter import is_lazy

from lighter.trainer.checkpointing.storage_errors import size_in_words

log = logging.getLogger("lighter.runs")


class ModelLine(ModelSummary):
    """Log the class of the module, its number of parameters, and their size. `lighter summary` shows each layer."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            log.info("model: %s, %s", type(pl_module).__name__, described(pl_module))


def described(module: LightningModule) -> str:
    """Return for example `4,810 parameters (2,050 train), 19.2 kB`; parameters that several modules share count once.

    Sharded parameters count by their part in this process.
    """
    tensors = list(module.parameters())
    known = [tensor for tensor in tensors if not is_lazy(tensor)]
    count, trainable = _elements(known), _elements(tensor for tensor in known if tensor.requires_grad)
    some = "" if trainable == count else f" ({trainable:,} train)" if trainable else " (none train)"
    # a lazy layer's shape is known after the first batch
    unknown = f", {len(tensors) - len(known)} tensors of unknown shape" if len(known) < len(tensors) else ""
    size = sum(tensor.numel() * tensor.element_size() for tensor in known)
    return f"{count:,} parameters{some}{unknown}, {size_in_words(size)}"


def _elements(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)
