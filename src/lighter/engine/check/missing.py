"""Parts that a stage lacks, as far as the classes and the config tell; the engine looks once more at what was built."""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection
from glob import glob, has_magic
from pathlib import Path
from types import CodeType
from typing import Any

from pytorch_lightning import LightningDataModule, LightningModule

from lighter.base import BaseModule
from lighter.config.problems import nearest
from lighter.config.tree import Node, is_reference
from lighter.engine.build import LOADER_ARGUMENTS, LOADERS, STEPS, is_a, no_loader, no_part, no_step
from lighter.engine.check.context import Context, is_ours, members_of_users
from lighter.engine.check.split import is_split_alone, predicts_validation
from lighter.parts.hooks import ExistsIf, is_marked

_HOOKS = (*STEPS.values(), *(f"{mode}_dataloader" for mode in LOADERS.values()))


def check_missing(context: Context, arguments: Collection[str] = ()) -> None:
    """Add a problem if the module lacks the stage's step or a part, or nothing has the data."""
    module, stage, section = context.kind(context.section), context.stage, context.section
    if module is None or not is_a(module) or not issubclass(module, LightningModule):
        return
    step = STEPS.get(stage)
    if step is not None and not _exists_sometimes(module, step) and not _has(context, section, module, step):
        context.problem(*no_step(module, section, stage))
    loader = f"{LOADERS[stage]}_dataloader"
    written = context.tree.find("data")
    # what only splits the data of a system makes none
    has_data = written is not None and written.value is not None and not is_split_alone(written)
    data = context.kind("data") if has_data else None
    is_unknown = has_data and (data is None or not is_a(data) or predicts_validation(context))
    sources = [(section, module), *([("data", data)] if data is not None else [])]
    is_given = LOADER_ARGUMENTS[stage] in arguments or context.argument(f"args::{stage}", LOADER_ARGUMENTS[stage])
    if not is_unknown and not is_given and not any(_has(context, path, kind, loader) for path, kind in sources):
        context.problem(*no_loader(section, stage))
    if is_ours(module) and issubclass(module, BaseModule):
        # A module says itself what it misses. Made without its constructor, which would need the network.
        bare: Any = object.__new__(module)
        for key in module.needed_for:
            bare.__dict__[key] = context.argument(section, key)
        for key, example in bare.missing(stage):
            context.problem(*no_part(section, stage, key, example))


def _has(context: Context, path: str, kind: type, hook: str) -> bool:
    if _exists_sometimes(kind, hook):
        return not is_ours(kind) or _is_configured(context, path, hook)
    method = inspect.getattr_static(kind, hook, None)
    of_lightning = [inspect.getattr_static(base, hook, None) for base in (LightningModule, LightningDataModule)]
    if not is_marked(method, "is_missing") and method not in of_lightning:
        return True
    # A constructor of the user's may set it on the instance, where no class shows it.
    return any(_may_assign(member, hook) for member in members_of_users(kind))


def _exists_sometimes(kind: type, hook: str) -> bool:
    # Steps and dataloaders of ours may exist only where there is data for them.
    return isinstance(inspect.getattr_static(kind, hook, None), ExistsIf)


def _is_configured(context: Context, path: str, hook: str) -> bool:
    if path != "system":
        return context.argument(path, hook) is not None
    loaders = context.argument(path, "dataloaders")
    # A system without any dataloaders takes them from elsewhere.
    if loaders is None:
        return not hook.endswith("_dataloader")
    is_by_mode = isinstance(loaders[1].value, dict)
    return not is_by_mode or context.argument(loaders[0], LOADERS[context.stage]) is not None


def _may_assign(member: object, hook: str) -> bool:
    code = getattr(member, "__code__", None)
    if not isinstance(code, CodeType):
        return False
    if hook in code.co_names or hook in code.co_consts:
        return True
    # By names that are not known, any hook may be set.
    return hook in _HOOKS and not {"setattr", "__dict__"}.isdisjoint(code.co_names)


def check_checkpoints(context: Context, arguments: Collection[str]) -> None:
    """Add a problem for each checkpoint in the config that does not exist."""
    start = context.argument(f"args::{context.stage}", "ckpt_path") if "ckpt_path" not in arguments else None
    if start is not None and start[1].value not in ("last", "best"):
        _check_file(context, *start)
    weights = context.argument(context.section, "ckpt_path")
    if context.stage == "fit" and weights is not None and hasattr(context.kind(context.section), "needed_for"):
        for path in context.items(weights[0]):
            _check_file(context, *(context.argument(path, "path") or (path, context.node(path))))


def _check_file(context: Context, path: str, node: Node) -> None:
    name = node.value
    if not isinstance(name, str) or is_reference(name) or "://" in name or os.path.exists(os.path.expanduser(name)):
        return
    if has_magic(name) and glob(os.path.expanduser(name), recursive=True):
        return
    folder = Path(name).parent
    is_folder = os.path.isdir(folder)
    siblings = sorted(str(file) for file in folder.glob(f"*{Path(name).suffix}")) if is_folder else []
    hint = nearest(name, siblings) if is_folder else f"There is no folder {folder}."
    context.problem(f"there is no checkpoint {name}", path, hint)
