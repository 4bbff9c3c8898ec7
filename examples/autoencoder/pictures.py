"""Inputs and reconstructions as a picture, by a callback of Lightning's."""

from pathlib import Path

import torch
from PIL import Image
from pytorch_lightning.callbacks import BasePredictionWriter


class Reconstructions(BasePredictionWriter):
    """Writes `reconstructions.png` into the run's folder: the first inputs, and below each what became of it."""

    def __init__(self, images: int = 20, zoom: int = 5) -> None:
        super().__init__(write_interval="batch")
        self.images, self.zoom = images, zoom

    def write_on_batch_end(self, trainer, pl_module, prediction, batch_indices, batch, batch_idx, dataloader_idx):
        if batch_idx > 0:
            return
        rows = []
        for images in (prediction["input"], prediction["pred"]):
            padded = torch.nn.functional.pad(images[: self.images, 0], (1, 1, 1, 1))  # (images, height, width)
            rows.append(torch.cat(list(padded), dim=1))
        pixels = (torch.cat(rows).clamp(0, 1) * 255).byte().cpu().numpy()
        picture = Image.fromarray(pixels)
        picture = picture.resize((picture.width * self.zoom, picture.height * self.zoom), Image.Resampling.NEAREST)
        picture.save(Path(trainer.default_root_dir) / "reconstructions.png")
