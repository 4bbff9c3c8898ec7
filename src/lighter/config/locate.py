"""Locate what dotted names stand for, and say why one leads nowhere."""

from __future__ import annotations

import importlib
import pkgutil
import pydoc
import sys
from types import ModuleType
from typing import Any

from lighter.config.problems import closest, indefinite
from lighter.config.tree import Source
from lighter.lightning_alias import canonical
from lighter.processes.signals import Stopped


def is_dotted(name: str) -> bool:
    return all(step and step == step.strip() for step in name.split("."))


def locate(name: str) -> Any:
    """Return the module, class, function or value of a dotted name; None if nothing is called so.

    Raises:
        ErrorDuringImport: of `pydoc`: a module failed while it was imported, by `sys.exit()` too.
        KeyboardInterrupt, Stopped: a signal came meanwhile, of which `pydoc` makes a failure of the module.
    """
    if not is_dotted(name):  # of which `pydoc` leaves out the empty parts
        return None
    try:
        located = pydoc.locate(name)
        # The config may say `lightning.pytorch` where only `pytorch_lightning` is installed.
        if located is None and canonical(name) != name:
            located = pydoc.locate(canonical(name))
        return located
    except pydoc.ErrorDuringImport as error:
        if isinstance(error.value, (KeyboardInterrupt, Stopped)):
            raise error.value from None
        raise


def not_callable(name: str, located: object) -> tuple[str, str]:
    """Return message and hint for a `_target_` that stands for a module or a value."""
    kind = "a module" if isinstance(located, ModuleType) else indefinite(located)
    message = f"`_target_` names a class or function, but `{name}` is {kind}"
    return message, _namesake(name, located) if isinstance(located, ModuleType) else ""


def _namesake(name: str, module: ModuleType) -> str:
    """Return a hint to what is called like a module, beside it or in it: `optim.AdamW` for `optim.adamw`."""
    parent, _, last = name.rpartition(".")
    for holder, where in ((locate(parent), parent), (module, name)):
        for known in dir(holder):
            if known.lower() == last.replace("_", "").lower() and callable(getattr(holder, known, None)):
                return f"Did you mean `{where}.{known}`?"
    return ""


def why_not_found(name: str, source: Source | None = None) -> tuple[str, str]:
    """Return message and hint for a dotted name that leads nowhere: how far it leads, and what is there."""
    parts = name.split(".")
    if not is_dotted(name):
        meant = ".".join(filter(None, map(str.strip, parts)))
        known = is_dotted(meant) and locate(meant) is not None
        hint = f"Did you mean `{meant}`?" if known else "For example: torch.nn.Linear"
        return f"`{name}` is no dotted name: that is names, joined by one dot each", hint
    for length in range(len(parts) - 1, 0, -1):
        holder = locate(".".join(parts[:length]))
        if holder is not None:
            inside = pkgutil.iter_modules(getattr(holder, "__path__", []))
            public = [
                known for known in (*dir(holder), *(module.name for module in inside)) if not known.startswith("_")
            ]
            others = [known for known in public if known != parts[length]]
            # Earlier names began so: `LighterSystem`.
            bare = parts[length].removeprefix("Lighter") if parts[0] == "lighter" else parts[length]
            meant = f"Did you mean `{bare}`?" if bare in others else closest(parts[length], others)
            return f"`{'.'.join(parts[:length])}` has no `{parts[length]}`", meant
    try:
        importlib.import_module(parts[0])
    except (ImportError, ValueError) as error:
        reason = str(error)
    else:
        reason = f"`{parts[0]}` is no package"
    # Whoever writes a config beside a module expects to import from there, as a script does.
    if source is not None and (beside := _beside(name, source)):
        return f"`{name}` cannot be imported: {reason}", beside
    hint = closest(parts[0], {*sys.builtin_module_names, *(module.name for module in pkgutil.iter_modules())})
    if len(parts) == 1 and name[:1].isupper():
        hint = f"A class is written with its module: `package.module.{name}`."
    hint = hint or "Is it installed here? A module of your own is found in the working directory, or by `project:`."
    return f"`{name}` cannot be imported: {reason}", hint


def _beside(name: str, source: Source) -> str:
    # With `project:`, a config's own folder is importable; Python itself looks in the working directory only.
    module = name.partition(".")[0]
    for project, folder in ((".", source.folder), ("..", source.folder.parent)) if source.is_file else ():
        for file in (folder / f"{module}.py", folder / module):
            if file.is_file() or (file.is_dir() and any(file.glob("*.py"))):
                return (
                    f"It is {file}, and Python looks in the working directory. In {source.name}: "
                    f"`project: {project}` at the top, and `project.{name}` here. Or start from {folder}."
                )
    return ""
