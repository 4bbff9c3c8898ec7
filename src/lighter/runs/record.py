"""The merged config, with the run: in its folder, with its loggers, in its checkpoints; always without secrets."""

from __future__ import annotations

import inspect
import logging
import numbers
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any

from lighter.config import yaml
from lighter.files.atomic import write_whole
from lighter.files.run_folder import RunFolder
from lighter.runs.secrets import Secrets, missing

log = logging.getLogger("lighter.runs")

CHECKPOINT_KEY = "lighter"
"""What a checkpoint has of ours: `config`, which for most modules is among its hyperparameters too."""


NOT_SAVED = "<not saved: "
"""How the text begins that is saved in the place of an object that was made in Python."""


def saved_form(config: Mapping[str, Any], secrets: Secrets) -> dict[str, Any]:
    """A config as it is saved: plain data, as YAML would have it, without secrets."""
    saved: dict[str, Any] = _plain(secrets.data(config))
    return saved


def record(saved: dict[str, Any], module: Any, trainer: Any) -> None:
    """Give the config to the loggers and to the checkpoints' hyperparameters.

    A module whose constructor takes any argument is given all hyperparameters by `load_from_checkpoint`; the config is
    not among those, but in its checkpoints under the key `lighter`, as it is for every module.

    Args:
        saved: the merged config, as `saved_form` makes it, that runs the same again from anywhere.
    """
    for logger in trainer.loggers:
        logger.log_hyperparams({"config": saved})
    key = _free_key(module)
    if key is not None:
        module.hparams[key] = saved


def write_config(saved: dict[str, Any], folder: RunFolder, note: str = "") -> None:
    """Write `config.yaml`.

    Args:
        saved: the merged config.
        folder: the run's folder.
        note: what stands above the config in its file, as a comment.
    """
    left_out = list(missing(saved, mark=NOT_SAVED))
    if left_out:
        log.warning("objects made in Python are not saved, so config.yaml lacks: %s", ", ".join(left_out))
    _write(folder, "".join(f"# {line}\n" for line in note.splitlines()) + yaml.dump(saved))


def _write(folder: RunFolder, text: str) -> None:
    """A run that goes on with another config keeps the one that it had: `config.1.yaml`, and so on."""
    if folder.config.is_file() and folder.config.read_text(encoding="utf-8") != text:
        number = 1
        while (folder.path / f"config.{number}.yaml").exists():
            number += 1
        folder.config.rename(folder.path / f"config.{number}.yaml")
    write_whole(folder.config, text)


def _plain(value: Any) -> Any:
    """What a dict from Python may hold beside plain data, in the form that it has in YAML."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    for kind, convert in _CONVERT.items():
        if isinstance(value, kind):
            return convert(value)
    return value if value is None else _named(value)


def _named(value: object) -> str:
    """Return the mark of an object that was made in Python: the same for the same kind, and no value that could run."""
    kind = value if isinstance(value, type) or inspect.isroutine(value) else type(value)
    article = "" if kind is value else "an object of "
    return f"{NOT_SAVED}{article}{kind.__module__}.{kind.__qualname__}>"


_CONVERT: dict[type, Any] = {
    bool: bool,
    str: str,
    numbers.Integral: int,
    numbers.Real: float,
    PathLike: lambda path: str(fspath(path)),
}


def _free_key(module: Any) -> str | None:
    """A hyperparameter's name that `load_from_checkpoint` will not pass to the constructor; None if it passes all."""
    parameters = inspect.signature(type(module).__init__).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    return "config" if "config" not in {*parameters, *module.hparams} else "lighter_config"
