"""Lightning's classes, looked up without importing Lightning where nothing of a config is of it."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

NAMES = ("pytorch_lightning", "lightning.pytorch")  # of the same modules: see `lightning_alias`
_BASES = ("LightningModule", "LightningDataModule")


def lightnings(name: str) -> type | None:
    """Return a public class of Lightning (LightningModule, Trainer, ...); None while Lightning is not imported."""
    if not any(package in sys.modules for package in NAMES):
        return None
    kind: type = getattr(import_module(NAMES[0]), name)
    return kind


def inherits(kind: type | None, name: str) -> bool:
    """Return whether a class inherits Lightning's class of a name."""
    base = lightnings(name)
    return kind is not None and base is not None and issubclass(kind, base)


def is_overridden(name: str, module: Any) -> bool:
    """Return whether a user wrote a hook or step of Lightning's, as Lightning sees it."""
    if not any(inherits(type(module), base) for base in _BASES):
        return False
    return bool(import_module(f"{NAMES[0]}.utilities.model_helpers").is_overridden(name, module))
