"""Detect IPython and the kernel of a notebook, without importing IPython."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def is_ipython() -> bool:
    return "get_ipython" in vars(sys.modules["builtins"])


def is_notebook() -> bool:
    """Return whether the output of this process is shown in a notebook: it is no terminal, and somebody watches."""
    return is_ipython() and hasattr(vars(sys.modules["builtins"])["get_ipython"](), "kernel")


def notebook_name() -> str:
    """Return the file of the notebook where its server tells that; otherwise `notebook`."""
    return Path(os.environ.get("JPY_SESSION_NAME") or "notebook").name
