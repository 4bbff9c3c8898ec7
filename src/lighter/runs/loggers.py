"""Let the loggers of a run write into its folder, unless the config says otherwise, and always `metrics.csv`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lighter.config.objects import Objects
from lighter.config.tree import is_reference, is_target, join
from lighter.files.storage import is_remote, joined

if TYPE_CHECKING:
    import pytorch_lightning as pl


def defined_loggers(objects: Objects) -> Iterator[str]:
    path = objects.followed(join(objects.followed("trainer"), "logger"))
    try:
        written = objects.definition(path)
    except KeyError:
        return
    several = [join(path, index) for index in range(len(written))] if isinstance(written, list) else [path]
    for logger in map(objects.followed, several):
        if isinstance(objects.definition(logger), Mapping):
            yield logger


def write_into(objects: Objects, folder: str) -> None:
    """Let the loggers that were given no `save_dir` write into a folder: a path, or a reference to one."""
    for path in defined_loggers(objects):
        definition = objects.definition(path)
        if not is_target(definition):
            continue
        default = folder_argument(objects.target_or_none(path), definition)
        if default is not None:
            inside = default != "." and not is_reference(folder)
            objects.add_arguments(path, {"save_dir": joined(folder, default) if inside else folder})


def keep_metrics_csv(trainer: pl.Trainer, folder: Path) -> None:
    """Give a trainer with loggers the default CSV logger beside them, unless one of them is a CSV logger."""
    from pytorch_lightning.loggers import CSVLogger

    from lighter.trainer import Trainer, default_logger

    fast_dev_run = getattr(trainer, "fast_dev_run", False)
    if not isinstance(trainer, Trainer) or not trainer.loggers or fast_dev_run:
        return
    if not any(isinstance(logger, CSVLogger) for logger in trainer.loggers):
        # last: `self.logger` is the config's first
        trainer.loggers = [*trainer.loggers, default_logger(folder)]


def places(trainer: pl.Trainer) -> list[tuple[str, str]]:
    """Return the class of each logger of a trainer, and where it wrote: a folder, or the name of a run on a server."""
    written = []
    for logger in trainer.loggers:
        url = getattr(getattr(logger, "experiment", None), "url", None)  # of W&B's and Comet's runs
        place = (url if isinstance(url, str) else None) or logger.log_dir or logger.save_dir or logger.version
        if place:
            written.append((type(logger).__name__, str(place).rstrip("/")))
    return written


def folder_argument(target: object, definition: Mapping[str, Any]) -> str | None:
    """Return where in the run's folder a logger writes that takes a `save_dir` and is given none; None of any other."""
    if "save_dir" in definition or "_args_" in definition or not inspect.isclass(target):
        return None
    try:
        parameter = inspect.signature(target).parameters.get("save_dir")
    except (TypeError, ValueError):  # a class that is not written in Python
        return None
    if parameter is None or parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        return None
    default = parameter.default  # which stays: MLflow's is `mlruns`
    is_inside = isinstance(default, (str, os.PathLike)) and not is_remote(default) and not Path(default).is_absolute()
    return os.path.normpath(default) if is_inside else "."
