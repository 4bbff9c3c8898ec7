"""Metrics that several modes share through `@`: their states would mix. `%` gives each mode its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from lighter.config.tree import Node, join
from lighter.engine.check.found import Found

_MODES = ("train", "val", "test")


def check_sharing(found: Found) -> None:
    """A problem for each reference by which a mode gets a metric that another mode has."""
    if "torchmetrics" not in sys.modules:
        return
    owners: dict[str, str] = {}
    told: set[str] = set()
    for mode in _MODES:
        path = f"{found.section}::metrics::{mode}" if found.section == "system" else f"model::{mode}_metrics"
        for metric, by in _metrics(found, path, None) if found.tree.find(path) is not None else ():
            owner = owners.setdefault(metric, mode)
            if owner != mode and by is not None and by not in told:
                told.add(by)
                text = found.node(by).value
                message = f"`{text}` is the same for {owner} and {mode}: the states of its metrics would mix"
                found.problem(message, by, f"Copy the definition: `%{text[1:]}`")


def _metrics(found: Found, path: str, by: str | None) -> Iterator[tuple[str, str | None]]:
    """The path of each metric that a value has, and of the reference that leads to it, if one does."""
    from lighter.parts.metrics.foreign import has_methods

    torchmetrics: Any = sys.modules["torchmetrics"]
    ahead = [(path, by)]
    seen: set[str] = set()  # references may go round in a circle
    while ahead:
        path, by = ahead.pop()
        followed = found.followed(path)
        by = path if followed != path else by
        node: Node | None = found.tree.find(followed)
        if node is None or followed in seen:
            continue
        seen.add(followed)
        kind = found.kind(followed)
        if kind is not None and (has_methods(kind) or issubclass(kind, torchmetrics.MetricCollection)):
            yield followed, by
        ahead += [(join(followed, step), by) for step in reversed([*node.steps()])]
