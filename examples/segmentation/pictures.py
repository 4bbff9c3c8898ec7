"""Predictions as pictures, by a callback of Lightning's."""

from pathlib import Path

import torch
from PIL import Image
from pytorch_lightning.callbacks import BasePredictionWriter


class Pictures(BasePredictionWriter):
    """Writes a PNG per image into the run's folder: from top to bottom the input, the truth and the prediction."""

    def __init__(self) -> None:
        super().__init__(write_interval="batch")

    def write_on_batch_end(self, trainer, pl_module, prediction, batch_indices, batch, batch_idx, dataloader_idx):
        columns = (prediction[key] for key in ("identifier", "input", "target", "pred"))
        for name, *images in zip(*columns, strict=True):
            stacked = torch.cat([image[0] for image in images])  # each of shape (1, height, width), in [0, 1]
            pixels = (stacked.clamp(0, 1) * 255).byte().cpu().numpy()
            Image.fromarray(pixels).save(Path(trainer.default_root_dir) / f"{name}.png")
