"""Predictions as a CSV file, by a callback of Lightning's."""

import csv
from pathlib import Path

from pytorch_lightning.callbacks import BasePredictionWriter


class CsvPredictions(BasePredictionWriter):
    """Writes `predictions.csv` into the run's folder: identifier, prediction and target of each sample."""

    def __init__(self, name: str = "predictions.csv") -> None:
        super().__init__(write_interval="batch")
        self.name = name

    def on_predict_start(self, trainer, pl_module):
        self.path = Path(trainer.default_root_dir) / self.name
        self.write([["identifier", "prediction", "target"]])

    def write_on_batch_end(self, trainer, pl_module, prediction, batch_indices, batch, batch_idx, dataloader_idx):
        columns = prediction["identifier"], prediction["pred"].tolist(), prediction["target"].tolist()
        self.write([name, f"{pred:.1f}", target] for name, pred, target in zip(*columns, strict=True))

    def write(self, rows):
        with open(self.path, "a", newline="") as file:
            csv.writer(file).writerows(rows)
