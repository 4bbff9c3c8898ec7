"""`lighter.Trainer` on a version of Lightning that Lighter was not tested with: Lightning's own, with our defaults."""

from __future__ import annotations

import functools
import logging
import os
from pathlib import Path
from typing import Any

import pytorch_lightning
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from lighter._lightning.versions import TESTED, lightning_version
from lighter.files.run_folder import CHECKPOINTS, LAST, is_rank_zero
from lighter.files.storage import joined, normal
from lighter.lightning_alias import refuse_second_copies
from lighter.trainer.arguments import (
    OWN_ARGUMENTS,
    OnNonFinite,
    OnSaveError,
    flag,
    one_of,
    signature_with_lightnings,
    with_defaults,
)

log = logging.getLogger("lighter")
COSTS = (
    "Lightning's own loops, saving and signal handling run. A resumed fit is not exact, checkpoints are not verified"
    " and only last.ckpt is kept by default, NaN and Inf are not looked for, and a signal ends a run without saving it"
)


class Trainer(pytorch_lightning.Trainer):
    """Lightning's trainer with the logger, checkpoint folder and progress bar of `lighter.Trainer`.

    The arguments that are not Lightning's are checked, and have no effect.
    """

    __module__ = "lighter.trainer"  # its public name, in records of runs and in pickles
    exact_resume = False
    loop_choice = resume_choice = None

    def __init__(
        self,
        *,
        exact_resume: bool = True,
        on_non_finite: OnNonFinite = "stop",
        on_save_error: OnSaveError = "stop",
        async_save: bool = False,
        **kwargs: Any,
    ) -> None:
        flag(exact_resume, "exact_resume")
        flag(async_save, "async_save")
        one_of(OnNonFinite, on_non_finite, "on_non_finite")
        one_of(OnSaveError, on_save_error, "on_save_error")
        warn_once()
        if kwargs.get("default_root_dir") is not None:
            kwargs["default_root_dir"] = normal(kwargs["default_root_dir"])
        defaults = {} if kwargs.get("barebones") else with_defaults(kwargs, with_last_checkpoint)
        # Lightning reads the environment for what it is not given
        defaults = {name: value for name, value in defaults.items() if f"PL_TRAINER_{name.upper()}" not in os.environ}
        super().__init__(**{**defaults, **{name: value for name, value in kwargs.items() if name not in defaults}})
        refuse_second_copies([*self.callbacks, *self.loggers])  # type: ignore[attr-defined]


Trainer.__init__.__signature__ = signature_with_lightnings(Trainer.__init__)  # type: ignore[attr-defined]


@functools.cache
def warn_once() -> None:
    # one message is enough for all processes
    if is_rank_zero():
        idle = ", ".join(OWN_ARGUMENTS)
        log.warning(
            "Lightning %s is not tested with this Lighter, which needs %s: %s. Without effect: %s",
            lightning_version(),
            TESTED,
            COSTS,
            idle,
        )


def with_last_checkpoint(callbacks: list[Callback], folder: str | Path | None) -> list[Callback]:
    """Add a callback that keeps `last.ckpt`, unless there is a `ModelCheckpoint`; all save into the run's folder."""
    dirpath = joined(folder, CHECKPOINTS) if folder is not None else None
    savers = [callback for callback in callbacks if isinstance(callback, ModelCheckpoint)]
    for callback in savers:
        callback.dirpath = callback.dirpath or dirpath
    if savers:
        return callbacks
    last = ModelCheckpoint(
        dirpath, filename=Path(LAST).stem, save_on_train_epoch_end=True, enable_version_counter=False
    )
    return [*callbacks, last]
