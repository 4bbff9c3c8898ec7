"""Give a picture to the loggers that take pictures: TensorBoard, W&B and MLflow. Others are left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from pytorch_lightning.loggers import Logger


def log_picture(logger: Logger, name: str, pixels: np.ndarray, step: int) -> bool:
    """Log the pixels of a picture, (H, W, 3) bytes. Returns whether the logger takes pictures."""
    kinds = {kind.__name__ for kind in type(logger).__mro__}
    # by their names: their packages need not be installed
    takes: Any = logger
    if "TensorBoardLogger" in kinds:
        takes.experiment.add_image(name, pixels, global_step=step, dataformats="HWC")
    elif "WandbLogger" in kinds:
        from PIL import Image

        takes.log_image(name, [Image.fromarray(pixels)])
    elif "MLFlowLogger" in kinds:
        # slashes are of folders there
        takes.experiment.log_image(takes.run_id, pixels, key=name.replace("/", "-"), step=step)
    else:
        return False
    return True
