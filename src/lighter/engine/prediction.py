"""What a prediction needs besides the trainer to go on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lighter.errors import PredictionError
from lighter.files.run_folder import RunFolder


def prepare_prediction(trainer: Any, folder: RunFolder, *, goes_on: bool) -> None:
    """Make a trainer ready to predict.

    Args:
        trainer: of either package.
        folder: the run's.
        goes_on: whether the writers go on with what they find.

    Raises:
        PredictionError: there is nothing to go on with.
    """
    if not goes_on:
        return
    from lighter.callbacks.writers.base import BaseWriter  # which most runs do without

    writers = [callback for callback in trainer.callbacks if isinstance(callback, BaseWriter)]
    root = Path(trainer.default_root_dir)
    if not any(writer.has_begun(root) for writer in writers):
        reason = "none of its writers has begun" if writers else "it has no writers (lighter.callbacks.CsvWriter, ...)"
        raise PredictionError(f"there is no prediction to go on with in {folder.path}: {reason}")
    for writer in writers:
        writer.resume = True


def with_arguments(config: dict[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A config that, when it is run again, predicts with the same arguments, the same checkpoint above all."""
    said = {key: value for key, value in arguments.items() if key != "weights_only"}  # which no config decides
    kept = {key: value for key, value in said.items() if isinstance(value, (str, bool, int))}
    path = str(kept.get("ckpt_path", "://"))
    if "://" not in path:
        kept["ckpt_path"] = str(Path(path).absolute())
    if not kept:
        return config
    given = config.get("args") or {}
    return {**config, "args": {**given, "predict": {**(given.get("predict") or {}), **kept}}}
