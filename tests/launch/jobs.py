"""What configs of launched jobs name."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl


class Fails(pl.Callback):
    """Fail in the third step."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == 3:
            raise ZeroDivisionError("as asked")
