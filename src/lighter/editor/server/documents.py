"""Open texts, the configs that they belong to, and what `lighter check` says of each.

Each open config is read as `lighter check FILE` reads it in its working directory, with the texts that are open in
place of those on the disk. What it says of a base is shown in the base.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lighter.config import Config, examine, yaml
from lighter.config.history import Event, history
from lighter.config.load import steps
from lighter.config.problems import Problems, in_order
from lighter.config.safe import SafeMode
from lighter.config.sources import OPEN_TEXTS, Files
from lighter.config.tree import Node, Source
from lighter.editor.server.layers import is_config, sayable
from lighter.editor.server.worker import as_data
from lighter.errors import ConfigError

_NOT_SEARCHED = ("outputs", "node_modules", "venv", "site-packages", "__pycache__")
_MOST_FILES = 2000
_NAMES_FILE = re.compile(r"_base_|%[^%]*?\.ya?ml", re.IGNORECASE)
UNTRUSTED = "NotTrustedError: "
"""In the message of a target that was not imported, since its code is not trusted."""


class Finding(NamedTuple):
    """A problem at its place; `file` is None where it is of no file, and lines and columns count from 1."""

    message: str
    hint: str
    severity: str
    path: str
    file: str | None
    line: int
    column: int


@dataclass
class Analysis:
    """The analysis of an open config.

    Attributes:
        config: as it was when it could last be read; its problems may be older than the text.
        files: all files that it was merged from, the bases first.
        first: the problems of the first tier; `second` those of the second.
        schema: its schema, as of the last answer of the worker; empty until then.
    """

    path: Path
    root: Path
    config: Config | None = None
    files: list[Path] = field(default_factory=list)
    first: list[Finding] = field(default_factory=list)
    second: list[Finding] = field(default_factory=list)
    schema: dict[str, Any] = field(default_factory=dict)
    is_readable: bool = False
    is_asked_for_schema: bool = False

    @property
    def name(self) -> str:
        """The file as the user would name it on the command line."""
        return os.path.relpath(self.path, self.root) if self.path.is_relative_to(self.root) else str(self.path)

    def findings(self, *, trusted: bool) -> Iterator[Finding]:
        """Yield all problems, each once; targets that are not trusted are no problem."""
        yield from self.first
        yield from (each for each in self.second if UNTRUSTED not in each.message or trusted)

    def untrusted(self) -> list[Finding]:
        return [each for each in self.second if UNTRUSTED in each.message]


class Documents:
    """The open documents of a workspace.

    Args:
        folders: the folders of the workspace.
        started_in: the working directory of the server.
        safe: the rules of safe mode, if it is on.
    """

    def __init__(self, folders: Sequence[Path], started_in: Path, safe: SafeMode | None = None) -> None:
        self.folders, self.started_in, self.safe = list(folders), started_in, safe
        self.texts: dict[Path, str] = {}
        self.analyses: dict[Path, Analysis] = {}

    def root_of(self, path: Path) -> Path:
        """Return the directory in which `lighter` is assumed to run for a file."""
        within = [folder for folder in (self.started_in, *self.folders) if path.is_relative_to(folder)]
        # The innermost: an editor that was started in the home directory has the project as its workspace.
        return max(within, key=lambda folder: len(folder.parts), default=path.parent)

    def opened(self, path: Path, text: str) -> None:
        self.texts[path] = text

    def closed(self, path: Path) -> None:
        self.texts.pop(path, None)
        self.analyses.pop(path, None)

    def affected(self, path: Path) -> list[Path]:
        """Return the open configs to be read anew after a file changed: itself, and those that are built on it."""
        above = [each.path for each in self.analyses.values() if path in each.files and each.path != path]
        return [path, *above] if path in self.texts else above

    def read(self, path: Path) -> Analysis | None:
        """Read an open document anew, without importing anything; None if it is no config."""
        if not is_config(self.texts[path]):
            self.analyses.pop(path, None)
            return None
        analysis = self.analyses.setdefault(path, Analysis(path, self.root_of(path)))
        with self.as_seen_from(analysis.root):
            name = Path(analysis.name)
            config, problems = examine([name], self.safe)
            analysis.is_readable = config is not None
            merged = config.merged if config is not None else None
            analysis.config = config or analysis.config
            analysis.first = [Finding(**as_data(each)) for each in in_order(sayable(problems, merged))]
            analysis.files = list(dict.fromkeys([*self._files(name), path]))
        return analysis

    def tree(self, path: Path) -> Node | None:
        """Return a document's own tree, without its bases; None if it is no YAML."""
        return yaml.parse(Source(str(path), self.text(path), path.parent, is_file=True), Problems())

    def text(self, path: Path) -> str:
        """Return the text of a file, as it is open or on the disk."""
        try:
            return self.texts[path] if path in self.texts else path.read_text(encoding="utf-8-sig")
        except (OSError, ValueError):
            return ""

    def history(self, analysis: Analysis, key: str) -> tuple[list[Event], str]:
        """Return what `lighter why` says of a value; nothing where it has nothing to say."""
        with self.as_seen_from(analysis.root):
            try:
                return history(key, [Path(analysis.name)])
            except ConfigError:
                return [], ""

    @contextmanager
    def as_seen_from(self, root: Path) -> Iterator[None]:
        """Work in a directory, as the commands would, on the texts that are open."""
        before, token = os.getcwd(), OPEN_TEXTS.set(self.texts)
        os.chdir(root)
        try:
            yield
        finally:
            OPEN_TEXTS.reset(token)
            os.chdir(before)

    def files_of(self, path: Path) -> list[Path]:
        """Return all files that a config, open or not, is merged from."""
        with self.as_seen_from(self.root_of(path)):
            return [*dict.fromkeys([*self._files(path), path])]

    def built_on(self, path: Path) -> Iterator[Path]:
        """Yield the other configs of the workspace that are merged from a file or copy from it, open or not."""
        for other in self._yaml_files():
            text = self.text(other) if other != path else ""
            if _NAMES_FILE.search(text) and path in self.files_of(other):
                yield other

    def _yaml_files(self) -> Iterator[Path]:
        seen = 0
        for folder in self.folders:
            for here, inner, files in os.walk(folder):
                inner[:] = sorted(name for name in inner if not name.startswith(".") and name not in _NOT_SEARCHED)
                for name in sorted(files):
                    if name.endswith((".yaml", ".yml")) and seen < _MOST_FILES:
                        seen += 1
                        yield (Path(here) / name).resolve()

    def _files(self, name: Path) -> Iterator[Path]:
        problems = Problems()
        reader = Files(problems, self.safe)
        with suppress(ConfigError):
            for step in steps([name], problems, self.safe, reader):
                if step is not None and step.tree is not None:
                    yield Path(step.tree.origin.source.name).resolve()
        # also those of which only a part is copied, by `%file.yaml::path`, and their bases
        yield from sorted(reader.texts)


def open_texts(documents: Documents) -> Mapping[str, str]:
    """Return the texts that are open as JSON takes them."""
    return {str(path): text for path, text in documents.texts.items()}
