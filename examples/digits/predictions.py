"""Predictions as a CSV file, by a callback of Lightning's."""

import csv
from pathlib import Path

from pytorch_lightning.callbacks import BasePredictionWriter


class CsvPredictions(BasePredictionWriter):
    """Writes `predictions.csv` into the run's folder: a row per image, with its digit and how sure the network is."""

    def __init__(self, name: str = "predictions.csv") -> None:
        super().__init__(write_interval="batch")
        self.name = name

    def on_predict_start(self, trainer, pl_module):
        self.path = Path(trainer.default_root_dir) / self.name
        self.rows = 0
        self.write(["image", "digit", "probability"])

    def write_on_batch_end(self, trainer, pl_module, prediction, batch_indices, batch, batch_idx, dataloader_idx):
        probabilities, digits = prediction.max(dim=1)
        for digit, probability in zip(digits.tolist(), probabilities.tolist(), strict=True):
            self.write([self.rows, digit, f"{probability:.4f}"])
            self.rows += 1

    def write(self, row):
        with open(self.path, "a", newline="") as file:
            csv.writer(file).writerow(row)
