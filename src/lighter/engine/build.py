"""The objects of a run from a checked config: module, data and trainer, each only with what the stage needs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, MappingProxyType
from typing import Any

from lighter.base import BaseModule
from lighter.config.defaults import LOGGERS
from lighter.config.deferred import defer
from lighter.config.inherit import by_mode
from lighter.config.objects import Objects
from lighter.config.problems import Problem, indefinite
from lighter.config.prune import prune, unneeded
from lighter.config.tree import is_target, join
from lighter.engine.lightning_classes import inherits, is_overridden
from lighter.errors import ConfigError
from lighter.files.run_folder import RunFolder
from lighter.lightning_alias import refusal
from lighter.runs.loggers import keep_metrics_csv, write_into

_EXAMPLES = {
    "model": "model:\n  _target_: my_module.MyModule   # a LightningModule, a LighterModule, ...",
    "system": "system:\n  _target_: lighter.System",
    "data": "data:\n  _target_: lighter.LighterDataModule\n  train_dataloader: {_target_: ...}",
    "trainer": "trainer:\n  max_epochs: 10",
}
STEPS = {"fit": "training_step", "validate": "validation_step", "test": "test_step"}
DECIDES_NOT = "a config does not decide whether a checkpoint may run code; --no-weights_only does, on the command line"
LOADER_ARGUMENTS = {"fit": "train_dataloaders", **dict.fromkeys(("validate", "test", "predict"), "dataloaders")}
LOADERS = {"fit": "train", "validate": "val", "test": "test", "predict": "predict"}


@dataclass(frozen=True)
class Parts:
    """The objects that Lightning runs."""

    module: Any
    data: Any
    trainer: Any


def build_module(objects: Objects, section: str, stage: str) -> Any:
    """The module, without the arguments that the stage does not need and with its optimizers still to be built."""
    left_out = _prepare(objects, section, stage)
    module = objects.get(section)
    _require(objects, module, "LightningModule", section)
    if isinstance(module, BaseModule):
        kinds = (kind for kind in type(module).__mro__ if kind.__module__.partition(".")[0] == "lighter")
        ours: Mapping[str, Any] = next(kinds).__dict__.get("needed_for", BaseModule.needed_for)
        module.pruned = frozenset(left_out - ours.keys())
    return module


def build_data(objects: Objects, stage: str) -> Any:
    """The data module, with the loaders that the stage needs; None if the config has none."""
    if "data" not in objects.sections or objects.definition("data") is None:
        return None
    _prepare(objects, "data", stage)
    data = objects.get("data")
    _require(objects, data, "LightningDataModule", "data")
    return data


def build_trainer(objects: Objects, folder: RunFolder | None = None) -> Any:
    """The trainer; its folder is the run's, unless the config has another."""
    path = objects.followed("trainer")
    given = objects.definition(path) if "trainer" in objects.sections else None
    if given is None or isinstance(given, Mapping):
        root = {"default_root_dir": str(folder.path)} if folder is not None else {}
        objects.exchange(path, {"_target_": "lighter.Trainer", **root, **(given or {})})
        write_into(objects, (given or {}).get("default_root_dir") or root.get("default_root_dir") or ".")
    trainer = objects.get("trainer")
    _require(objects, trainer, "Trainer", "trainer")
    if folder is not None and Path(trainer.default_root_dir).absolute() == folder.path.absolute():
        _save_into(folder, trainer)
        keep_metrics_csv(trainer, folder.path)
    return trainer


def _save_into(folder: RunFolder, trainer: Any) -> None:
    """Let checkpoints that were given no place go where `--ckpt_path last` and `best` look.

    Lightning would put them into a folder of the first logger's, `lightning_logs/version_0/checkpoints`, say.
    """
    from pytorch_lightning.callbacks import ModelCheckpoint

    for callback in trainer.callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
            callback.dirpath = str(folder.checkpoints)


def check_parts(
    objects: Objects, section: str, parts: Parts, stage: str, call: Mapping[str, object] = MappingProxyType({})
) -> None:
    """Everything that a stage needs is there, and of one copy of Lightning.

    Args:
        objects: the config's.
        section: where the module is.
        parts: what was built.
        stage: what is to run.
        call: the arguments of the trainer's method.

    Raises:
        ConfigError: with all that is missing.
    """
    problems = _wrong_objects(objects, parts.trainer) or _missing(objects, section, parts, stage, call)
    if problems:
        raise ConfigError(problems)


def _prepare(objects: Objects, section: str, stage: str) -> set[str]:
    """Take away what the stage does not need, and return the arguments that are left out."""
    section = objects.followed(section)
    definition = objects.definition(section)
    if not is_target(definition):
        return set()
    target = objects.target(section)
    needed_for = getattr(target, "needed_for", None)
    if not isinstance(needed_for, Mapping):
        return set()
    without = unneeded(needed_for, stage)
    inherited = {
        key: modes for key, modes in getattr(target, "inherits", {}).items() if definition.get(key) is not None
    }
    for key, modes in inherited.items():
        definition = {**definition, key: by_mode(definition[key], modes)}
        objects.define(join(section, key), definition[key])
    pruned = prune(definition, without, required(target))
    for key, modes in inherited.items():  # a mode that is not needed is not to take that of the mode before it either
        pruned[key] = {**dict.fromkeys(modes), **pruned[key]}
    later = {key for key in getattr(target, "built_on_use", ()) if key in without}
    deferred = [key for key in getattr(target, "deferred", ()) if pruned.get(key) is not None]
    for key in {*deferred, *later}:
        if definition.get(key) is not None:
            pruned[key] = defer(objects, join(section, key))
    _forbid_early_use(objects, [join(section, key) for key in deferred])
    objects.exchange(section, pruned)
    return {path for path in without if definition.get(path) is not None}


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


