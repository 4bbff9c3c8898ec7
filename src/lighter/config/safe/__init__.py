"""Safe mode: run an untrusted config without letting it choose what runs. No torch here.

mode         what may be called, with what: the list, and the user's additions
allowed.txt  the list that is shipped
paths        where files may be
arithmetic   an interpreter for expressions that only compute
expressions  the same with names, attributes and calls, in place of `eval`
work         how much expressions may do
guard        no writes outside of the run's folders, held at the moment of writing
import_path  no modules from the folders of the config, in child processes too
refusals     all that a config must not do, found before anything is imported

What is found by reading is shown at once; `mode` and `expressions` decide again when something is called, with the
values that were worked out, so that nothing is permitted because a reading missed it. Both refuse by `RefusedError`.
SECURITY.md has the threat model.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lighter.config.safe.mode import SafeMode as SafeMode


def __getattr__(name: str) -> Any:
    # a config without safe mode needs `paths` alone
    if name != "SafeMode":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("lighter.config.safe.mode").SafeMode
