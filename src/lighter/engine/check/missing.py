"""A stage whose parts are missing, as far as the classes and the config tell; the engine asks again what was built."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from types import CodeType
from typing import Any

from lighter.engine.build import LOADERS, STEPS, is_a, no_loader, no_part, no_step
from lighter.engine.check.found import Found
from lighter.engine.families import PACKAGES, family

_BASES = ("LightningModule", "LightningDataModule")


def check_missing(found: Found) -> None:
    """The module has the stage's step and its parts, and somebody has the data."""
    module = found.kind(found.section)
    if module is None or not is_a(module) or family(module, "LightningModule") is None:
        return
    step = STEPS.get(found.stage)
    if step is not None and not _has(found, found.section, module, step):
        found.problem(*no_step(module, found.section, found.stage))
    loader = f"{LOADERS[found.stage]}_dataloader"
    has_data = "data" in found.tree.value and found.tree.value["data"].value is not None
    data = found.kind("data") if has_data else None
    unknown = has_data and (data is None or not is_a(data))
    sources = [(found.section, module), *([("data", data)] if data is not None else [])]
    if not unknown and not any(_has(found, path, kind, loader) for path, kind in sources):
        found.problem(*no_loader(found.section, found.stage))
    if _is_ours(module.__init__):
        for key, example in _without(found, module).missing(found.stage):
            found.problem(*no_part(found.section, found.stage, key, example))


def _without(found: Found, module: type) -> Any:
    """A bare module that has the parts which the config gives: to be asked what it misses, and for nothing else."""
    bare = module.__new__(module)
    for key in getattr(module, "needed_for", ()):
        bare.__dict__[key] = found.argument(found.section, key)
    return bare


def _has(found: Found, path: str, kind: type, hook: str) -> bool:
    """Whether a class has a step or dataloader, or may have it for all that can be told."""
    own = inspect.getattr_static(kind, hook, None)
    if type(own).__name__ == "ExistsIf":
        return not _is_ours(kind.__init__) or _is_configured(found, path, hook)
    bases = [getattr(sys.modules[package], base) for package in PACKAGES if package in sys.modules for base in _BASES]
    written = not getattr(own, "is_missing", False)
    written = written and all(own is not inspect.getattr_static(base, hook, None) for base in bases)
    return written or any(hook in names for names in _names_in(kind))


def _is_configured(found: Found, path: str, hook: str) -> bool:
    """Whether a part of ours that exists only with its data was given some."""
    mode = next((mode for mode in LOADERS.values() if hook in (f"{mode}_dataloader", _step_of(mode))), "")
    if found.section == path and path == "system":
        loaders = found.argument(path, "dataloaders")
        if loaders is None or not isinstance(loaders[1].value, dict):
            return not hook.endswith("_dataloader") or loaders is not None
        return found.argument(loaders[0], mode) is not None
    return found.argument(path, hook) is not None


def _step_of(mode: str) -> str:
    stages = {mode: stage for stage, mode in LOADERS.items()}
    return STEPS.get(stages[mode], "predict_step")


def _is_ours(constructor: Any) -> bool:
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
