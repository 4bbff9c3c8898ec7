"""The objects of a run from a checked config: module, data and trainer, each only with what the stage needs."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lighter.config.inherit import by_mode
from lighter.config.objects import Objects, defer
from lighter.config.problems import Problem
from lighter.config.prune import prune, unneeded
from lighter.config.tree import is_target, join
from lighter.engine.families import PACKAGES, family, is_overridden
from lighter.errors import ConfigError
from lighter.run.paths import RunFolder

_EXAMPLES = {
    "model": "model:\n  _target_: my_module.MyModule   # a LightningModule, a LighterModule, ...",
    "system": "system:\n  _target_: lighter.System",
    "data": "data:\n  _target_: lighter.LighterDataModule\n  train_dataloader: {_target_: ...}",
    "trainer": "trainer:\n  max_epochs: 10",
}
_STEPS = {"fit": "training_step", "validate": "validation_step", "test": "test_step"}
_LOADERS = {"fit": "train", "validate": "val", "test": "test", "predict": "predict"}


@dataclass(frozen=True)
class Parts:
    """What Lightning runs.

    Attributes:
        package: the package of Lightning that all three are of.
    """

    module: Any
    data: Any
    trainer: Any
    package: str


def build_module(objects: Objects, section: str, stage: str) -> Any:
    """The module, without the arguments that the stage does not need and with its optimizers still to be built."""
    _prepare(objects, section, stage)
    module = objects.get(section)
    _require(objects, module, "LightningModule", section)
    return module


def build_data(objects: Objects, stage: str) -> Any:
    """The data module, with the loaders that the stage needs; None if the config has none."""
    if "data" not in objects.sections or objects.definition("data") is None:
        return None
    _prepare(objects, "data", stage)
    data = objects.get("data")
    _require(objects, data, "LightningDataModule", "data")
    return data


def build_trainer(objects: Objects, package: str, folder: RunFolder) -> Any:
    """The trainer; its folder is the run's, unless the config has another. Its default is of the module's package."""
    path = objects.followed("trainer")
    given = objects.definition(path) if "trainer" in objects.sections else None
    if given is None or isinstance(given, Mapping):
        target = "lighter.Trainer" if package == PACKAGES[0] else f"{package}.Trainer"
        objects.exchange(path, {"_target_": target, "default_root_dir": str(folder.path), **(given or {})})
    trainer = objects.get("trainer")
    _require(objects, trainer, "Trainer", "trainer")
    if Path(trainer.default_root_dir).absolute() == folder.path.absolute():
        _save_into(folder, trainer)
    return trainer


def _save_into(folder: RunFolder, trainer: Any) -> None:
    """Let checkpoints that were given no place go where `--ckpt_path last` and `best` look.

    Lightning would put them into a folder of the first logger's, `lightning_logs/version_0/checkpoints`, say.
    """
    kind = sys.modules[family(type(trainer), "Trainer") or ""].callbacks.ModelCheckpoint
    for callback in trainer.callbacks:
        if isinstance(callback, kind) and callback.dirpath is None:
            callback.dirpath = str(folder.checkpoints)


def check_parts(objects: Objects, section: str, parts: Parts, stage: str) -> None:
    """Everything that a stage needs is there, and of one package.

    Raises:
        ConfigError: with all that is missing.
    """
    problems = _mixed(objects, section, parts) or _missing(objects, section, parts, stage)
    if problems:
        raise ConfigError(problems)


def _prepare(objects: Objects, section: str, stage: str) -> None:
    section = objects.followed(section)
    definition = objects.definition(section)
    if not is_target(definition):
        return
    target = objects.target(section)
    needed_for = getattr(target, "needed_for", None)
    if not isinstance(needed_for, Mapping):
        return
    without = unneeded(needed_for, stage)
    inherited = {
        key: modes for key, modes in getattr(target, "inherits", {}).items() if definition.get(key) is not None
    }
    for key, modes in inherited.items():
        definition = {**definition, key: by_mode(definition[key], modes)}
        objects.define(join(section, key), definition[key])
    pruned = prune(definition, without, _required(target))
    for key, modes in inherited.items():  # a mode that is not needed is not to take that of the mode before it either
        pruned[key] = {**dict.fromkeys(modes), **pruned[key]}
    later = {key for key in getattr(target, "built_on_use", ()) if key in without}
    deferred = [key for key in getattr(target, "deferred", ()) if pruned.get(key) is not None]
    for key in {*deferred, *later}:
        if definition.get(key) is not None:
            pruned[key] = defer(objects, join(section, key))
    _forbid_early_use(objects, [join(section, key) for key in deferred])
    objects.exchange(section, pruned)


def name_functions(objects: Objects) -> None:
    """Let `_target_` name a function, instead of calling it, in the arguments for which a class says so.

    A class says so by `functions`, as the adapters do for their transforms. A `_target_` that is a class, or has a
    `_mode_` of its own, is left as it is.
    """
    for path, definition in objects.definitions():
        if not any(str(key).endswith("_transforms") for key in definition):
            continue
        for key in getattr(objects.target_or_none(path), "functions", ()):
            for inner in _definitions_in(definition.get(key), join(path, key)):
                named = objects.definition(inner)
                function = objects.target_or_none(inner)
                if "_mode_" not in named and function is not None and not inspect.isclass(function):
                    objects.define(inner, {**named, "_mode_": "callable"})


def _definitions_in(value: Any, path: str) -> list[str]:
    """The path of a definition, or of those in a list."""
    if isinstance(value, list):
        return [found for index, item in enumerate(value) for found in _definitions_in(item, join(path, index))]
    return [path] if is_target(value) else []


def _forbid_early_use(objects: Objects, paths: list[str]) -> None:
    problems = [
        objects.problem(
            f"`@{path}` is built when the trainer asks for it, so only optimizers and schedulers can refer to it", user
        )
        for path in paths
        for user in objects.references_to(path, outside=paths)
    ]
    if problems:
        raise ConfigError(problems)


def _required(target: Any) -> set[str]:
    """The arguments that a class cannot be made without."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return set()
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {item.name for item in parameters if item.default is inspect.Parameter.empty and item.kind not in variable}


