"""What a dotted name stands for."""

from __future__ import annotations

import pydoc
from types import ModuleType
from typing import Any

from lighter.config.problems import indefinite
from lighter.lightning_alias import canonical
from lighter.processes.signals import Stopped


def is_dotted(name: str) -> bool:
    """Return whether a text is names joined by single dots."""
    return all(part and part == part.strip() for part in name.split("."))


def locate(name: str) -> Any:
    """The module, class, function or value of a dotted name; None if nothing is called so.

    Raises:
        ErrorDuringImport: of `pydoc`: a module failed while it was imported, by `sys.exit()` too.
        KeyboardInterrupt: Ctrl-C came meanwhile, of which `pydoc` makes a failure of the module.
        Stopped: the same for another signal.
    """
    if not is_dotted(name):  # of which `pydoc` leaves out the empty parts
        return None
    try:
        found = pydoc.locate(name)
        if found is None and canonical(name) != name:  # where only `pytorch_lightning` is installed
            found = pydoc.locate(canonical(name))
        return found
    except pydoc.ErrorDuringImport as error:
        if isinstance(error.value, (KeyboardInterrupt, Stopped)):
            raise error.value from None
        raise


def not_callable(name: object, found: object) -> str:
    """Message for a `_target_` that stands for a module or a value."""
    kind = "a module" if isinstance(found, ModuleType) else indefinite(found)
    return f"`_target_` names a class or function, but `{name}` is {kind}"
