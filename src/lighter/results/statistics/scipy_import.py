"""Import SciPy where it is used: it is an extra, and takes half a second that `lighter --help` should not."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from lighter.errors import LighterError


def scipy_stats() -> ModuleType:
    """Return `scipy.stats`, or raise an error that says how to install it."""
    return _imported("scipy.stats")


def scipy_special() -> ModuleType:
    """Return `scipy.special`: its functions of Student's t take a hundredth of the time of those in `scipy.stats`."""
    return _imported("scipy.special")


def _imported(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise LighterError("Statistics need SciPy: pip install 'lighter[results]'") from error
