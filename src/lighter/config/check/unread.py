"""Overrides that nothing reads: a value that the command line sets, and that no part of the run will ever see.

Sections but `vars` are read by the engine and by the calls that they define, whose arguments are checked elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator

from lighter.config.problems import Problem, close_to
from lighter.config.references import copied_paths, references_in
from lighter.config.tree import SEPARATOR, Node, join, prefixes, split


def check_overrides(merged: Node, expanded: Node, problems: list[Problem]) -> None:
    """Add a problem for each value under `vars` that an override sets and that nothing refers to."""
    free = merged.child("vars")
    written = list(_written(free, "vars")) if free is not None else []
    if not written:
        return
    referred = {target for root in (merged, expanded) for _, target in references_in(root) if target is not None}
    referred |= copied_paths(merged)
    holders = {prefix for path in referred for prefix in prefixes(path)}
    for path, node in written:
        steps = split(path)
        if path not in holders and referred.isdisjoint(prefixes(path)):
            above = path.rpartition(SEPARATOR)[0]
            beside = [name[len(above) + 2 :] for name in holders if name.startswith(above + SEPARATOR)]
            close = close_to(steps[-1], sorted(beside))
            hint = f"Did you mean `{join(above, close)}`?" if close else f"No `@{path}` refers to it."
            problems.append(Problem("nothing reads what this override sets", node.place, path, hint))


def _written(node: Node, path: str) -> Iterator[tuple[str, Node]]:
    if node.origin.source.is_override and path != "vars":
        yield path, node
        return
    for key, child in node.children():
        yield from _written(child, join(path, key))
