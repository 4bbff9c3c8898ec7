"""Modules by name or pattern: `network.layers.*`, or `layers.*` without the prefix that all names have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from torch import nn

from lighter.config.problems import close_to
from lighter.parallel.settings import ParallelSettings

_SHOWN = 6


def module_names(module: nn.Module, aside: Sequence[str] = ()) -> list[str]:
    """Return the names of the modules in a module, but for those that begin with the names of `aside`."""
    names = [name for name, _ in module.named_modules() if name]
    return [name for name in names if not f"{name}.".startswith(tuple(aside))]


def matching(pattern: str, names: Iterable[str], prefixes: Sequence[str] = ()) -> list[str]:
    """Return the names that a pattern fits, whole: `*` stands for one step of a name, `**` for any number of them."""
    # both are spellings of a negated class; `fnmatch` knows one
    steps = pattern.replace("[^", "[!").split(".")

    def fits(name: str) -> bool:
        return _fits(name.split("."), steps)

    return [name for name in names if fits(name) or any(fits(_without(name, prefix)) for prefix in prefixes)]


def misses(settings: ParallelSettings, names: Sequence[str], prefixes: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the path of each pattern that fits no module, with a message and the nearest names as a hint."""
    for path, pattern in settings.patterns():
        if not matching(pattern, names, prefixes):
            yield path, f"no module of the network is called `{pattern}`", _nearest(pattern, names, prefixes)


def _nearest(pattern: str, names: Sequence[str], prefixes: Sequence[str]) -> str:
    # numbered siblings as one pattern, which is what people write
    patterns = list(dict.fromkeys(re.sub(r"\.\d+(?=\.|$)", ".*", name) for name in names))
    shown = {_without(each, prefix): each for prefix in prefixes for each in patterns}
    close = close_to(pattern, [*patterns, *shown])
    if close is not None:
        return f"Did you mean `{close}`?"
    return f"There is: {', '.join(patterns[:_SHOWN])}{', ...' if len(patterns) > _SHOWN else ''}."


def _fits(name: Sequence[str], steps: Sequence[str]) -> bool:
    # step by step, as the wildcards of `fnmatch` also stand for dots
    if not steps:
        return not name
    if steps[0] == "**":
        return any(_fits(name[length:], steps[1:]) for length in range(1, len(name) + 1))
    return bool(name) and fnmatchcase(name[0], steps[0]) and _fits(name[1:], steps[1:])


def _without(name: str, prefix: str) -> str:
    return name.removeprefix(prefix)
