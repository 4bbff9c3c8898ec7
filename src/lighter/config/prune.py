"""Take out of a definition what a stage does not need, before anything is built.

A class says of each of its arguments what it is needed for (`needed_for`), as `{"train_dataloader": {"train"}}` or,
for an argument that is a dict, `{"dataloaders::train": {"train"}}`: modes (train, val, test, predict) or the
stage `fit`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from lighter.config.tree import split

MODES = {
    "fit": frozenset({"fit", "train", "val"}),
    "validate": frozenset({"val"}),
    "test": frozenset({"test"}),
    "predict": frozenset({"predict"}),
}


def unneeded(needed_for: Mapping[str, Collection[str]], stage: str) -> list[str]:
    """Return the arguments that a stage does not need."""
    return [path for path, uses in needed_for.items() if MODES[stage].isdisjoint(uses)]


def prune(definition: Mapping[str, Any], paths: Collection[str], required: Collection[str] = ()) -> dict[str, Any]:
    """Return a definition without what stands at some paths."""
    kept = dict(definition)
    for path in paths:
        first, *rest = split(path)
        if first not in kept:
            continue
        if rest:
            if isinstance(kept[first], Mapping):
                kept[first] = prune(kept[first], ["::".join(rest)])
        # A constructor that cannot do without it gets None.
        elif first in required:
            kept[first] = None
        else:
            del kept[first]
    return kept
