"""The same job as in config.yaml as a script, with Lightning alone."""

import pytorch_lightning as pl
import torch
from digits import digits
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy


class Classifier(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        self.accuracy = MulticlassAccuracy(10)

    def training_step(self, batch, batch_idx):
        x, y = batch
        pred = self.network(x)
        loss = cross_entropy(pred, y)
        self.accuracy(pred, y)
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        self.log("train/accuracy", self.accuracy, on_step=True, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


pl.seed_everything(1, workers=True)
trainer = pl.Trainer(
    max_epochs=1,
    limit_train_batches=5,
    log_every_n_steps=1,
    accelerator="cpu",
    logger=CSVLogger("."),
    enable_progress_bar=False,
)
trainer.fit(Classifier(), DataLoader(digits(), batch_size=32, shuffle=True))
