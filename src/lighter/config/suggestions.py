"""The path that was meant by a reference to nothing."""

from __future__ import annotations

import re
from contextlib import suppress

from lighter.config.expression import COPIES, from_top
from lighter.config.problems import close_to, nearest
from lighter.config.tree import SEPARATOR, Node, is_reference, is_target, join, split

_MOST_COMPARED = 10_000
_RELATIVE = re.compile(r"([@%])((?:::)+)(\w+(?:::\w+)*)")


def find_step(root: Node, target: str) -> tuple[str, Node]:
    """Return the path of the last step that is there, as far as a path leads, and its node."""
    here, node = "", root
    for step in split(target):
        child = node.child(step)
        if child is None:
            break
        here, node = join(here, step), child
    return here, node


def levels_up(root: Node, path: str, text: str, target: str) -> str:
    """Return the relative reference that goes so many levels up that it finds something; empty if none does."""
    for symbol, levels, name in _RELATIVE.findall(text):
        for more in range(1, len(split(path))):
            wider = f"{symbol}{levels}{SEPARATOR * more}{name}"
            with suppress(ValueError):
                is_meant = from_top(path, f"{symbol}{levels}{name}")[1:] == target
                if is_meant and root.find(from_top(path, wider)[1:]) is not None:
                    return f"Did you mean `{wider}`? `{symbol}::name` is a sibling; each further `::` is one level up."
    return ""


def suggest(root: Node, target: str) -> str:
    """Return the nearest path that exists: the last step that fits, and what is there."""
    meant = re.sub(r"[.:#]+", SEPARATOR, target)
    if meant != target and root.find(meant) is not None:
        return f"Did you mean `{meant}`? The steps of a path are joined by `::`."
    here, node = find_step(root, target)
    if here == target:
        return ""
    step = split(target)[len(split(here))]
    if is_target(node.value) and not close_to(step, node.steps()):
        rest = ".".join(split(target)[len(split(here)) :])
        return f"`{here}` is an object, and `::` goes through the config. Its attribute: `$@{here}.{rest}`"
    if is_reference(node.value):
        return f"`{here}` is itself a reference or an expression; one cannot look inside it."
    known = [name for name in node.steps()[:_MOST_COMPARED] if name != COPIES]
    if not known:
        return f"`{here}` is a single value." if here else ""
    close = close_to(step, known)
    return f"Did you mean `{join(here, close)}`?" if close else nearest(step, [join(here, name) for name in known[:20]])
