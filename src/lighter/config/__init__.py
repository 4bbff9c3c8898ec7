"""Text to a checked config, and its definitions to objects. No torch here.

load     files, dicts and overrides -> one merged tree
check    the tree, or all its problems; and, once its targets are imported, what they cannot be called with
checked  the two of them in order: what every command reads its config by
prune    a definition without what a stage does not need
objects  the checked tree -> objects, made when they are asked for
safe     what an untrusted config may do: the allow-list, and an interpreter in place of `eval`
faults   an error while one is made -> the config's mistake with its place, or the user's exception with a note
dump     the tree -> YAML that runs the same again

The names are resolved when they are first used, since a shell that completes a word waits for the imports.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lighter.config.checked import Config as Config
    from lighter.config.checked import examine as examine
    from lighter.config.checked import load_merged as load_merged
    from lighter.config.checked import read as read

_NAMES = ("Config", "examine", "load_merged", "read")


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("lighter.config.checked"), name)
