"""A trial of a config: what `fit` would run, in one process, with nothing that writes. For commands that look ahead."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import seed_everything

from lighter.config import Config
from lighter.config.objects import Objects
from lighter.config.problems import Problem
from lighter.engine.build import Parts, build_data, build_module, check_parts, prepare_split
from lighter.engine.plan import StagePlan, plan_of
from lighter.engine.project import make_importable
from lighter.errors import ConfigError
from lighter.trainer import OWN_ARGUMENTS

QUIET: Mapping[str, Any] = {
    **dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False),
    **dict.fromkeys(("fast_dev_run", "barebones"), False),
    **dict.fromkeys(("max_time", "min_epochs", "min_steps", "callbacks", "profiler"), None),
    "val_check_interval": 1.0,
    "check_val_every_n_epoch": 1,
    "num_sanity_val_steps": 0,
    "devices": 1,
    "num_nodes": 1,
    "strategy": "auto",
}


@dataclass(frozen=True)
class Trial:
    objects: Objects
    plan: StagePlan
    parts: Parts


def make_trial(config: Config, folder: Path, **trainer: Any) -> Trial:
    """Build module, data and trainer for `fit`; the trainer is the config's, but for what writes and what is given.

    Lightning may write files that it removes again into `folder`. Raise a `ConfigError` if something is missing.
    """
    if config.safe is not None:
        raise ConfigError([Problem("an untrusted config is not tried: what comes from a URL runs in safe mode only")])
    seed_everything(config.seed, workers=True, verbose=False)
    make_importable(config, Path.cwd())
    objects = config.objects()
    plan = plan_of(objects, "fit")
    prepare_split(objects, plan)
    module = build_module(objects, plan)
    built = quiet_trainer(objects, {**QUIET, "default_root_dir": str(folder), **trainer})
    parts = Parts(module, build_data(objects, plan), built)
    check_parts(objects, plan, parts)
    return Trial(objects, plan, parts)


def quiet_trainer(objects: Objects, changes: Mapping[str, Any]) -> pl.Trainer:
    """Build the config's trainer with other arguments."""
    path = objects.followed("trainer")
    written = objects.lookup(path) or {}
    arguments = {key: value for key, value in written.items() if key not in OWN_ARGUMENTS}
    if arguments.get("max_epochs") is None and arguments.get("max_steps") is None:
        # Lightning's own default, of which it would warn.
        arguments["max_epochs"] = 1000
    # Lightning's own class, whose defaults write nothing then.
    objects.exchange(path, {**arguments, "_target_": "pytorch_lightning.Trainer", **changes})
    trainer: pl.Trainer = objects.get(path)
    return trainer


@contextmanager
def without_advice() -> Iterator[None]:
    # Warnings and messages give advice for trainings, and this is none.
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
