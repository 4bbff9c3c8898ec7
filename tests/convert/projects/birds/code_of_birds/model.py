"""Stand-ins for a project's module and network."""

import pytorch_lightning as pl
from torch import nn


class Net(nn.Module):
    def __init__(self, widths: list[int], label: str):
        super().__init__()
        self.label = label
        self.layers = nn.Sequential(nn.Linear(4, widths[0]), nn.ReLU(), nn.Linear(widths[0], 1))

    def forward(self, x):
        return self.layers(x)


class Listener(pl.LightningModule):
    def __init__(self, net, optimizer, scheduler, window, compile=False):
        super().__init__()
        self.net, self.window = net, window
        self.make_optimizer, self.make_scheduler = optimizer, scheduler

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val/score", -self.training_step(batch, batch_idx))

    def configure_optimizers(self):
        optimizer = self.make_optimizer(params=self.parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.make_scheduler(optimizer=optimizer)}
