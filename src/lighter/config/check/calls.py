"""The second tier: what the targets of a config are, now that they may be imported, and what they can be called with.

Nothing is called here. Importing a target runs the module that it is in.
"""

from __future__ import annotations

import pydoc
import traceback
from collections.abc import Collection
from typing import Any

from lighter.config.annotations import UNKNOWN
from lighter.config.check.definitions import hint_of_special
from lighter.config.check.other_tools import is_of_cli
from lighter.config.locate import locate, not_callable, why_not_found
from lighter.config.problems import Problem
from lighter.config.safe.mode import RefusedError, SafeMode
from lighter.config.signatures import Call, signature_of
from lighter.config.tree import SPECIAL, Node, disabled, is_reference, is_target, join

NOTHING = object()
"""In place of a target that cannot be had."""


class Targets:
    """The targets of a config, each imported once; in safe mode, only those that it permits.

    `problems` gets names that lead nowhere, `failures` modules that raise while they are imported: mistakes of the
    user's code.
    """

    def __init__(self, problems: list[Problem], failures: list[Problem], safe: SafeMode | None = None) -> None:
        self.problems, self.failures = problems, failures
        self._locate = safe.locate if safe is not None else locate
        self._found: dict[str, Any] = {}
        self._wrong: dict[str, tuple[list[Problem], str, str]] = {}

    def of(self, node: Node, path: str) -> Any:
        """Return what a definition calls; `NOTHING`, and a problem, where that is nothing that can be called."""
        target = node.value["_target_"]
        if not isinstance(target.value, str) or is_reference(target.value) or not target.value.strip(". "):
            return NOTHING
        return self.named(target.value, target, join(path, "_target_"))

    def named(self, name: str, node: Node, path: str, *, to_call: bool = True) -> Any:
        if name not in self._found:
            self._found[name] = self._import(name, node)
        if name in self._wrong:
            into, message, hint = self._wrong[name]
            into.append(Problem(message, node.origin, path, hint))
        target = self._found[name]
        if target is not NOTHING and to_call and not callable(target):
            message, hint = not_callable(name, target)
            self.problems.append(Problem(message, node.origin, path, hint))
            return NOTHING
        return target

    def _import(self, name: str, node: Node) -> Any:
        try:
            target = self._locate(name)
        except RefusedError as refused:
            self._wrong[name] = (self.problems, str(refused), refused.hint)
            return NOTHING
        except pydoc.ErrorDuringImport as error:
            self._wrong[name] = (self.failures, *_failure(name, error))
            return NOTHING
        if target is None:
            self._wrong[name] = (self.problems, *why_not_found(name, node.origin.source))
            return NOTHING
        return target


def _failure(name: str, error: pydoc.ErrorDuringImport) -> tuple[str, str]:
    """Return message and hint for a module that raised while it was imported."""
    cause = error.value
    frames = traceback.extract_tb(error.tb)
    # The import system's own frames, and pydoc's, say nothing of the user's module.
    shown = [frame for frame in frames if not frame.filename.startswith("<") and "pydoc" not in frame.filename]
    where = f"In {shown[-1].filename}, line {shown[-1].lineno}: {shown[-1].line}" if shown else ""
    if isinstance(cause, SyntaxError) and cause.filename:
        where = f"In {cause.filename}, line {cause.lineno}: {(cause.text or '').strip()}"
    return f"`{name}` cannot be imported: {type(cause).__name__}: {cause}", where


def check_call(
    path: str,
    node: Node,
    target: Any,
    problems: list[Problem],
    *,
    is_partial: bool = False,
    filled: Collection[str] = (),
) -> list[str]:
    """Add a problem for each argument of a definition that its target does not take; return the paths of those."""
    signature = signature_of(target)
    if signature is None:
        return []
    name = node.value["_target_"].value if "_target_" in node.value else "the trainer"
    unknown = []
    for misfit in signature.misfits(_call_of(node, is_partial=is_partial, filled=filled)):
        where, origin = _place(path, node, misfit.argument, at_value=misfit.is_value)
        problems.append(Problem(f"{name}: {misfit.message}", origin, where, misfit.hint))
        unknown += [where] if isinstance(misfit.argument, str) and not misfit.is_value else []
    return unknown


def _call_of(node: Node, *, is_partial: bool, filled: Collection[str]) -> Call:
    unnamed, mode = node.value.get("_args_"), node.value.get("_mode_")
    named = {
        # Parameters of an optimizer may be given by name, for the module to look up.
        str(key): plain(child) if key not in filled else UNKNOWN
        for key, child in node.value.items()
        if not (key in SPECIAL or key == "_base_" or hint_of_special(key) or disabled(child.value) is not False)
    }
    # By a reference, there may be any number of them.
    positional: list[Any] | None = [] if unnamed is None else None
    if unnamed is not None and isinstance(unnamed.value, list):
        positional = plain(unnamed)
    is_partial = is_partial or (mode is not None and (mode.value == "callable" or is_reference(mode.value)))
    return Call(positional, named, is_partial, filled)


def _place(path: str, node: Node, argument: str | int | None, *, at_value: bool) -> tuple[str, Any]:
    """Return path and origin of an argument, or of the whole call."""
    if isinstance(argument, int):
        args = node.value["_args_"]
        # Disabled items are left out before the call, so positions count without them.
        items = [(index, item) for index, item in enumerate(args.value) if disabled(item.value) is False]
        index, item = items[min(argument, len(items) - 1)]
        return join(join(path, "_args_"), index), item.origin
    if argument is not None:
        child = next(child for key, child in node.value.items() if str(key) == argument)
        return join(path, argument), child.origin if at_value else child.place
    target = node.value.get("_target_")
    return path, target.origin if target is not None else node.origin


def plain(node: Node) -> Any:
    """Return the value of a node, with `UNKNOWN` for what is worked out later."""
    if is_target(node.value) or is_reference(node.value) or is_of_cli(node.value):
        return UNKNOWN
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value if disabled(child.value) is False]
    return node.value
