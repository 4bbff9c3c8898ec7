"""Shorten many names of parameters: whole modules by their name, numbered siblings as a range.

`layer1.0.bn1.weight`, `layer1.0.bn1.bias`, `layer1.1.bn1.weight`, ... are `layer[1-4].[0-5].bn[1-3]`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

_NUMBER = re.compile(r"(\d+)")
_SHOWN = 6

Numbers = tuple[int, ...]


def shortened_names(chosen: Collection[str], among: Sequence[str], prefixes: Sequence[str] = ()) -> str:
    """Return patterns that fit the chosen names, and none of the others; names may leave out the prefixes."""
    chosen = set(chosen)
    others = {above for name in among if name not in chosen for above in with_modules(name)}
    # of each name the outermost module that has no other name in it
    whole = dict.fromkeys(
        next(above for above in with_modules(name) if above not in others) for name in among if name in chosen
    )
    short = [without_prefix(name, prefixes) for name in whole]
    patterns = list(_patterns(short, {without_prefix(name, prefixes) for name in others}))
    more = len(patterns) - _SHOWN
    return ", ".join(patterns[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def with_modules(name: str) -> list[str]:
    """Return `a`, `a.b` and `a.b.weight` for the last of them."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def without_prefix(name: str, prefixes: Sequence[str]) -> str:
    return next((name.removeprefix(prefix) for prefix in prefixes if name.startswith(prefix)), name)


def _patterns(names: Sequence[str], others: Collection[str]) -> Iterator[str]:
    alike: dict[tuple[str, ...], list[Numbers]] = {}
    for name in names:
        alike.setdefault(_text(name), []).append(_numbers(name))
    for text, numbers in alike.items():
        yield from _ranges(text, numbers, [_numbers(other) for other in others if _text(other) == text])


def _ranges(text: Sequence[str], chosen: Sequence[Numbers], others: Sequence[Numbers]) -> Iterator[str]:
    # one pattern if it fits none of the others, or else those of each first number that differs
    sets = [sorted(set(column)) for column in zip(*chosen, strict=True)]
    if not any(all(number in values for number, values in zip(other, sets, strict=True)) for other in others):
        yield "".join(part + _range(values) for part, values in zip(text, [*sets, []], strict=True))
        return
    column = next(column for column, values in enumerate(sets) if len(values) > 1)
    for number in sets[column]:
        yield from _ranges(text, [numbers for numbers in chosen if numbers[column] == number], others)


def _range(values: Sequence[int]) -> str:
    if len(values) <= 1:
        return "".join(str(value) for value in values)
    # a run of consecutive numbers has the same difference to its index throughout
    runs = [[n for _, n in run] for _, run in groupby(enumerate(values), lambda pair: pair[1] - pair[0])]
    return "[" + ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs) + "]"


def _text(name: str) -> tuple[str, ...]:
    return tuple(_NUMBER.split(name)[::2])


def _numbers(name: str) -> Numbers:
    return tuple(int(number) for number in _NUMBER.split(name)[1::2])
