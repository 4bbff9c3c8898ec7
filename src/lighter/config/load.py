"""Inputs to one merged tree: files with their bases, dicts from Python, overrides from the command line.

Everything is laid over what comes before it: a file over its bases, a later input over an earlier one, and the
overrides, in their order, over all. A base that several files share counts once, where it is first needed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from lighter.config import yaml
from lighter.config.merge import delete, edit, merge
from lighter.config.problems import Problem, Problems, indefinite, nearest, shortened
from lighter.config.references import expand_external
from lighter.config.safe import SafeMode
from lighter.config.safe.paths import outside
from lighter.config.tree import COMMAND_LINE, MAX_DEPTH, Node, Origin, Source, is_reference, split
from lighter.errors import ConfigError

Input = str | PathLike[str] | Mapping[str, Any]

Inputs = Input | Sequence[Input]

ONLY_ANCHORS = ("x-", ".")
"""Prefixes of top-level keys that only hold YAML anchors."""

MAX_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True)
class Override:
    """One word of the command line that changes the config: `a::b=1`, `=a::b=1` (replace) or `~a::b` (delete)."""

    kind: str
    steps: tuple[str, ...]
    value: Node


@dataclass(frozen=True)
class Step:
    """One step of the loading: what was laid over everything before it.

    Attributes:
        root: the merged tree after this step; later steps change it.
        tree: a file or dict, with its operators; None for an override.
        override: the override; None for a file or dict.
    """

    root: Node
    tree: Node | None = None
    override: Override | None = None


def load(inputs: Sequence[Input], safe: SafeMode | None = None) -> Node:
    """Return the merged tree of all inputs, left to right, with the overrides applied last.

    Args:
        safe: how untrusted files are read: without aliases, and other files only inside its roots.

    Raises:
        ConfigError: with everything that is wrong with the inputs.
    """
    problems = Problems()
    root = load_what_can_be(inputs, problems, safe)
    if problems or root is None:
        raise ConfigError(problems)
    return root


def load_what_can_be(
    inputs: Sequence[Input],
    problems: list[Problem],
    safe: SafeMode | None = None,
    empty: list[Source] | None = None,
) -> Node | None:
    """Return the merged tree, and the problems on the way; None where a text is missing, so that no more can be said.

    Files that hold nothing are added to `empty`.
    """
    root: Node | None = Node({}, Origin(Source("config")))
    for step in steps(inputs, problems, safe):
        root = step.root if step is not None else None
        tree = step.tree if step is not None else None
        if tree is not None and empty is not None and _adds_nothing(tree):
            empty.append(tree.origin.source)
    return root


def steps(inputs: Sequence[Input], problems: list[Problem], safe: SafeMode | None = None) -> Iterator[Step | None]:
    """Yield each step: files with their bases and dicts, then overrides. Last a None if a text is missing."""
    files, overrides = _sort(inputs, problems)
    root = Node({}, Origin(Source("config")))
    reader = _Files(problems, safe)
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


def _adds_nothing(tree: Node) -> bool:
    """Return whether a tree is that of a file with nothing in it, not even bases."""
    source = tree.origin.source
    return not tree.value and source.is_file and "_base_" not in source.text


def listed(inputs: Inputs) -> list[Input]:
    """Return inputs as a list: one path, override or dict is a list of it.

    Raises:
        ConfigError: one is something else.
    """
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
    return ("=" in word or word.startswith("~")) and not is_url(word) and not os.path.isfile(word)


def is_url(item: object) -> bool:
    """Return whether an input is a URL, and not a file or an override."""
    return isinstance(item, str) and item.lower().startswith(("https://", "http://"))


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
    if equals and not is_reference(text):
        value = yaml.parse(source, problems, offset=start)
    if value is None:
        return None
    value.key_origin = key_origin
    return Override(kind, tuple(split(path.strip())), value)


class _Files:
    """The files that were read for one config, each of them once."""

    def __init__(self, problems: list[Problem], safe: SafeMode | None = None) -> None:
        self.problems, self.safe = problems, safe
        self.texts: dict[Path, Node] = {}
        self.wholes: dict[tuple[Path, str], Node | None] = {}
        self.bases: set[Path] = set()
        self.is_incomplete = False

    def input(self, path: Path | str) -> Iterator[Node]:
        """Yield what a file given by the user, or a URL, adds, layer by layer: its bases, then itself."""
        if isinstance(path, str):
            tree = _parse(Source(path, is_file=True), _fetch(path, self.problems), self.problems, aliases=False)
            self.is_incomplete = self.is_incomplete or tree is None
            return iter(()) if tree is None else self.layers(tree)
        found = self.parsed(path, None)
        return iter(()) if found is None else self.layers(found, (_real(path),))

    def layers(self, tree: Node, within: tuple[Path, ...] = ()) -> Iterator[Node]:
        """Yield the bases of a tree that were not needed before, depth first, then the tree."""
        named = tree.value.pop("_base_", None)
        items = [] if named is None else named.value if isinstance(named.value, list) else [named]
        for item in items:
            if not isinstance(item.value, str):
                message = f"`_base_` is a file name or a list of them; found {indefinite(item.plain())}"
                self.problems.append(Problem(message, item.origin, "_base_"))
                continue
            path = item.origin.source.folder / os.path.expanduser(item.value)
            real = _real(path)
            if real in within or len(within) > MAX_DEPTH:
                circle = " -> ".join(file.name for file in (*within[-5:], real))
                self.problems.append(Problem(f"these files are each other's bases: {circle}", item.origin, "_base_"))
            elif real not in self.bases:
                self.bases.add(real)
                found = self.parsed(path, item)
                if found is not None:
                    yield from self.layers(found, (*within, real))
        yield tree

    def parsed(self, path: Path, named_by: Node | None) -> Node | None:
        """Return a copy of a file's own tree; None, and a problem the first time, where it cannot be read."""
        real = _real(path)
        if named_by is not None and self.safe is not None:
            self.refuse(path, named_by, self.safe)
        if real not in self.texts:
            self.texts[real] = _parse_file(path, named_by, self.problems, is_safe=self.safe is not None) or Node(
                None, Origin(Source(str(path)))
            )
        tree = self.texts[real]
        self.is_incomplete = self.is_incomplete or tree.value is None
        return tree.copy() if tree.value is not None else None

    def refuse(self, path: Path, named_by: Node, safe: SafeMode) -> None:
        """Safe mode reads another file only where files may be, and none for a config from a URL."""
        source = named_by.origin.source
        wrong = f"`{source.name}` is no folder" if is_url(source.name) else outside(path, safe.roots)
        if wrong is not None:
            hint = "To permit it: --allow_root FOLDER" if not is_url(source.name) else ""
            raise ConfigError([Problem(f"safe mode does not read this file: {wrong}", named_by.origin, hint=hint)])

    def with_copies(self, tree: Node) -> Node:
        """Return the tree with what other files hold in place of each `%file.yaml::path`."""
        return expand_external(tree, self.whole, self.problems)

    def whole(self, name: str, named_by: Node) -> Node | None:
        """Return the tree of a file that `%file.yaml` names, with its bases.

        A relative name is relative to the file that it is written in, or else to the working directory.
        """
        folder = named_by.origin.source.folder
        if (folder, name) not in self.wholes:
            path = folder / os.path.expanduser(name)
            is_permitted = self.safe is None or outside(name, self.safe.roots) is None
            if is_permitted and not os.path.isfile(path) and os.path.isfile(name):
                path = Path(name)
            self.wholes[folder, name] = self._whole(path, named_by)
        return self.wholes[folder, name]

    def _whole(self, path: Path, named_by: Node) -> Node | None:
        own = _Files(self.problems, self.safe)
        own.texts = self.texts
        tree = own.parsed(path, named_by)
        root = Node({}, tree.origin) if tree is not None else None
        for layer in own.layers(tree, (_real(path),)) if tree is not None else ():
            root = merge(root, layer, self.problems)
        return root


