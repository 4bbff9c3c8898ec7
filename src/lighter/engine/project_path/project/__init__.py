"""Stands in for the user's folder as the package `project`, in this process and in every process that it starts.

DataLoader workers and spawned ranks inherit `sys.path` and the environment, and so find this package too.
"""

import os
from pathlib import Path

__path__ = [os.environ["LIGHTER_PROJECT"]]
_init = Path(__path__[0]) / "__init__.py"
if _init.is_file():
    __file__ = str(_init)
    exec(compile(_init.read_text(encoding="utf-8"), _init, "exec"))
