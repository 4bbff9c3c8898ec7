"""The arguments of the trainer's method: the config's `args`, and over them those of the command or the caller."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lighter.config.load import Input
from lighter.config.problems import Problem, indefinite, nearest
from lighter.config.safe.mode import RefusedError
from lighter.errors import ConfigError

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from lighter.config.objects import Objects

WEIGHTS_ONLY_IN_CONFIG = (
    "a config does not decide whether a checkpoint may run code; --no-weights_only does, on the command line"
)
_NOT_ONLY_WEIGHTS = (
    "weights_only is off: the checkpoint can run any code while it is loaded. Do this only with files that you trust."
)


def split_sections(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], list[Input]]:
    """Separate the arguments that stand for sections of the config, `model` and `datamodule`, from the others."""
    sections = {"model": arguments.get("model"), "data": arguments.get("datamodule")}
    live = {section: value for section, value in sections.items() if value is not None}
    others = {key: value for key, value in arguments.items() if key not in ("model", "datamodule")}
    return others, [live] if live else []


def allowed_arguments(method: Callable[..., Any]) -> list[str]:
    """Return the arguments of a trainer's method that a config or a command can give."""
    return [name for name in inspect.signature(method).parameters if name not in ("self", "model", "datamodule")]


def call_arguments(objects: Objects, stage: str, trainer: pl.Trainer, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments for a call of the trainer's method; raise a `ConfigError` for those that it does not take.

    Those `given` by the command or the caller go before those of the config; None stands for none.
    """
    configured = _configured(objects, stage)
    allowed = allowed_arguments(getattr(trainer, stage))
    message = f"`trainer.{stage}` has no argument `{{}}`"
    unknown = [key for key in configured if key not in allowed]
    problems = [objects.problem(message.format(key), f"args::{stage}::{key}", nearest(key, allowed)) for key in unknown]
    problems += [Problem(message.format(key), hint=nearest(key, allowed)) for key in given if key not in allowed]
    problems += _refused(objects, stage, configured, given)
    if problems:
        raise ConfigError(problems)
    call = {**configured, **{key: value for key, value in given.items() if value is not None}}
    # Always passed: by default Lightning runs the code of a checkpoint at a URL.
    if "weights_only" in allowed:
        call["weights_only"] = given.get("weights_only") is not False
        if not call["weights_only"]:
            warnings.warn(_NOT_ONLY_WEIGHTS, stacklevel=2)
    return call


def _configured(objects: Objects, stage: str) -> dict[str, Any]:
    if not (objects.lookup("args") or {}).get(stage):
        return {}
    path = f"args::{stage}"
    objects.define(path, objects.definition(path))
    configured = objects.get(path)
    if not isinstance(configured, Mapping):
        message = f"the arguments of a stage are a dict; found {indefinite(configured)}"
        raise ConfigError([objects.problem(message, path)])
    return dict(configured)


def _refused(objects: Objects, stage: str, configured: Mapping[str, Any], given: Mapping[str, Any]) -> list[Problem]:
    """Return what a config must not decide."""
    problems = []
    # That a checkpoint may run code is for whoever starts the run to say.
    if configured.get("weights_only") not in (True, None):
        problems.append(objects.problem(WEIGHTS_ONLY_IN_CONFIG, f"args::{stage}::weights_only"))
    if objects.safe is None:
        return problems
    if given.get("weights_only") is False:
        problems.append(Problem("in safe mode checkpoints are loaded with `weights_only`, always"))
    # A checkpoint that the caller names is the caller's choice; one that the config names is checked as other paths
    # are.
    if given.get("ckpt_path") is None and configured.get("ckpt_path") not in (None, "last", "best"):
        try:
            objects.safe.check_path(configured["ckpt_path"], "ckpt_path")
        except RefusedError as refused:
            problems.append(objects.problem(str(refused), f"args::{stage}::ckpt_path", refused.hint))
    return problems


def with_arguments(config: dict[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config that, when it is run again, predicts with the same arguments, the same checkpoint above all."""
    kept = {
        key: value
        for key, value in arguments.items()
        # No config decides whether a checkpoint may run code.
        if key != "weights_only" and isinstance(value, (str, bool, int))
    }
    path = str(kept.get("ckpt_path", "://"))
    if "://" not in path:  # it is run again from another folder, perhaps
        kept["ckpt_path"] = str(Path(path).absolute())
    if not kept:
        return config
    args = config.get("args") or {}
    return {**config, "args": {**args, "predict": {**(args.get("predict") or {}), **kept}}}