def _real(path: Path) -> Path:
    """Return what tells a file from others, whatever name it is given."""
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):  # no name of a file at all; reading it says so
        return path


def _parse_file(path: Path, named_by: Node | None, problems: list[Problem], *, is_safe: bool) -> Node | None:
    """Return the tree of one file's text; None, and a problem, where it cannot be read."""
    source = Source(str(path), folder=path.parent, is_file=True)
    text = _read(path, named_by, problems, only_regular=is_safe)
    return _parse(source, text, problems, aliases=not is_safe)


def _parse(source: Source, text: str | None, problems: list[Problem], *, aliases: bool) -> Node | None:
    tree = None if text is None else yaml.parse(replace(source, text=text), problems, aliases=aliases)
    if tree is None:
        return None
    if tree.value is None:
        tree.value = {}
    if not isinstance(tree.value, dict):
        found = indefinite(tree.value)
        problems.append(Problem(f"a config is a dict of keys and values; found {found}", tree.origin))
        return None
    for key in [key for key in tree.value if str(key).startswith(ONLY_ANCHORS)]:  # the aliases have it by now
        del tree.value[key]
    return tree


def _read(path: Path, named_by: Node | None, problems: list[Problem], *, only_regular: bool) -> str | None:
    origin = named_by.origin if named_by is not None else Origin(Source(shortened(str(path), 200)))
    at = f"{path}: " if named_by is not None else ""
    hint = ""
    try:
        return _decoded(
            _content(_real(path) if only_regular else path, only_regular=only_regular), at, origin, problems
        )
    except FileNotFoundError:
        what, hint = "there is no such file", _similar(path)
    except IsADirectoryError:
        what = "this is a folder, not a file"
    except (OSError, ValueError) as error:
        what = f"this file cannot be read: {getattr(error, 'strerror', None) or error}"
    problems.append(Problem(at + what, origin, hint=hint))
    return None


