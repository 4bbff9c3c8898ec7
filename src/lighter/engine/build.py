"""The objects of a run from a checked config: module, data and trainer, each only with what the stage needs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import Parameter
from pathlib import Path
from types import FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.callbacks import ModelCheckpoint

from lighter.base import BaseModule
from lighter.config.defaults import LOGGERS
from lighter.config.deferred import defer
from lighter.config.inherit import by_mode
from lighter.config.objects import Objects
from lighter.config.problems import Problem, indefinite
from lighter.config.prune import prune
from lighter.config.signatures import parameters_of
from lighter.config.split_loaders import split_places
from lighter.config.tree import is_target, join
from lighter.engine.lightning_classes import is_overridden
from lighter.engine.parallel import add_strategy, check_parallel
from lighter.engine.plan import SectionPlan, StagePlan
from lighter.errors import ConfigError
from lighter.files.run_folder import RunFolder
from lighter.lightning_alias import refusal
from lighter.runs.loggers import keep_metrics_csv, write_into

if TYPE_CHECKING:
    from lighter.engine.split import DataSplit

_EXAMPLES = {
    "model": "model:\n  _target_: my_module.MyModule   # a LightningModule, a LighterModule, ...",
    "system": "system:\n  _target_: lighter.System",
    "data": "data:\n  _target_: lighter.LighterDataModule\n  train_dataloader: {_target_: ...}",
    "trainer": "trainer:\n  max_epochs: 10",
}
STEPS = {"fit": "training_step", "validate": "validation_step", "test": "test_step"}
LOADER_ARGUMENTS = {"fit": "train_dataloaders", **dict.fromkeys(("validate", "test", "predict"), "dataloaders")}
LOADERS = {"fit": "train", "validate": "val", "test": "test", "predict": "predict"}


@dataclass(frozen=True)
class Parts:
    """The objects that Lightning runs; `data` is None if the module has its own."""

    module: LightningModule
    data: LightningDataModule | None
    trainer: pl.Trainer


def prepare_split(objects: Objects, plan: StagePlan) -> DataSplit | None:
    """Let what is built get its side of the data (`data::split`); None if nothing is split.

    Raises:
        ConfigError: the settings of the split are wrong.
    """
    places = split_places(objects.tree)
    if places is None or (plan.data.target is not None and plan.data.for_split is None):
        return None
    from lighter.engine.split import DataSplit  # most runs split nothing

    split = DataSplit.of(objects, places)
    if plan.data.for_split:
        split.define_indices()
    else:
        split.cut_loaders()
    return split


def build_module(objects: Objects, plan: StagePlan) -> LightningModule:
    """Build the module, without the arguments that the stage does not need and with its optimizers deferred."""
    left_out = _prune(objects, plan.module)
    module: LightningModule = objects.get(plan.section)
    _require(objects, module, LightningModule, plan.section)
    if isinstance(module, BaseModule):
        # Lighter's own arguments are known by their names when weights are missing; a user's class may keep its own
        # under others.
        classes = (kind for kind in type(module).__mro__ if kind.__module__.partition(".")[0] == "lighter")
        ours: Mapping[str, Any] = next(classes).__dict__.get("needed_for", BaseModule.needed_for)
        module.pruned = frozenset(left_out - ours.keys())
    return module


def build_data(objects: Objects, plan: StagePlan) -> LightningDataModule | None:
    written = objects.lookup("data")
    # what only splits the data of a system makes none
    if written is None or (isinstance(written, Mapping) and not is_target(written)):
        return None
    _prune(objects, plan.data)
    data: LightningDataModule = objects.get("data")
    _require(objects, data, LightningDataModule, "data")
    return data


def build_trainer(objects: Objects, folder: RunFolder | None = None) -> pl.Trainer:
    """Build the trainer; its folder is the run's, unless the config has another."""
    path = objects.followed("trainer")
    written = objects.lookup(path)
    if written is None or isinstance(written, Mapping):
        root = {"default_root_dir": str(folder.path)} if folder is not None else {}
        arguments = {**root, **(written or {})}
        # a `_target_` of the config's own goes before ours
        objects.exchange(path, {"_target_": "lighter.Trainer", **arguments})
        # Without a folder in their definitions, Lightning's loggers would write into the working directory.
        write_into(objects, arguments.get("default_root_dir") or root.get("default_root_dir") or ".")
        add_strategy(objects, path)
    trainer: pl.Trainer = objects.get("trainer")
    _require(objects, trainer, pl.Trainer, "trainer")
    if folder is not None and Path(trainer.default_root_dir).absolute() == folder.path.absolute():
        for callback in trainer.checkpoint_callbacks:
            # Lightning would save into a folder of the first logger, where `--ckpt_path last` does not look
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(folder.checkpoints)
        keep_metrics_csv(trainer, folder.path)
    return trainer


def _prune(objects: Objects, plan: SectionPlan) -> set[str]:
    """Take away what the stage does not need, and return the arguments that are left out."""
    splits = plan.for_split is not None and objects.has(join(plan.path, "split"))
    if not (plan.unneeded or plan.deferred or plan.inherited or splits):
        return set()
    definition = objects.definition(plan.path)
    if splits:
        definition = {**{key: value for key, value in definition.items() if key != "split"}, **(plan.for_split or {})}
    inherited = {key: modes for key, modes in plan.inherited.items() if definition.get(key) is not None}
    for key, modes in inherited.items():
        definition = {**definition, key: by_mode(definition[key], modes)}
        objects.define(join(plan.path, key), definition[key])
    pruned = prune(definition, plan.unneeded, required(plan.target))
    # A mode that is not needed must not take what the mode before it has.
    for key, modes in inherited.items():
        pruned[key] = {**dict.fromkeys(modes), **pruned[key]}
    deferred = [key for key in plan.deferred if pruned.get(key) is not None]
    for key in {*deferred, *plan.on_use}:
        if definition.get(key) is not None:
            pruned[key] = defer(objects, join(plan.path, key))
    _forbid_early_use(objects, [join(plan.path, key) for key in deferred])
    objects.exchange(plan.path, pruned)
    return {path for path in plan.unneeded if definition.get(path) is not None}


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
    parameters = (parameters_of(target) or {}).values()
    variable = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return {item.name for item in parameters if item.default is Parameter.empty and item.kind not in variable}


