"""Texts that a config is read from: files with their bases, and URLs."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from lighter.config import yaml
from lighter.config.merge import merge
from lighter.config.problems import Problem, indefinite, nearest, shortened
from lighter.config.references import expand_external
from lighter.config.safe.paths import outside
from lighter.config.tree import MAX_DEPTH, Node, Origin, Source
from lighter.errors import ConfigError

if TYPE_CHECKING:
    from lighter.config.safe import SafeMode

ONLY_ANCHORS = ("x-", ".")
"""Prefixes of top-level keys that only hold YAML anchors."""

MAX_BYTES = 10 * 1024 * 1024

OPEN_TEXTS: ContextVar[Mapping[Path, str]] = ContextVar("OPEN_TEXTS", default=MappingProxyType({}))
"""Texts of files that an editor has open, by resolved path: each is read in place of the file on the disk."""


def is_url(item: object) -> bool:
    """Return whether an input is a URL, and not a file or an override."""
    return isinstance(item, str) and item.lower().startswith(("https://", "http://"))


class Files:
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
        tree = self.parsed(path, None)
        return iter(()) if tree is None else self.layers(tree, (_real(path),))

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
                base = self.parsed(path, item)
                if base is not None:
                    yield from self.layers(base, (*within, real))
        yield tree

    def parsed(self, path: Path, named_by: Node | None) -> Node | None:
        """Return a copy of a file's own tree; None, and a problem the first time, where it cannot be read."""
        real = _real(path)
        if named_by is not None and self.safe is not None:
            self.refuse(path, named_by, self.safe)
        if real not in self.texts:
            source, is_safe = Source(str(path), folder=path.parent, is_file=True), self.safe is not None
            text = _read(path, named_by, self.problems, only_regular=is_safe)
            self.texts[real] = _parse(source, text, self.problems, aliases=not is_safe) or Node(None, Origin(source))
        tree = self.texts[real]
        self.is_incomplete = self.is_incomplete or tree.value is None
        return tree.copy() if tree.value is not None else None

    def refuse(self, path: Path, named_by: Node, safe: SafeMode) -> None:
        """Refuse another file than those where files may be, and any for a config from a URL."""
        source = named_by.origin.source
        wrong = f"`{source.name}` is no folder" if is_url(source.name) else outside(path, safe.roots)
        if wrong is not None:
            hint = "To permit it: --allow_root FOLDER" if not is_url(source.name) else ""
            raise ConfigError([Problem(f"safe mode does not read this file: {wrong}", named_by.origin, hint=hint)])

    def with_copies(self, tree: Node) -> Node:
        """Return the tree with what other files hold in place of each `%file.yaml::path`."""
        return expand_external(tree, self.whole, self.problems)

    def whole(self, name: str, named_by: Node) -> Node | None:
        """Return a file with its bases. A name is relative to the file that it is in, or to the working directory."""
        folder = named_by.origin.source.folder
        if (folder, name) not in self.wholes:
            path = folder / os.path.expanduser(name)
            is_permitted = self.safe is None or outside(name, self.safe.roots) is None
            if is_permitted and not os.path.isfile(path) and os.path.isfile(name):
                path = Path(name)
            # A reader of its own, since bases that were needed before count once more here.
            reader = Files(self.problems, self.safe)
            reader.texts = self.texts
            tree = reader.parsed(path, named_by)
            root = Node({}, tree.origin) if tree is not None else None
            for layer in reader.layers(tree, (_real(path),)) if tree is not None else ():
                root = merge(root, layer, self.problems)
            self.wholes[folder, name] = root
        return self.wholes[folder, name]


def _real(path: Path) -> Path:
    # The same file may have several names, and some texts are no name of a file at all; reading it says so.
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):
        return path


def _parse(source: Source, text: str | None, problems: list[Problem], *, aliases: bool) -> Node | None:
    tree = None if text is None else yaml.parse(replace(source, text=text), problems, aliases=aliases)
    if tree is None:
        return None
    if tree.value is None:
        tree.value = {}
    if not isinstance(tree.value, dict):
        written = indefinite(tree.value)
        problems.append(Problem(f"a config is a dict of keys and values; found {written}", tree.origin))
        return None
    # The aliases in the text have been replaced by now.
    for key in [key for key in tree.value if str(key).startswith(ONLY_ANCHORS)]:
        del tree.value[key]
    return tree


def _read(path: Path, named_by: Node | None, problems: list[Problem], *, only_regular: bool) -> str | None:
    origin = named_by.origin if named_by is not None else Origin(Source(shortened(str(path), 200), is_unread=True))
    at = f"{path}: " if named_by is not None else ""
    hint = ""
    opened = OPEN_TEXTS.get().get(_real(path))
    try:
        if opened is not None:
            return _decoded(opened.encode("utf-8", "replace"), at, origin, problems)
        return _decoded(
            _content(_real(path) if only_regular else path, only_regular=only_regular), at, origin, problems
        )
    except FileNotFoundError:
        reason, hint = "there is no such file", _similar(path)
    except IsADirectoryError:
        reason = "this is a folder, not a file"
    except (OSError, ValueError) as error:
        reason = f"this file cannot be read: {getattr(error, 'strerror', None) or error}"
    problems.append(Problem(at + reason, origin, hint=hint))
    return None


def _content(path: Path, *, only_regular: bool) -> bytes:
    """Return as much of a file as a config may have, and a byte more where there is more."""
    # Without O_NONBLOCK, opening a pipe waits for somebody who writes into it. A pipe that a shell makes, `<(...)`, has
    # one already, who is then waited for.
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
    from lighter.config.remote import RemoteError, fetch

    origin = Origin(Source(shortened(url, 200), is_unread=True))
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
        reason = f"a config file has at most {MAX_BYTES // 2**20} MB"
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        reason = f"this is not UTF-8 text: line {line} has the byte 0x{data[error.start]:02x}"
        hint = "Save the file as UTF-8."
    problems.append(Problem(at + reason, origin, hint=hint))
    return None


def _similar(path: Path) -> str:
    files = sorted(path.parent.glob("[!.]*.y*ml")) if os.path.isdir(path.parent) else []
    parts = str(path).split(",")
    if len(parts) > 1 and all(map(os.path.isfile, map(str.strip, parts))):
        return f"Files are words of their own: {' '.join(map(str.strip, parts))}"
    if not path.suffix and "/" not in str(path):
        return "An override is written key=value; a file ends in .yaml."
    return nearest(path, files)
