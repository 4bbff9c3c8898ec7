"""Lighter: deep learning experiments as configuration, on PyTorch Lightning.

The public names are resolved when they are first used, so that `import lighter` and `lighter --help`
import neither torch nor Lightning and change nothing in the process.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lighter.config.safe import SafeMode as SafeMode
    from lighter.data import LighterDataModule as LighterDataModule
    from lighter.engine.load import build as build
    from lighter.engine.load import load as load
    from lighter.engine.load import load_checkpoint as load_checkpoint
    from lighter.engine.runner import Runner as Runner
    from lighter.experiments.handle import Experiment as Experiment
    from lighter.forward import ForwardModule as ForwardModule
    from lighter.model import LighterModule as LighterModule
    from lighter.modes import Mode as Mode
    from lighter.results.entry import compare as compare
    from lighter.runs.handle import Run as Run
    from lighter.system import System as System
    from lighter.trainer import Trainer as Trainer

__version__ = "0.2.0.dev0"

_HOME = {
    "Experiment": "lighter.experiments.handle",
    "ForwardModule": "lighter.forward",
    "LighterDataModule": "lighter.data",
    "LighterModule": "lighter.model",
    "Mode": "lighter.modes",
    "Run": "lighter.runs.handle",
    "Runner": "lighter.engine.runner",
    "SafeMode": "lighter.config.safe",
    "System": "lighter.system",
    "Trainer": "lighter.trainer",
    "build": "lighter.engine.load",
    "compare": "lighter.results.entry",
    "load": "lighter.engine.load",
    "load_checkpoint": "lighter.engine.load",
}

__all__ = [
    "Experiment",
    "ForwardModule",
    "LighterDataModule",
    "LighterModule",
    "Mode",
    "Run",
    "Runner",
    "SafeMode",
    "System",
    "Trainer",
    "__version__",
    "build",
    "compare",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lighter' has no attribute {name!r}; it has {', '.join(sorted(_HOME))}")
    import_module("lighter.lightning_alias").install()
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


if "LIGHTER_LIGHTNING_ALIAS" in os.environ:  # a worker or rank: what it unpickles imports the user's modules
    import_module("lighter.lightning_alias").install()
if "LIGHTER_SAFE_FOLDERS" in os.environ:  # a process that a safe run has started: it writes where that may write
    import_module("lighter.config.safe.guard").inherit()
