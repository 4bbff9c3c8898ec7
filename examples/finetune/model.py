"""A ForwardModule: `forward` says what the losses and the inputs of the metrics are, and two prediction tasks."""

import csv

from PIL import Image, ImageDraw
from torch import nn
from torch.nn import functional as F

import lighter


class Network(nn.Module):
    """Images of shape (N, 1, 8, 8) to logits of shape (N, classes)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(64 * 4 * 4, classes)

    def forward(self, images):
        return self.head(self.backbone(images))


class Reader(lighter.ForwardModule):
    """Reads digits."""

    def forward(self, batch):
        logits = self.model(batch["image"])
        return {
            "loss_dict": {"ce_loss": F.cross_entropy(logits, batch["label"])},
            "metric_dict": {"preds": logits, "target": batch["label"]},
        }

    def predict_softmax_dependency(self, batch):
        """Probabilities, which both tasks need: once for each batch."""
        return self.model(batch["image"]).softmax(dim=1)

    def predict_probabilities_start(self):
        return {"dependency": ["softmax"], "result": []}

    def predict_probabilities(self, batch, softmax):
        return list(zip(batch["index"].tolist(), softmax.tolist(), strict=True))

    def predict_probabilities_end(self, result, output_path):
        with open(output_path / "probabilities.csv", "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["index", *self.digits])
            table.writerows([index, *(f"{p:.4f}" for p in row)] for batch in result for index, row in batch)

    def predict_misread_start(self):
        return {"dependency": ["softmax"]}

    def predict_misread(self, batch, softmax, result):
        """Adds to its result, and returns nothing, as it has several things or none for a batch."""
        read = softmax.argmax(dim=1)
        for place in (read != batch["label"]).nonzero().flatten().tolist():
            result.append((batch["image"][place, 0].cpu(), int(batch["label"][place]), int(read[place])))

    def predict_misread_end(self, result, output_path):
        """All misread digits side by side, ten times as large, each with what it is and what it was read as."""
        sheet = Image.new("L", (96 * max(1, len(result)), 110))
        for column, (image, label, read) in enumerate(result):
            pixels = Image.fromarray((image * 255).byte().numpy())
            sheet.paste(pixels.resize((80, 80), Image.Resampling.NEAREST), (96 * column + 8, 8))
            caption = f"{self.digits[label]}, read as {self.digits[read]}"
            ImageDraw.Draw(sheet).text((96 * column + 14, 92), caption, fill=255)
        sheet.save(output_path / "misread.png")

    @property
    def digits(self):
        return self.trainer.predict_dataloaders.dataset.digits