def _require(objects: Objects, built: object, base: type, section: str) -> None:
    wrong = wrong_kind(type(built), base, section)
    if wrong is not None:
        raise ConfigError([objects.problem(wrong[0], section, wrong[1])])


def wrong_kind(kind: type, base: type, section: str) -> tuple[str, str] | None:
    """Return message and hint, if the class of a section's object is not the one that Lightning runs."""
    if issubclass(kind, base):
        return None
    second_copy = refusal(kind)
    if second_copy is not None:
        return second_copy
    name = f"{kind.__module__}.{kind.__qualname__}" if kind.__module__ != "builtins" else kind.__qualname__
    return f"`{section}` must be a {base.__name__}; found a {name}", _EXAMPLES[section]


def is_a(kind: type) -> bool:
    """Return whether a call of a class makes an object of it, as far as can be told without calling it."""
    # A `__new__` or a metaclass of the user's may return anything; those in C make an object.
    written_in_python = (inspect.getattr_static(kind, "__new__"), inspect.getattr_static(type(kind), "__call__"))
    return not any(isinstance(item, (FunctionType, staticmethod)) for item in written_in_python)


def check_parts(
    objects: Objects, plan: StagePlan, parts: Parts, call: Mapping[str, object] = MappingProxyType({})
) -> None:
    """See that all that a stage needs is there, and of one copy of Lightning.

    `call` has the arguments of the trainer's method. Raise a `ConfigError` with all that is missing.
    """
    problems = _wrong_objects(objects, parts.trainer) or _missing(objects, plan, parts, call)
    if problems:
        raise ConfigError(problems)
    check_parallel(objects, parts.module)


# An attribute that every one of these has, and a hint where something else is there.
_OBJECTS = {
    "callbacks": ("state_key", "A callback: {_target_: pytorch_lightning.callbacks.LearningRateMonitor}"),
    "logger": ("log_hyperparams", f"Write a name without `$`, one of {', '.join(LOGGERS)}, or a definition."),
}


def _wrong_objects(objects: Objects, trainer: pl.Trainer) -> list[Problem]:
    problems: dict[str, Problem] = {}  # one for each path
    # Lightning asks nothing of them before the run, and a text it takes apart into letters.
    for key, built in {"callbacks": trainer.callbacks, "logger": trainer.loggers}.items():  # type: ignore[attr-defined]
        attribute, hint = _OBJECTS[key]
        for index, item in enumerate(built):
            inside = join(f"trainer::{key}", index)
            path = inside if objects.has(inside) else f"trainer::{key}"
            second_copy = refusal(type(item))
            if second_copy is not None:
                problems.setdefault(path, objects.problem(second_copy[0], path, second_copy[1]))
            elif not hasattr(item, attribute):
                message = f"this is no {key.removesuffix('s')}: {indefinite(item)}"
                problems.setdefault(path, objects.problem(message, path, hint))
    return list(problems.values())


def _missing(objects: Objects, plan: StagePlan, parts: Parts, call: Mapping[str, object]) -> list[Problem]:
    stage, section, kind, problems = plan.stage, plan.section, type(parts.module), []
    loaders = [key for key, value in call.items() if key.endswith("dataloaders") and value is not None]
    if loaders and parts.data is not None:
        hint = f"Leave one of them out: `{loaders[0]}`, or the data: ~data"
        problems.append((f"the dataloaders are those of `data`, and `{loaders[0]}` is given beside it", "data", hint))
    step = STEPS.get(stage)
    if step is not None and not is_overridden(step, parts.module):
        problems.append(no_step(kind, section, stage))
    has_loader = any(is_overridden(f"{LOADERS[stage]}_dataloader", source) for source in (parts.module, parts.data))
    if LOADER_ARGUMENTS[stage] not in loaders and not has_loader:
        problems.append(no_loader(section, stage))
    if isinstance(parts.module, BaseModule):
        problems += [no_part(section, stage, key, example) for key, example in parts.module.missing(stage)]
    return [objects.problem(*problem) for problem in problems]


def no_step(kind: type, section: str, stage: str) -> tuple[str, str, str]:
    message = f"`{stage}` needs a `{STEPS[stage]}`, and {kind.__name__} has none"
    is_ours = kind.__module__.partition(".")[0] == "lighter"
    where = f"a subclass of {kind.__name__}" if is_ours else f"{kind.__module__}.{kind.__name__}"
    return message, section, f"Write it in {where}:\ndef {STEPS[stage]}(self, batch, batch_idx): ..."


def no_loader(section: str, stage: str) -> tuple[str, str, str]:
    loader = f"{LOADERS[stage]}_dataloader"
    key = f"data::{loader}" if section == "model" else f"{section}::dataloaders::{LOADERS[stage]}"
    hint = f"Add `{key}`, or write `{loader}` in the data module or the module."
    message = f"`{stage}` needs a dataloader, and there is no `{loader}`"
    return message, "data" if section == "model" else section, hint


def no_part(section: str, stage: str, key: str, example: str) -> tuple[str, str, str]:
    return f"`{stage}` needs `{section}::{key}`, and there is none", section, example
