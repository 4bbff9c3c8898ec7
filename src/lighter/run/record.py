"""What a run leaves behind so that it can be found and repeated: the merged config, in three places."""

from __future__ import annotations

import inspect
from typing import Any

from lighter.config import yaml
from lighter.run.paths import RunFolder


def record(config: dict[str, Any], module: Any, trainer: Any, folder: RunFolder | None, note: str = "") -> None:
    """Write `config.yaml`, and give the config to the loggers and to the checkpoints' hyperparameters.

    Args:
        config: the merged config, as plain data that runs the same again from anywhere.
        folder: the run's folder; None in the processes that do not write it.
        note: what stands above the config in its file, as a comment.
    """
    if folder is not None:
        heading = "".join(f"# {line}\n" for line in note.splitlines())
        folder.config.write_text(heading + yaml.dump(config), encoding="utf-8")
    for logger in trainer.loggers:
        logger.log_hyperparams({"config": config})
    key = _free_key(module)
    if key is not None:
        module.hparams[key] = config


def _free_key(module: Any) -> str | None:
    """A hyperparameter's name that `load_from_checkpoint` will not pass to the constructor; None if it passes all."""
    parameters = inspect.signature(type(module).__init__).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    return "config" if "config" not in {*parameters, *module.hparams} else "lighter_config"
