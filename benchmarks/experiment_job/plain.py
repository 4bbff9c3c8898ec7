"""The job of config.yaml as a function, with Lightning alone, for the sweeps of others."""

from pathlib import Path

import pytorch_lightning as pl
import torch
from digits import digits
from marks import Begin
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy


class Classifier(pl.LightningModule):
    def __init__(self, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        self.accuracy = MulticlassAccuracy(10)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = cross_entropy(self.network(x), y)
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        pred = self.network(x)
        self.accuracy(pred, y)
        self.log("val/loss", cross_entropy(pred, y))
        self.log("val/accuracy", self.accuracy)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def fit(lr: float, folder: str) -> float:
    """Train for an epoch, and return the validation loss."""
    torch.set_num_threads(1)
    pl.seed_everything(1, workers=True)
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=CSVLogger(folder),
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Begin(folder)],
    )
    training = DataLoader(digits(), batch_size=32, shuffle=True)
    trainer.fit(Classifier(lr), training, DataLoader(digits(train=False), batch_size=450))
    return trainer.callback_metrics["val/loss"].item()


if __name__ == "__main__":
    print(fit(1e-3, str(Path.cwd())))
