"""Metrics that several modes share through `@`: their states would mix. `%` gives each mode its own."""

from __future__ import annotations

from collections.abc import Iterator

from torchmetrics import MetricCollection

from lighter.config.tree import join
from lighter.engine.check.context import Context
from lighter.parts.metrics.foreign import has_methods


def check_sharing(context: Context) -> None:
    """Add a problem for each reference by which a mode gets a metric that another mode has."""
    owners: dict[str, str] = {}
    reported: set[str] = set()
    for mode in ("train", "val", "test"):
        path = f"system::metrics::{mode}" if context.section == "system" else f"model::{mode}_metrics"
        for metric, reference in _metrics(context, path):
            owner = owners.setdefault(metric, mode)
            if owner != mode and reference is not None and reference not in reported:
                reported.add(reference)
                text = context.node(reference).value
                message = f"`{text}` is the same for {owner} and {mode}: the states of its metrics would mix"
                context.problem(message, reference, f"Copy the definition: `%{text[1:]}`")


def _metrics(context: Context, path: str) -> Iterator[tuple[str, str | None]]:
    """Yield the path of each metric that a value has, and of the reference that leads to it, if one does."""
    ahead: list[tuple[str, str | None]] = [(path, None)]
    seen: set[str] = set()  # references may go round in a circle
    while ahead:
        path, reference = ahead.pop()
        followed = context.followed(path)
        # The innermost reference is where the user would write `%` in place of `@`.
        reference = path if followed != path else reference
        node = context.tree.find(followed)
        if node is None or followed in seen:
            continue
        seen.add(followed)
        kind = context.kind(followed)
        if kind is not None and (has_methods(kind) or issubclass(kind, MetricCollection)):
            yield followed, reference
        ahead += [(join(followed, step), reference) for step in reversed(node.steps())]
