"""Circles: an object that is needed to make itself, whether or not anything asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from lighter.config.expression import absolute_if_any, referred
from lighter.config.problems import Problem, shortened
from lighter.config.tree import SEPARATOR, Node, disabled, join

_DONE, _OPEN = 2, 1
_MOST = 20
# These are built when the module is there, and so they may refer to it.
_BUILT_LATER = ("optimizer", "scheduler")


def check_circles(root: Node, problems: list[Problem]) -> None:
    """Add a problem for each reference that closes a circle."""
    # To make a value, all that is in it and all that it refers to is made.
    states: dict[int, int] = {}
    starts = [("", root)]
    for section in ("model", "system"):
        arguments = root.section(section)
        starts += [(join(section, key), arguments[key]) for key in _BUILT_LATER if key in arguments]
    built_later = {id(node) for _, node in starts[1:]}
    for path, node in starts:
        _follow(root, path, node, states, built_later, problems)


def _follow(
    root: Node, path: str, node: Node, states: dict[int, int], built_later: set[int], problems: list[Problem]
) -> None:
    states[id(node)] = _OPEN
    # Without recursion: chains may be long.
    trail = [(path, node, _needs(root, path, node, built_later))]
    while trail:
        here, at, needs = trail[-1]
        for next_path, needed in needs:
            state = states.get(id(needed))
            if state == _OPEN:
                problems.append(_circle(here, at, next_path, [(step, node) for step, node, _ in trail], needed))
            elif state is None:
                states[id(needed)] = _OPEN
                trail.append((next_path, needed, _needs(root, next_path, needed, built_later)))
                break
        else:
            states[id(at)] = _DONE
            trail.pop()


def _needs(root: Node, path: str, node: Node, built_later: set[int]) -> Iterator[tuple[str, Node]]:
    for key, child in () if disabled(node.value) else node.children():
        if id(child) not in built_later:
            yield join(path, key), child
    if isinstance(node.value, str) and node.value[:1] in ("@", "$") and "@" in node.value:
        for target in referred(absolute_if_any(path, node.value)):
            referred_to = root.find(target)
            if referred_to is not None:
                yield target, referred_to


def _circle(path: str, node: Node, closing: str, trail: list[tuple[str, Node]], first: Node) -> Problem:
    start = next(index for index, (_, at) in enumerate(trail) if at is first)
    names = [name for name, _ in trail[start:]]
    # The steps from a value to what is in it are left out: the references alone go round.
    jumps = [name for name, following in pairwise(names) if not following.startswith(name + SEPARATOR)]
    around = [closing, *(name for name in (*jumps, names[-1]) if name != closing), closing]
    shown = " -> ".join(name or "the whole config" for name in around[:_MOST] + around[-1:] * (len(around) > _MOST))
    return Problem("these references go round in a circle", node.origin, path, shortened(shown, 300))