def required(target: Any) -> set[str]:
    """The arguments that a class cannot be made without."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return set()
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {item.name for item in parameters if item.default is inspect.Parameter.empty and item.kind not in variable}


def _require(objects: Objects, built: Any, base: str, section: str) -> None:
    wrong = wrong_kind(type(built), base, section)
    if wrong is not None:
        raise ConfigError([objects.problem(wrong[0], section, wrong[1])])


def wrong_kind(kind: type, base: str, section: str) -> tuple[str, str] | None:
    """Message and hint, if the class of a section's object is not the one that Lightning runs."""
    if inherits(kind, base):
        return None
    second_copy = refusal(kind)
    if second_copy is not None:
        return second_copy
    found = f"{kind.__module__}.{kind.__qualname__}" if kind.__module__ != "builtins" else kind.__qualname__
    return f"`{section}` must be a {base}; found a {found}", _EXAMPLES[section]


def is_a(kind: type) -> bool:
    """Whether a call of a class makes an object of that class, as far as can be told without calling it."""
    written_in_python = (inspect.getattr_static(kind, "__new__"), inspect.getattr_static(type(kind), "__call__"))
    return not any(isinstance(item, (FunctionType, staticmethod)) for item in written_in_python)


_OBJECTS = {  # what every one of these has, and a hint where something else was given
    "callbacks": ("state_key", "A callback: {_target_: pytorch_lightning.callbacks.LearningRateMonitor}"),
    "logger": ("log_hyperparams", f"Write a name without `$`, one of {', '.join(LOGGERS)}, or a definition."),
}


def _wrong_objects(objects: Objects, trainer: Any) -> list[Problem]:
    """Callbacks and loggers that are none, or of a second copy of Lightning that `lightning_alias` found loaded."""
    found = []
    for key, built in {"callbacks": trainer.callbacks, "logger": trainer.loggers}.items():
        attribute, hint = _OBJECTS[key]
        for index, item in enumerate(built):
            inside = join(f"trainer::{key}", index)
            path = inside if objects.has(inside) else f"trainer::{key}"
            second_copy = refusal(type(item))
            if second_copy is not None:
                found.append(objects.problem(second_copy[0], path, second_copy[1]))
            elif not hasattr(item, attribute):
                message = f"this is no {key.removesuffix('s')}: {indefinite(item)}"
                found.append(objects.problem(message, path, hint))
    return [*{problem.path: problem for problem in reversed(found)}.values()]  # of a text, Lightning takes the letters


def _missing(objects: Objects, section: str, parts: Parts, stage: str, call: Mapping[str, object]) -> list[Problem]:
    found = []
    loaders = [key for key, value in call.items() if key.endswith("dataloaders") and value is not None]
    if loaders and parts.data is not None:
        hint = f"Leave one of them out: `{loaders[0]}`, or the data: ~data"
        found.append((f"the dataloaders are those of `data`, and `{loaders[0]}` is given beside it", "data", hint))
    step, loader = STEPS.get(stage), f"{LOADERS[stage]}_dataloader"
    kind = type(parts.module)
    if step is not None and not is_overridden(step, parts.module):
        found.append(no_step(kind, section, stage))
    sources = [part for part in (parts.module, parts.data) if part is not None]
    if LOADER_ARGUMENTS[stage] not in loaders and not any(is_overridden(loader, part) for part in sources):
        found.append(no_loader(section, stage))
    if hasattr(kind, "needed_for"):
        found += [no_part(section, stage, key, example) for key, example in parts.module.missing(stage)]
    return [objects.problem(*problem) for problem in found]


def no_step(kind: type, section: str, stage: str) -> tuple[str, str, str]:
    """Message, path and hint where a module lacks the step of a stage."""
    message = f"`{stage}` needs a `{STEPS[stage]}`, and {kind.__name__} has none"
    where = f"{kind.__module__}.{kind.__name__}"
    where = f"a subclass of {kind.__name__}" if where.startswith("lighter.") else where
    return message, section, f"Write it in {where}:\ndef {STEPS[stage]}(self, batch, batch_idx): ..."


def no_loader(section: str, stage: str) -> tuple[str, str, str]:
    """The same where nothing has the data of a stage."""
    loader = f"{LOADERS[stage]}_dataloader"
    key = f"data::{loader}" if section == "model" else f"{section}::dataloaders::{LOADERS[stage]}"
    hint = f"Add `{key}`, or write `{loader}` in the data module or the module."
    message = f"`{stage}` needs a dataloader, and there is no `{loader}`"
    return message, "data" if section == "model" else section, hint


def no_part(section: str, stage: str, key: str, example: str) -> tuple[str, str, str]:
    """The same where the config lacks an argument of the module."""
    return f"`{stage}` needs `{section}::{key}`, and there is none", section, example
