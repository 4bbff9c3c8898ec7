"""A stage whose parts are missing, as far as the classes and the config tell; the engine asks again what was built."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator
from glob import glob, has_magic
from pathlib import Path
from types import CodeType
from typing import Any

from lighter.config.problems import nearest
from lighter.config.tree import Node, is_reference, join
from lighter.engine.build import LOADER_ARGUMENTS, LOADERS, STEPS, is_a, no_loader, no_part, no_step
from lighter.engine.check.found import Found
from lighter.engine.lightning_classes import inherits, lightnings
from lighter.parts.hooks import is_marked

_BASES = ("LightningModule", "LightningDataModule")


def check_missing(found: Found, given: Collection[str] = ()) -> None:
    """The module has the stage's step and its parts, and somebody has the data."""
    module = found.kind(found.section)
    if module is None or not is_a(module) or not inherits(module, "LightningModule"):
        return
    step = STEPS.get(found.stage)
    if step is not None and not _has(found, found.section, module, step) and not _exists_sometimes(module, step):
        found.problem(*no_step(module, found.section, found.stage))
    loader = f"{LOADERS[found.stage]}_dataloader"
    has_data = "data" in found.tree.value and found.tree.value["data"].value is not None
    data = found.kind("data") if has_data else None
    unknown = has_data and (data is None or not is_a(data))
    sources = [(found.section, module), *([("data", data)] if data is not None else [])]
    is_given = LOADER_ARGUMENTS[found.stage] in given or found.argument(
        f"args::{found.stage}", LOADER_ARGUMENTS[found.stage]
    )
    if not unknown and not is_given and not any(_has(found, path, kind, loader) for path, kind in sources):
        found.problem(*no_loader(found.section, found.stage))
    if is_ours(module):
        for key, example in _without(found, module).missing(found.stage):
            found.problem(*no_part(found.section, found.stage, key, example))


def check_checkpoints(found: Found, given: Collection[str]) -> None:
    """The checkpoints that the config names are there."""
    start = found.argument(f"args::{found.stage}", "ckpt_path") if "ckpt_path" not in given else None
    if start is not None and start[1].value not in ("last", "best"):
        _check_file(found, *start)
    module = found.kind(found.section)
    weights = found.argument(found.section, "ckpt_path")
    if found.stage == "fit" and weights is not None and hasattr(module, "needed_for"):
        path, node = weights
        for here in [join(path, step) for step in node.steps()] if isinstance(node.value, list) else [path]:
            inner = found.argument(here, "path") or (here, found.node(here))
            _check_file(found, *inner)


def _check_file(found: Found, path: str, node: Node) -> None:
    name = node.value
    if not isinstance(name, str) or is_reference(name) or "://" in name or Path(name).expanduser().exists():
        return
    if has_magic(name) and glob(str(Path(name).expanduser()), recursive=True):
        return
    folder = Path(name).parent
    beside = sorted(str(file) for file in folder.glob(f"*{Path(name).suffix}")) if folder.is_dir() else []
    hint = nearest(name, beside) if folder.is_dir() else f"There is no folder {folder}."
    found.problem(f"there is no checkpoint {name}", path, hint)


def _without(found: Found, module: type) -> Any:
    """A bare module that has the parts which the config gives: to be asked what it misses, and for nothing else."""
    bare: Any = object.__new__(module)
    for key in getattr(module, "needed_for", ()):
        bare.__dict__[key] = found.argument(found.section, key)
    return bare


def _has(found: Found, path: str, kind: type, hook: str) -> bool:
    """Whether a class has a step or dataloader, or may have it for all that can be told."""
    own = inspect.getattr_static(kind, hook, None)
    if _exists_sometimes(kind, hook):
        return not is_ours(kind) or _is_configured(found, path, hook)
    bases = [base for name in _BASES if (base := lightnings(name)) is not None]
    written = not is_marked(own, "is_missing")
    written = written and all(own is not inspect.getattr_static(base, hook, None) for base in bases)
    return written or any(hook in names for names in _names_in(kind))


def _exists_sometimes(kind: type, hook: str) -> bool:
    """Whether a step or dataloader of ours exists only where there is data for it."""
    return type(inspect.getattr_static(kind, hook, None)).__name__ == "ExistsIf"


def _is_configured(found: Found, path: str, hook: str) -> bool:
    """Whether a part of ours that exists only with its data was given some."""
    if path != "system":
        return found.argument(path, hook) is not None
    loaders = found.argument(path, "dataloaders")
    if loaders is None:  # a system without any dataloaders takes them from elsewhere
        return not hook.endswith("_dataloader")
    return not isinstance(loaders[1].value, dict) or found.argument(loaders[0], LOADERS[found.stage]) is not None


def is_ours(kind: type) -> bool:
    """Whether the constructor of a class is Lighter's own."""
    constructor = inspect.getattr_static(kind, "__init__")
    return str(getattr(constructor, "__module__", "")).startswith("lighter.")


def _names_in(kind: type) -> Iterator[tuple[str, ...]]:
    """The names that the methods of a class of the user's use: one may assign a hook, or make it otherwise."""
    for each in kind.__mro__:
        if each.__module__.partition(".")[0] in ("lighter", "pytorch_lightning", "lightning", "torch", "builtins"):
            continue
        for member in vars(each).values():
            code = getattr(member, "__code__", None)
            if isinstance(code, CodeType):
                yield (*code.co_names, *(name for name in code.co_consts if isinstance(name, str)))
                if "setattr" in code.co_names or "__dict__" in code.co_names:
                    yield tuple(STEPS.values()) + tuple(f"{mode}_dataloader" for mode in LOADERS.values())
