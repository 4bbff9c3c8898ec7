"""Definitions by mode, of which a mode that has none of its own takes that of the mode before it.

A class says which of its arguments are such: `inherits = {"evaluator_cfg": ("train", "val", "test")}`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lighter.config.tree import is_target

# Other tools call train, val and test so.
_NO_MODES = ("training", "valid", "validate", "validation", "testing")


def is_by_mode(value: object, modes: Collection[str]) -> bool:
    """Return whether it is a dict by mode, perhaps with a wrong name, and not one thing for all modes."""
    return isinstance(value, Mapping) and not is_target(value) and any(key in {*modes, *_NO_MODES} for key in value)


def by_mode(value: Any, modes: Sequence[str]) -> Any:
    """Return what was given, with an entry for each mode from the first that has one on.

    A mode without an entry takes that of the mode before it. A mode whose entry has no `_target_` of its own changes
    some keys of that one: `{train: {_target_: F1Score, average: micro}, val: {average: macro}}`. Where an entry is a
    list, for several dataloaders, each item changes what was before. A dict with other keys than modes beside them
    stays as it is, for the class to complain of.
    """
    if not is_by_mode(value, modes):
        return dict.fromkeys(modes, value)
    if any(key not in modes for key in value):
        return value
    entries: dict[str, Any] = {}
    before: Any = None
    for mode in modes:
        if mode in value:
            before = _changed_entry(before, value[mode])
        if before is not None:
            entries[mode] = before
    return entries


def _changed_entry(before: Any, changes: Any) -> Any:
    # Lists are of several dataloaders: each item changes the one before at its place, or the only one.
    if isinstance(changes, list):
        earlier = before if isinstance(before, list) and len(before) == len(changes) else [before] * len(changes)
        return [_changed(old, new) for old, new in zip(earlier, changes, strict=True)]
    if isinstance(before, list):
        # One change without a `_target_` is meant for every dataloader.
        some = isinstance(changes, Mapping) and not is_target(changes)
        return [_changed(old, changes) for old in before] if some else changes
    return _changed(before, changes)


def _changed(before: Any, changes: Any) -> Any:
    if not isinstance(before, Mapping) or not isinstance(changes, Mapping) or is_target(changes):
        return changes
    return {**before, **{key: _changed(before.get(key), value) for key, value in changes.items()}}