def _require(objects: Objects, built: Any, base: str, section: str) -> None:
    if family(type(built), base) is not None:
        return
    kind = type(built)
    found = f"{kind.__module__}.{kind.__qualname__}" if kind.__module__ != "builtins" else kind.__qualname__
    raise ConfigError([objects.problem(f"`{section}` must be a {base}; found a {found}", section, _EXAMPLES[section])])


def _mixed(objects: Objects, section: str, parts: Parts) -> list[Problem]:
    """The parts that are of the other package of Lightning than the module."""
    problems = []
    for built, base, path in ((parts.data, "LightningDataModule", "data"), (parts.trainer, "Trainer", "trainer")):
        found = family(type(built), base) if built is not None else None
        if found is None or found == parts.package:
            continue
        message = (
            f"`{path}` is of the package `{found}`, but `{section}` is of `{parts.package}`; one run uses one of them"
        )
        hint = (
            f"Change it to `_target_: {parts.package}.Trainer`."
            if path == "trainer"
            else f"Import `{base}` from `{parts.package}` in {type(built).__module__}, or use {found} for all."
        )
        problems.append(objects.problem(message, join(path, "_target_"), hint))
    for index, callback in enumerate(parts.trainer.callbacks if not problems else ()):
        found = family(type(callback), "Callback")
        if type(callback).__name__ == "ModelCheckpoint" and found != parts.package:
            message = f"this ModelCheckpoint is of `{found}`, but the trainer is of `{parts.package}`"
            hint = f"Change it to `_target_: {parts.package}.callbacks.ModelCheckpoint`."
            problems.append(objects.problem(message, f"trainer::callbacks::{index}", hint))
    return problems


def _missing(objects: Objects, section: str, parts: Parts, stage: str) -> list[Problem]:
    problems = []
    step, loader = _STEPS.get(stage), f"{_LOADERS[stage]}_dataloader"
    kind = type(parts.module)
    if step is not None and not is_overridden(step, parts.module):
        message = f"`{stage}` needs a `{step}`, and {kind.__name__} has none"
        hint = f"Write it in {kind.__module__}.{kind.__name__}:\ndef {step}(self, batch, batch_idx): ..."
        problems.append(objects.problem(message, section, hint))
    if not any(is_overridden(loader, part) for part in (parts.module, parts.data) if part is not None):
        where = "data" if section == "model" else section
        key = f"data::{loader}" if section == "model" else f"{section}::dataloaders::{_LOADERS[stage]}"
        hint = f"Add `{key}`, or write `{loader}` in the data module or the module."
        problems.append(objects.problem(f"`{stage}` needs a dataloader, and there is no `{loader}`", where, hint))
    if hasattr(kind, "needed_for"):
        for key, example in parts.module.missing(stage):
            message = f"`{stage}` needs `{section}::{key}`, and there is none"
            problems.append(objects.problem(message, section, example))
    return problems
