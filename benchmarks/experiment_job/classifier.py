"""The model of Lighter's side; everything else is in config.yaml."""

from torch import nn

from lighter import LighterModule


def mlp(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


class Classifier(LighterModule):
    def training_step(self, batch, batch_idx):
        x, y = batch
        return self.criterion(self(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        pred = self(x)
        self.val_metrics(pred, y)
        return self.criterion(pred, y)
