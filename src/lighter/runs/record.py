"""The merged config, with the run: in its folder, with its loggers, in its checkpoints; always without secrets."""

from __future__ import annotations

import inspect
import logging
import numbers
from collections.abc import Mapping
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from lighter.config import Config, yaml
from lighter.config.problems import Problem
from lighter.errors import ConfigError
from lighter.files.atomic import write_whole
from lighter.files.run_folder import RunFolder
from lighter.runs.secrets import REDACTED, Secrets, missing

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning import LightningModule

log = logging.getLogger("lighter.runs")

CHECKPOINT_KEY = "lighter"
"""The key of our entry in a checkpoint; its `config` is for most modules among the hyperparameters too."""

NOT_SAVED = "<not saved: "
"""The beginning of the text that is saved in the place of an object that was made in Python."""

_GIVE_SECRET = (
    "Give it on the command line: {path}=VALUE, or have the config read it: $__import__('os').environ['NAME']"
)
_GIVE_OBJECT = "Run the Python that made it, or define it: {path}={{_target_: package.Class}}"


def saved_form(config: Mapping[str, Any], secrets: Secrets) -> dict[str, Any]:
    """Return a config as it is saved: plain data, as YAML would have it, without secrets."""
    saved: dict[str, Any] = _plain(secrets.data(config))
    return saved


def refuse_unsaved(config: Config, within: str = "") -> None:
    """See that a config lacks nothing that is left out of saved ones: secrets, and objects that were made in Python.

    Args:
        within: the section that is looked at; all of them if it is empty.

    Raises:
        ConfigError: with the places of all that are left out.
    """
    plain = config.merged.plain()
    kinds = (
        (REDACTED, "this is a secret", _GIVE_SECRET),
        (NOT_SAVED, "this was an object made in Python", _GIVE_OBJECT),
    )
    problems = [
        Problem(f"{kind}, which was not saved: {node.plain()}", node.origin, path, hint.format(path=path))
        for mark, kind, hint in kinds
        for path in missing(plain, mark=mark)
        if path.startswith(within) and (node := config.merged.find(path)) is not None
    ]
    if problems:
        raise ConfigError(problems)


def record(saved: dict[str, Any], module: LightningModule, trainer: pl.Trainer) -> None:
    """Give the config, in its saved form, to the loggers and to the checkpoints' hyperparameters."""
    for logger in trainer.loggers:
        logger.log_hyperparams({"config": saved})
    parameters = inspect.signature(type(module).__init__).parameters
    # a constructor that takes any argument would be given it by `load_from_checkpoint`; the checkpoints of every module
    # have it under `CHECKPOINT_KEY` too
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        key = "config" if "config" not in {*parameters, *module.hparams} else "lighter_config"
        module.hparams[key] = saved


def write_config(saved: dict[str, Any], folder: RunFolder, note: str = "") -> None:
    """Write `config.yaml`, with a note above it as a comment.

    A run that is resumed with another config keeps the one that it had as `config.1.yaml`, and so on.
    """
    left_out = list(missing(saved, mark=NOT_SAVED))
    if left_out:
        log.warning("objects made in Python are not saved, so config.yaml lacks: %s", ", ".join(left_out))
    text = "".join(f"# {line}\n" for line in note.splitlines()) + yaml.dump(saved)
    if folder.config.is_file() and folder.config.read_text(encoding="utf-8") != text:
        number = 1
        while (folder.path / f"config.{number}.yaml").exists():
            number += 1
        # a copy: killed between the two, a run or an experiment without a config would be none
        write_whole(folder.path / f"config.{number}.yaml", folder.config.read_bytes())
    write_whole(folder.config, text)


def _plain(value: Any) -> Any:
    # a dict from Python may hold more than YAML can
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    for kind, convert in _CONVERT.items():
        if isinstance(value, kind):
            return convert(value)
    if value is None:
        return None
    # the same text for the same kind of object, and none that could run
    named = value if isinstance(value, type) or inspect.isroutine(value) else type(value)
    article = "" if named is value else "an object of "
    return f"{NOT_SAVED}{article}{named.__module__}.{named.__qualname__}>"


# in this order: a bool is an integer, and an integer a real number
_CONVERT: dict[type, Any] = {
    bool: bool,
    str: str,
    numbers.Integral: int,
    numbers.Real: float,
    PathLike: lambda path: str(fspath(path)),
}
