"""The model of Lighter's side; everything else is in config.yaml."""

from lighter import LighterModule


class Classifier(LighterModule):
    def training_step(self, batch, batch_idx):
        x, y = batch
        pred = self(x)
        self.train_metrics(pred, y)
        return self.criterion(pred, y)
