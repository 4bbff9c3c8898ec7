"""The metrics of a plain LightningModule resume as if nobody had stopped the fit, wherever it was saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torchmetrics import MaxMetric, MeanMetric, MetricCollection

from tests.slow import mostly_slow
from tests.trainer.resume.cuts import Watch, fit, logged, not_as_whole


class Plain(pl.LightningModule):
    """One weight that falls; the metrics are of what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.train_mean, self.val_mean = MeanMetric(), MeanMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.weight * batch[0].mean()
        self.train_mean(loss)
        self.log("train/mean", self.train_mean)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.val_mean(self.weight * batch[0].mean())
        self.log("val/mean", self.val_mean)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class ByHand(Plain):
    """It computes and resets its metric itself."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.val_mean.update(self.weight * batch[0].mean())

    def on_validation_epoch_end(self) -> None:
        self.log("val/mean", self.val_mean.compute())
        self.val_mean.reset()


class Best(Plain):
    """The best value so far, as `lightning-hydra-template` has it: without what the sanity check gave."""

    def __init__(self) -> None:
        super().__init__()
        self.best = MaxMetric()

    def on_train_start(self) -> None:
        self.val_mean.reset()
        self.best.reset()

    def on_validation_epoch_end(self) -> None:
        self.best(self.val_mean.compute())
        self.log("val/best", self.best.compute())


class Several(Plain):
    """A collection, logged whole."""

    def __init__(self) -> None:
        super().__init__()
        self.all = MetricCollection({"mean": MeanMetric(), "max": MaxMetric()})

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.all.update(self.weight * batch[0].mean())
        self.log_dict({f"val/{name}": metric for name, metric in self.all.items()})


@pytest.mark.parametrize("module", mostly_slow([Plain, ByHand, Best, Several]))
def test_metrics_resume(own_place: Path, module: type[Plain]) -> None:
    assert not not_as_whole(module, own_place, val_check_interval=0.5, max_epochs=2)


@pytest.mark.slow
def test_metrics_resume_in_lightnings_own_loop(own_place: Path) -> None:
    assert not not_as_whole(Best, own_place, check_val_every_n_epoch=2, max_epochs=4, profiler="simple")


def test_a_best_value_outlives_the_last_epoch(own_place: Path) -> None:
    watch = Watch(None)
    fit(logged(Best, max_epochs=2), watch).save_checkpoint("last.ckpt")
    fit(logged(Best, max_epochs=4), watch, "last.ckpt")
    bests = [note[2]["val/best"] for note in watch.notes if note[0] == "row" and "val/best" in note[2]]
    assert bests == [bests[0]] * 4
