"""Modules that lack something."""

from __future__ import annotations

import lightning.pytorch
import torch

import lighter


class TrainsOnly(lighter.LighterModule):
    def training_step(self, batch, batch_idx):
        return self.criterion(self(batch[0]), batch[1])


class OtherPackage(lightning.pytorch.LightningModule):
    def training_step(self, batch, batch_idx):
        return None

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())
