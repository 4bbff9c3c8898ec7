"""A checkpoint that is saved within a validation of averaged weights is that of a fit that nobody stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch import nn

from tests.trainer.resume.cuts import Watch, fit, logged, not_as_whole

pytestmark = pytest.mark.filterwarnings("ignore:You're using the WeightAveraging callback, but loading")


class Normed(pl.LightningModule):
    """Weights and statistics that move in each step, and a value of each validation."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(1, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.network(batch[0].unsqueeze(1)).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val", self.network(batch[0].unsqueeze(1)).mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def averaging() -> list[pl.Callback]:
    return [EMAWeightAveraging(decay=0.8)]


@pytest.mark.slow
def test_from_every_moment(own_place: Path) -> None:
    assert not not_as_whole(Normed, own_place, callbacks=averaging)


def test_the_averages_are_the_weights_of_the_checkpoint(own_place: Path) -> None:
    watch = Watch(own_place)
    fit(logged(Normed, callbacks=averaging, max_epochs=1), watch)
    saved = {path.stem[3:]: torch.load(path, weights_only=True) for path, _ in watch.cuts}
    within, after = (saved[name] for name in ("validating", "validation"))
    assert not torch.equal(after["state_dict"]["network.0.weight"], after["current_model_state"]["network.0.weight"])
    for key in ("state_dict", "current_model_state"):
        assert all(torch.equal(value, within[key][name]) for name, value in after[key].items()), key
