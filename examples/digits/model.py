"""A classifier as a LighterModule: the steps, and nothing else."""

import lighter


class Classifier(lighter.LighterModule):
    """Cross-entropy and the metrics that the config names."""

    def training_step(self, batch, batch_idx):
        images, labels = batch
        logits = self(images)
        self.train_metrics(logits, labels)
        return self.criterion(logits, labels)

    def validation_step(self, batch, batch_idx):
        images, labels = batch
        logits = self(images)
        self.val_metrics(logits, labels)
        return {"loss": self.criterion(logits, labels), "pred": logits, "target": labels}

    def test_step(self, batch, batch_idx):
        images, labels = batch
        logits = self(images)
        self.test_metrics(logits, labels)
        return {"pred": logits, "target": labels}

    def predict_step(self, batch, batch_idx):
        images, _ = batch
        probability, digit = self(images).softmax(dim=1).max(dim=1)
        return {"digit": digit, "probability": probability}