def _content(path: Path, *, only_regular: bool) -> bytes:
    """As much of a file as a config may have, and a byte more where there is more.

    Without O_NONBLOCK, opening a pipe waits for somebody who writes into it. A pipe that a shell makes, `<(...)`, has
    one already, who is then waited for.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        mode = os.fstat(file.fileno()).st_mode
        if only_regular and not stat.S_ISREG(mode):
            raise OSError("in safe mode it must be a regular file, and this is a pipe or a device")
        os.set_blocking(file.fileno(), True)
        data = file.read(MAX_BYTES + 1)
    if stat.S_ISFIFO(mode) and not data:
        raise OSError("it is a pipe, and nobody writes into it")
    return data


def _fetch(url: str, problems: list[Problem]) -> str | None:
    """Return the text of a URL; None, and a problem, where it cannot be had."""
    from lighter.config.remote import RemoteError, fetch

    origin = Origin(Source(shortened(url, 200)))
    try:
        return _decoded(fetch(url, MAX_BYTES), "", origin, problems)
    except RemoteError as error:
        problems.append(Problem(str(error), origin))
    return None


def _decoded(data: bytes, at: str, origin: Origin, problems: list[Problem]) -> str | None:
    hint = ""
    try:
        if len(data) <= MAX_BYTES:
            return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
        what = f"a config file has at most {MAX_BYTES // 2**20} MB"
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"this is not UTF-8 text: line {line} has the byte 0x{data[error.start]:02x}"
        hint = "Save the file as UTF-8."
    problems.append(Problem(at + what, origin, hint=hint))
    return None


def _similar(path: Path) -> str:
    """Return what to do about a file that is not there."""
    files = sorted(path.parent.glob("[!.]*.y*ml")) if os.path.isdir(path.parent) else []
    parts = str(path).split(",")
    if len(parts) > 1 and all(map(os.path.isfile, map(str.strip, parts))):
        return f"Files are words of their own: {' '.join(map(str.strip, parts))}"
    if not path.suffix and "/" not in str(path):
        return "An override is written key=value; a file ends in .yaml."
    return nearest(path, files)


def _from_python(data: Mapping[str, Any], problems: list[Problem]) -> Node:
    """Return a tree from dicts, lists and scalars; anything else in them is taken as it is."""
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
        return Node(value, origin)

    return node(data, 0)
