"""Leave in a run's folder when its training began, and a byte for each batch that really ran."""

import time
from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer

BEGUN, TRAINED = "begun.txt", "trained.bin"


class Begin(Callback):
    """Note the time before the first batch of each start."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / BEGUN

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(f"{time.time()}\n")


class Count(Callback):
    """Append a byte to a file for each batch, which no resume takes back."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / TRAINED

    def on_train_batch_end(self, *arguments: object) -> None:
        with self.path.open("ab") as file:
            file.write(b".")
