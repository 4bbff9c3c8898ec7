"""Inputs to one merged tree: files with their bases, dicts from Python, overrides from the command line.

Everything is laid over what comes before it: a file over its bases, a later input over an earlier one, and the
overrides, in their order, over all. A base that several files share counts once, where it is first needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lighter.config import yaml
from lighter.config.merge import delete, edit, merge
from lighter.config.problems import Problem, Problems, indefinite
from lighter.config.sources import Files
from lighter.config.sources import is_url as is_url
from lighter.config.tree import COMMAND_LINE, MAX_DEPTH, Node, Origin, Source, is_reference, split
from lighter.errors import ConfigError

if TYPE_CHECKING:
    from lighter.config.safe import SafeMode

Input = str | PathLike[str] | Mapping[str, Any]

Inputs = Input | Sequence[Input]


@dataclass(frozen=True)
class Override:
    """One word of the command line that changes the config: `a::b=1`, `=a::b=1` (replace) or `~a::b` (delete)."""

    kind: str
    steps: tuple[str, ...]
    value: Node


@dataclass(frozen=True)
class Step:
    """One step of the loading: what was laid over everything before it.

    `root` is the merged tree after it, which later steps change; `tree` the file or dict that was laid over, with its
    operators, or else `override`.
    """

    root: Node
    tree: Node | None = None
    override: Override | None = None


def load(inputs: Sequence[Input], safe: SafeMode | None = None) -> Node:
    """Return the merged tree of all inputs, left to right, the overrides applied last, or raise a `ConfigError`."""
    problems = Problems()
    root = load_what_can_be(inputs, problems, safe)
    if problems or root is None:
        raise ConfigError(problems)
    return root


def load_what_can_be(
    inputs: Sequence[Input], problems: list[Problem], safe: SafeMode | None = None, empty: list[Source] | None = None
) -> Node | None:
    """Return the merged tree, and add the problems on the way; None where a text is missing: no more can be said then.

    Files that hold nothing are added to `empty`.
    """
    root: Node | None = Node({}, Origin(Source("config")))
    for step in steps(inputs, problems, safe):
        root = step.root if step is not None else None
        tree = step.tree if step is not None else None
        if tree is not None and empty is not None and not tree.value:
            source = tree.origin.source
            empty += [source] if source.is_file and "_base_" not in source.text else []
    return root


def steps(
    inputs: Sequence[Input], problems: list[Problem], safe: SafeMode | None = None, reader: Files | None = None
) -> Iterator[Step | None]:
    """Yield each step: files with their bases and dicts, then overrides. Last a None if a text is missing.

    A `reader` that is given knows afterwards which files were read.
    """
    files, overrides = _sort(inputs, problems)
    root = Node({}, Origin(Source("config")))
    reader = reader or Files(problems, safe)
    for item in files:
        for tree in reader.layers(_from_python(item, problems)) if isinstance(item, Mapping) else reader.input(item):
            over = reader.with_copies(tree)
            root = merge(root, over, problems)
            yield Step(root, tree=over)
    for override in overrides:
        value = reader.with_copies(override.value)
        if override.kind == "~":
            delete(root, list(override.steps), value, problems)
        else:
            edit(root, list(override.steps), value, problems, replace=override.kind == "=")
        yield Step(root, override=override)
    if reader.is_incomplete or not files:
        yield None


def listed(inputs: Inputs) -> list[Input]:
    """Return inputs as a list: one path, override or dict is a list of it. Raise a `ConfigError` for anything else."""
    if isinstance(inputs, (str, PathLike, Mapping)):
        return [inputs]
    items = list(inputs) if isinstance(inputs, Iterable) else [inputs]
    wrong = [item for item in items if not isinstance(item, (str, PathLike, Mapping))]
    if wrong:
        hint = 'For example: Runner().run("fit", ["config.yaml", {"trainer": {"max_epochs": 3}}, "model::lr=0.1"])'
        message = "an input is a path, a dict or an override; found {}"
        raise ConfigError([Problem(message.format(indefinite(each)), hint=hint) for each in wrong])
    return items


def is_override(word: str) -> bool:
    """Return whether a word is an override and not a file: no such file, and an `=` or a leading `~` in it."""
    # A file whose name has a `=` in it is there on the disk, and comes first.
    return ("=" in word or word.startswith("~")) and not is_url(word) and not os.path.isfile(word)


def _sort(
    inputs: Sequence[Input], problems: list[Problem]
) -> tuple[list[Path | str | Mapping[str, Any]], list[Override]]:
    files: list[Path | str | Mapping[str, Any]] = []
    overrides: list[Override] = []
    for item in inputs:
        if isinstance(item, Mapping) or is_url(item):
            files.append(item)  # type: ignore[arg-type]
        elif isinstance(item, str) and is_override(item):
            override = parse_override(item, problems)
            overrides += [override] if override else []
        else:
            files.append(Path(item))
    if not files:
        problems.append(Problem("no config file is given", hint="Usage: lighter fit config.yaml [key::path=value ...]"))
    return files, overrides


def parse_override(word: str, problems: list[Problem]) -> Override | None:
    """Return an override, or None and a problem. Its value is YAML; one with `@`, `%` or `$` first is taken as text."""
    source = Source(COMMAND_LINE, word)
    kind = word[0] if word[0] in "=~" else ""
    path, equals, text = word[len(kind) :].partition("=")
    key_origin = Origin(source, 1, len(kind) + 1)
    if not path.strip():
        hint = "For example: trainer::max_epochs=5"
        problems.append(Problem("an override names what it changes", key_origin, hint=hint))
        return None
    if kind == "=" and not equals:
        hint = f"Write ={path}=VALUE to replace it, ~{path} to delete it."
        problems.append(Problem("an override that replaces needs a value", key_origin, path, hint))
        return None
    start = len(word) - len(text)
    value: Node | None = Node(text if is_reference(text) else None, Origin(source, 1, start + 1 if equals else 1))
    # Text that begins so is no YAML, where `@` and `%` are reserved: on the command line nobody should have to quote
    # it.
    if equals and not is_reference(text):
        value = yaml.parse(source, problems, offset=start)
    if value is None:
        return None
    value.key_origin = key_origin
    return Override(kind, tuple(split(path.strip())), value)


def _from_python(data: Mapping[str, Any], problems: list[Problem]) -> Node:
    origin = Origin(Source("Python"))

    def node(value: Any, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise ConfigError([Problem(f"this dict is nested more than {MAX_DEPTH} deep", origin)])
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, (str, int, float)):
                    problems.append(Problem(f"a key is text or a number; found {indefinite(key)}", origin))
            return Node({key: node(child, depth + 1) for key, child in value.items()}, origin)
        if isinstance(value, (list, tuple)):
            return Node([node(child, depth + 1) for child in value], origin)
        if isinstance(value, int) and yaml.is_too_long(value):
            problems.append(Problem("a number has at most 4,300 digits", origin))
            value = None
        # A live object, a module say, stands in the tree as it is.
        return Node(value, origin)

    return node(data, 0)
