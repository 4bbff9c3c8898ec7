"""Find runs that were measured on the same data, by the rules of `lighter compare`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lighter.results.report.subject import Entry


def differs_in_data(some: Sequence[Entry], others: Sequence[Entry], mode: str) -> bool:
    """Return True if the data of a mode is known to be other: where the seed and fold are the same, or the fold."""
    return any(_differ(one, other, mode) for one, other in _alike(some, others))


def is_same_data(groups: Sequence[Sequence[Entry]], mode: str) -> bool:
    """Return False if groups of runs are known to have had other data; those of which it is on record go first."""
    if not groups:
        return True
    first, *others = sorted(groups, key=lambda group: not _sets(group[0], mode))
    return not any(differs_in_data(first, other, mode) for other in others)


def _alike(some: Sequence[Entry], others: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    for key in (lambda each: (each.seed, each.fold), lambda each: each.fold):
        by_key = {key(each): each for each in others}
        pairs = [(each, by_key[key(each)]) for each in some if key(each) in by_key]
        if pairs:
            return pairs
    return [(some[0], others[0])]


def _differ(one: Entry, other: Entry, mode: str) -> bool:
    splits = [(each.run.facts.get("split") or {}).get("hash") for each in (one, other)]
    sets = [_sets(each, mode) for each in (one, other)]
    if not all(sets):
        return splits[0] != splits[1]
    lengths, prints = ([[each.get(key) for each in of_run] for of_run in sets] for key in ("length", "fingerprint"))
    is_known = all(prints[0]) and all(prints[1])
    return splits[0] != splits[1] or lengths[0] != lengths[1] or (is_known and prints[0] != prints[1])


def _sets(entry: Entry, mode: str) -> list[dict[str, Any]]:
    sets = (entry.run.facts.get("data") or {}).get(mode)
    return [each for each in sets if isinstance(each, dict)] if isinstance(sets, list) else []
