"""What a dotted name stands for."""

from __future__ import annotations

import pydoc
from typing import Any

from lighter.signals import Stopped


def locate(name: str) -> Any:
    """The module, class, function or value of a dotted name; None if nothing is called so.

    Raises:
        ErrorDuringImport: of `pydoc`: a module failed while it was imported, by `sys.exit()` too.
        KeyboardInterrupt: Ctrl-C came meanwhile, of which `pydoc` makes a failure of the module.
        Stopped: the same for another signal.
    """
    try:
        return pydoc.locate(name)
    except pydoc.ErrorDuringImport as error:
        if isinstance(error.value, (KeyboardInterrupt, Stopped)):
            raise error.value from None
        raise
