"""The key or value at a place of a config: what is known of it, and where what it names is defined."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lighter.config.expression import from_top
from lighter.config.history import as_lines, as_text
from lighter.config.problems import shortened
from lighter.config.pure import FAILURES, evaluate
from lighter.config.tree import Node, Origin, is_target, join
from lighter.editor.server import schema_at
from lighter.editor.server.completion import targets_on_the_way
from lighter.editor.server.cursor import written_path
from lighter.editor.server.documents import Analysis, Documents
from lighter.editor.server.names import Names
from lighter.editor.server.places import Place, Span, token_at

_MOST_LINES = 12
_REFERENCE = re.compile(r"[@%](?:::)*\w+(?:::\w+)*")
_FILE = re.compile(r"%(?P<file>[^%]*?\.ya?ml)(?:::(?P<path>.*))?\Z", re.IGNORECASE)


@dataclass(frozen=True)
class Spot:
    """The key or value at a place.

    Attributes:
        path: that it stands for in the config.
        node: the value, or that of the key.
        span: its range in the text, quotes included.
        tree: of its file.
    """

    path: str
    node: Node
    span: Span
    is_key: bool
    tree: Node


@dataclass(frozen=True)
class Target:
    """A place in a file, line and column from 0."""

    file: Path
    line: int
    column: int = 0


def spot_at(tree: Node | None, text: str, place: Place) -> Spot | None:
    """Return the key or value at a place; None where there is none, or the text is no YAML."""
    if tree is None:
        return None
    lines = text.splitlines()
    for path, node in tree.walk():
        for origin, is_key in ((node.key_origin, True), (node.origin, False)):
            if origin is None or (not is_key and isinstance(node.value, (dict, list))):
                continue
            span = token_at(lines, origin.line - 1, origin.column - 1)
            if span.has(place):
                return Spot(written_path(path), node, span, is_key, tree)
    return None


def reference_at(spot: Spot, text: str, place: Place) -> tuple[str, Span] | None:
    """Return the path that the reference at a place refers to, and the range of its text."""
    value = spot.node.value
    if spot.is_key or not isinstance(value, str) or value[:1] not in ("@", "%", "$"):
        return None
    line = text.splitlines()[spot.span.line]
    for match in _REFERENCE.finditer(line, spot.span.start, spot.span.end):
        span = Span(spot.span.line, match.start(), match.end())
        if span.has(place):
            try:
                return from_top(spot.path, match[0])[1:], span
            except ValueError:  # it goes up beyond the top
                return None
    return None


def hover(documents: Documents, analysis: Analysis, spot: Spot, place: Place) -> str:
    """Return what is known of a key or value, as Markdown; empty where that is nothing."""
    text = documents.text(analysis.path) if analysis.path in documents.texts else ""
    reference = reference_at(spot, text, place)
    path = reference[0] if reference is not None else spot.path
    texts = [_described(analysis, spot, path), _resolved(analysis, path), *_past(documents, analysis, path)]
    return "\n\n".join(filter(None, texts))


def _described(analysis: Analysis, spot: Spot, path: str) -> str:
    config = analysis.config
    expanded = config.expanded if config is not None else None
    schemas = schema_at.at(analysis.schema, path, targets_on_the_way(path, spot.tree, expanded))
    about = schema_at.description(analysis.schema, schemas) if analysis.schema else ""
    head = f"`{path}`"
    node = expanded.find(path) if expanded is not None else None
    if node is not None and is_target(node.value) and isinstance(node.value["_target_"].value, str):
        head += f": `{node.value['_target_'].value}`"
        own = schema_at.at(analysis.schema, join(path, "_target_"), {path: node.value["_target_"].value})
        about = "\n\n".join(filter(None, [about, schema_at.description(analysis.schema, own) if not about else ""]))
    return "\n\n".join(filter(None, [head, about]))


def _resolved(analysis: Analysis, path: str) -> str:
    """Return the value of a reference, or of an expression that only computes."""
    config = analysis.config
    node = config.expanded.find(path) if config is not None else None
    if config is None or node is None or not isinstance(node.value, str) or node.value[:1] not in ("@", "$"):
        return ""
    try:
        return f"Value: `{shortened(as_text(evaluate(config.expanded, node, path)), 200)}`"
    except FAILURES:  # it is an object, or calls something
        return ""


def _past(documents: Documents, analysis: Analysis, path: str) -> Iterator[str]:
    events, elsewhere = documents.history(analysis, path)
    if events:
        lines = list(as_lines(path, events))[1:]
        lines = lines[:_MOST_LINES] + ["  ..."] * (len(lines) > _MOST_LINES)
        yield "\n".join(["```text", *(line[2:] for line in lines), "```"])
    if elsewhere:
        yield f"stands for `{elsewhere}`"


def definition(documents: Documents, analysis: Analysis, spot: Spot, place: Place, names: Names) -> Target | None:
    """Return where the target, file or path at a place is defined."""
    value = spot.node.value
    reference = reference_at(spot, documents.text(analysis.path), place)
    if reference is not None:
        return _of_path(documents, analysis, reference[0])
    if spot.is_key or not isinstance(value, str):
        return None
    external = _FILE.match(value)
    if spot.path.partition("::")[0] == "_base_" or external is not None:
        name = external["file"] if external is not None else value
        file = (analysis.path.parent / os.path.expanduser(name)).resolve()
        return Target(file, 0) if os.path.isfile(file) or file in documents.texts else None
    if spot.path.rpartition("::")[2] == "_target_" or spot.path.partition("::")[0] == "_imports_":
        found = names.find(value)
        return Target(Path(found.file), found.line - 1) if found is not None else None
    return None


def _of_path(documents: Documents, analysis: Analysis, path: str) -> Target | None:
    config = analysis.config
    node = (config.merged.find(path) or config.expanded.find(path)) if config is not None else None
    return origin_of(analysis, node.place) if node is not None else None


def origin_of(analysis: Analysis, origin: Origin) -> Target | None:
    """Return the file of an origin; None for what no file says."""
    if not origin.source.is_file:
        return None
    return Target((analysis.root / origin.source.name).resolve(), origin.line - 1, origin.column - 1)
