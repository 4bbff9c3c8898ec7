"""The two packages that Lightning comes in, told apart: a module of one does not run in the other's trainer."""

from __future__ import annotations

import sys
from typing import Any

PACKAGES = ("pytorch_lightning", "lightning.pytorch")


def family(kind: type, base: str) -> str | None:
    """The package whose `base` (LightningModule, Trainer, ...) a class inherits; None if it inherits neither."""
    for package in PACKAGES:
        module = sys.modules.get(package)
        if module is not None and issubclass(kind, getattr(module, base)):
            return package
    return None


def is_overridden(name: str, module: Any) -> bool:
    """Whether a user wrote a hook or step of Lightning's, as Lightning sees it."""
    for package in PACKAGES:
        lightning = sys.modules.get(package)
        for base in ("LightningModule", "LightningDataModule"):
            if lightning is not None and isinstance(module, getattr(lightning, base)):
                helpers = sys.modules[f"{package}.utilities.model_helpers"]
                return bool(helpers.is_overridden(name, module))
    return False
