"""The values that callbacks and schedulers see are those of a fit that nobody stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping

from tests.slow import mostly_slow
from tests.trainer.resume.cuts import not_as_whole


class Uneven(pl.LightningModule):
    """Its logged value falls from one epoch's last step to the next one's, and grows in the steps before those."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.weight * batch[0].mean()
        factor = (1 + self.current_epoch) * (1 if batch_idx == 1 else -1)
        self.log("loss", factor * loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.001)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "loss_step"}}


@pytest.mark.parametrize("stops_early", mostly_slow([False, True]))
def test_the_last_steps_value_is_followed(own_place: Path, stops_early: bool) -> None:
    def callbacks() -> list[pl.Callback]:
        return [EarlyStopping("loss_step", patience=1, check_on_train_epoch_end=True)] if stops_early else []

    assert not not_as_whole(Uneven, own_place, callbacks=callbacks)
