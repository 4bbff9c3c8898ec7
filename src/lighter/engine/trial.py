"""A trial of a config: what `fit` would run, in one process, with nothing that writes. For commands that look ahead."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_lightning import seed_everything

from lighter.config import Config
from lighter.config.objects import Objects
from lighter.config.problems import Problem
from lighter.engine.build import Parts, build_data, build_module, check_parts, name_functions
from lighter.engine.project import make_importable
from lighter.errors import ConfigError
from lighter.trainer import OWN_ARGUMENTS

_QUIET: Mapping[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "fast_dev_run": False,
    "barebones": False,
    "max_time": None,
    "min_epochs": None,
    "min_steps": None,
    "val_check_interval": 1.0,
    "check_val_every_n_epoch": 1,
    "callbacks": None,
    "profiler": None,
    "num_sanity_val_steps": 0,
    "devices": 1,
    "num_nodes": 1,
    "strategy": "auto",
}


@dataclass(frozen=True)
class Trial:
    """What a trial is made of.

    Attributes:
        objects: the config's objects.
        section: `model` or `system`.
        parts: module, data and trainer.
    """

    objects: Objects
    section: str
    parts: Parts


def make_trial(config: Config, folder: Path, **trainer: Any) -> Trial:
    """Build module, data and trainer for `fit`; the trainer is the config's, but for what writes and what is given.

    Args:
        config: the experiment.
        folder: where Lightning may put what it takes away again.
        trainer: arguments of the trainer, over those of the config.

    Raises:
        ConfigError: something that `fit` needs is wrong or missing.
    """
    if config.safe is not None:
        raise ConfigError([Problem("a stranger's config is not tried: what comes from a URL runs in safe mode only")])
    seed_everything(config.seed, workers=True, verbose=False)
    make_importable(config, Path.cwd())
    objects, section = config.objects(), config.module_section
    name_functions(objects)
    module = build_module(objects, section, "fit")
    built = _trainer(objects, {**_QUIET, "default_root_dir": str(folder), **trainer})
    parts = Parts(module, build_data(objects, "fit"), built)
    check_parts(objects, section, parts, "fit")
    return Trial(objects, section, parts)


@contextmanager
def without_advice() -> Iterator[None]:
    """Nothing of what is said of trainings while this lasts: no warnings, no messages."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _trainer(objects: Objects, changes: Mapping[str, Any]) -> Any:
    """The config's trainer with other arguments: Lightning's own class, of which nobody's defaults write."""
    path = objects.followed("trainer")
    given = objects.definition(path) if "trainer" in objects.sections else None
    given = {key: value for key, value in (given or {}).items() if key not in OWN_ARGUMENTS}
    if given.get("max_epochs") is None and given.get("max_steps") is None:
        given["max_epochs"] = 1000  # as Lightning, which would say so
    objects.exchange(path, {**given, "_target_": "pytorch_lightning.Trainer", **changes})
    return objects.get(path)
