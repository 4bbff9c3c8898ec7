"""Find out whether tensor ranks have the same batch: data that divides itself by process may give each another one."""

from __future__ import annotations

import zlib
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.distributed import ProcessGroup, all_gather_object
from torch.utils._pytree import tree_leaves

from lighter.errors import MisfitError

_PLAIN = (str, bytes, int, float, bool, type(None))
_DIFFERENT = (
    "parallel::tensor: the first batch of {stage} is not the same on the {size} tensor ranks that compute it together."
    " Data that divides itself by process has to do so by data ranks: `data_rank()` of `data_size()`, of"
    " lighter.parallel.ranks. Random transforms have to draw the same numbers on each."
)


class SameBatches(Callback):
    """Compare the first batch of training, validation and test over the tensor ranks.

    Raises:
        MisfitError: they differ; on all processes, as none may wait for the others.
    """

    def __init__(self, group: ProcessGroup) -> None:
        self.group = group
        self.compared: set[str] = set()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, *args: Any) -> None:
        self._compare(trainer, "training", batch)

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, *args: Any
    ) -> None:
        self._compare(trainer, "validation", batch)

    def on_test_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, *args: Any) -> None:
        self._compare(trainer, "test", batch)

    def _compare(self, trainer: pl.Trainer, stage: str, batch: object) -> None:
        if stage in self.compared:
            return
        self.compared.add(stage)
        sums: list[Any] = [None] * self.group.size()
        all_gather_object(sums, checksum(batch), group=self.group)
        if not trainer.strategy.reduce_boolean_decision(len(set(sums)) == 1):
            raise MisfitError(_DIFFERENT.format(stage=stage, size=len(sums)))


def checksum(batch: object) -> int:
    """Return the CRC-32 of the tensors, numbers and texts in a batch; of other objects, only their types count."""
    total = 0
    for leaf in tree_leaves(batch):
        total = zlib.crc32(_bytes(leaf), total)
    return total


def _bytes(leaf: object) -> bytes:
    if isinstance(leaf, Tensor) and leaf.layout is torch.strided:
        content = leaf.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
        return f"{leaf.dtype} {tuple(leaf.shape)}".encode() + content.numpy().tobytes()
    return repr(leaf).encode() if isinstance(leaf, _PLAIN) else type(leaf).__qualname__.encode()
