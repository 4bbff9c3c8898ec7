"""The history of one value: where it was defined, what changed it, and what it stands for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lighter.config import yaml
from lighter.config.expression import absolute_if_any
from lighter.config.load import Input, Step, steps
from lighter.config.problems import Problem, Problems, nearest, shortened
from lighter.config.suggestions import find_step
from lighter.config.tree import SEPARATOR, Node, Origin, Source, join, split
from lighter.errors import ConfigError

_WIDEST = 60


@dataclass(frozen=True)
class Event:
    """One step in the history of a value: `defined`, `changed` or `deleted`.

    `path` is of what changed, the value itself or something in it; `value` is what that was from then on.
    """

    change: str
    origin: Origin
    path: str
    value: Any = None


def history(key: str, inputs: Sequence[Input]) -> tuple[list[Event], str]:
    """Return what happened to a value, and the path that it is a copy of or refers to, if it is.

    Raise a `ConfigError` if the inputs cannot be loaded, or there never was such a value.
    """
    problems = Problems()
    events: list[Event] = []
    before: dict[str, Node] = {}
    root: Node | None = Node({}, Origin(Source("config")))
    for step in steps(inputs, problems):
        root = step.root if step is not None else None
        if step is not None:
            node = step.root.find(key)
            # A copy, since later steps change the nodes.
            now = dict(node.copy().walk(key)) if node is not None else {}
            events += _changes(key, before, now, step)
            before = now
    if problems or root is None:
        raise ConfigError(problems)
    elsewhere = _elsewhere(root, key) if not before else ""
    # The default is added after the loading, of which this is the history.
    if not events and key == "seed":
        events = [Event("defined", Origin(Source("default")), key, 0)]
    if not events and not elsewhere:
        here, node = find_step(root, key)
        hint = nearest(key, [join(here, step) for step in node.steps()])
        raise ConfigError([Problem("there is no such value", path=key, hint=hint)])
    if before and isinstance(before[key].value, str) and before[key].value[:1] in ("@", "%"):
        elsewhere = absolute_if_any(key, before[key].value)[1:].strip()
    return events, elsewhere


def _changes(key: str, before: dict[str, Node], now: dict[str, Node], step: Step) -> Iterator[Event]:
    for path, node in now.items():
        was = before.get(path)
        is_inner = isinstance(node.value, dict) and was is not None and isinstance(was.value, dict)
        if is_inner or (was is not None and _same(was, node)) or _is_within(path, now, before):
            continue
        yield Event("changed" if was is not None else "defined", node.place, path, node.plain())
    for path in before:
        # of what is gone as a whole, the inner values are not told one by one
        if path not in now and (path == key or path.rpartition(SEPARATOR)[0] in now):
            yield Event("deleted", _deleter(step, path), path)


def _same(was: Node, node: Node) -> bool:
    return bool(was.origin == node.origin and was.plain() == node.plain())


def _is_within(path: str, now: dict[str, Node], before: dict[str, Node]) -> bool:
    above = path.rpartition(SEPARATOR)[0]
    # Whoever is told that a dict is new, or that a list changed, knows of all that is in it.
    if above not in now:
        return False
    return above not in before or (isinstance(now[above].value, list) and not _same(before[above], now[above]))


def _deleter(step: Step, path: str) -> Origin:
    """Return where a step says that a value goes, or what holds it is replaced."""
    if step.override is not None:
        return step.override.value.place
    if step.tree is None:
        return Origin(Source("config"))
    origin = step.tree.origin
    wanted = split(path)
    # The last that matches is the nearest to the value: `walk` goes from the outside in.
    for here, node in step.tree.walk():
        bare = [name.lstrip("=~") for name in split(here)]
        if here and wanted[: len(bare)] == bare:
            origin = node.place
    return origin


def _elsewhere(root: Node, key: str) -> str:
    here, node = find_step(root, key)
    rest = split(key)[len(split(here)) :]
    # A key within a copy or a reference stands elsewhere: `model::lr` with `model: "%base"` is `base::lr`.
    if rest and here and isinstance(node.value, str) and node.value[:1] in ("@", "%"):
        return SEPARATOR.join([absolute_if_any(here, node.value)[1:].strip(), *rest])
    return ""


def as_lines(key: str, events: Sequence[Event]) -> Iterator[str]:
    """Yield a history as text: the path, then a line for each event."""
    sources = [f"{e.origin}: {e.origin.source.text}" if e.origin.source.is_override else str(e.origin) for e in events]
    width = max(map(len, sources), default=0)
    yield key
    for source, event in zip(sources, events, strict=True):
        inner = f" {event.path[len(key) + 2 :]}" if event.path != key else ""
        value = f": {shortened(as_text(event.value), _WIDEST)}" if event.change != "deleted" else ""
        yield f"  {source:<{width}}  {event.change}{inner}{value}"


def as_text(value: object) -> str:
    """Return plain data as one line of YAML."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {as_text(child)}' for key, child in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(as_text, value))}]"
    return yaml.dump(value).removesuffix("\n").removesuffix("\n...")
