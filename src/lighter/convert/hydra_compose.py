"""Compose a Hydra config: the primary file, and the files that its defaults lists choose from the folder beside it.

The rules are Hydra's: a defaults list is gone through depth first; `_self_` says when the file itself comes, which is
last where it is missing; `override group: option` changes a choice; packages say where in the tree a file goes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lighter.config.problems import Problem, nearest
from lighter.config.tree import Node
from lighter.convert.gaps import Gaps
from lighter.convert.hydra_words import Word, changed, read_word, within
from lighter.convert.reading import overlaid, read_files
from lighter.errors import ConfigError

_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)\s*$", re.MULTILINE)
_CHOICE = re.compile(r"\$\{(\w+)\}")
_MAX_DEPTH = 30
_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class _Entry:
    """An entry of a defaults list: a config of a group, in a package; `option` is None where none is chosen.

    One that is no choice (`- name`) always comes.
    """

    group: str
    option: str | None
    package: str | None
    node: Node
    is_optional: bool = False
    is_override: bool = False
    is_choice: bool = True

    @property
    def path(self) -> str:
        return f"{self.group}/{self.option}" if self.group else str(self.option)


def compose(files: Sequence[Path], words: Sequence[str], gaps: Gaps) -> Node:
    """Return the composed tree.

    Files beside the first one are laid over it; files in folders below it are choices (`experiment/a.yaml` is
    `experiment=a`). Words are overrides as Hydra takes them: `group=option` and `key.path=value`.
    """
    composer = _Composer(files[0].parent, gaps)
    primary = read_files([files[0]])[0]
    values, changes = [], []
    for file in files[1:]:
        if files[0].parent.resolve() in file.parent.resolve().parents:
            path = file.resolve().relative_to(files[0].parent.resolve()).with_suffix("")
            composer.choices[path.parent.as_posix()] = (path.name, None)
        else:
            values += read_files([file])
    for word in map(read_word, words):
        if not composer.chooses(word):
            changes.append(word)
    tree = composer.whole(primary)
    for value in values:
        tree = overlaid(tree, value)
    for word in changes:
        tree = changed(tree, word, composer.groups(), is_whole=composer.is_whole)
    return tree


class _Composer:
    def __init__(self, root: Path, gaps: Gaps) -> None:
        self.root, self.gaps = root, gaps
        self.choices: dict[str, tuple[str | None, Node | None]] = {}
        self.chosen: dict[str, str] = {}
        self.used: set[str] = set()
        self.added: list[_Entry] = []
        self.is_whole = True  # no file that a defaults list names is elsewhere

    def chooses(self, word: Word) -> bool:
        """Take a word that chooses an option of a group; return whether it does."""
        group = word.name.partition("@")[0]
        if not self._holds(group) or not (self.root / group).is_dir():
            return False
        option = None if word.deletes or word.text in ("null", "~", "") else word.text.removesuffix(".yaml")
        # Those in which something is chosen by another choice, or several are chosen, are Hydra's to check.
        if option is not None and not set(option) & set("[{") and not group.startswith("hydra"):
            options = self._options(group)
            if option not in options:
                raise word.wrong(f"`{group}` has no option `{option}`", nearest(option, options))
        self.choices[word.name] = (option, None)
        return True

    def groups(self) -> list[str]:
        return sorted(folder.name for folder in self.root.iterdir() if folder.is_dir())

    def _options(self, group: str) -> list[str]:
        files = sorted(file for file in (self.root / group).rglob("*.y*ml") if file.suffix in _SUFFIXES)
        return [file.relative_to(self.root / group).with_suffix("").as_posix() for file in files]

    def _holds(self, path: str) -> bool:
        """Return whether a path is one within the folder of the configs."""
        inside = os.path.normpath(path)
        return not os.path.isabs(inside) and inside.split(os.sep)[0] != os.pardir

    def whole(self, primary: Node) -> Node:
        asked = dict(self.choices)
        self._collect(primary, "", "", 0)
        # A group that no defaults list has is added to the primary's (`+experiment=a`).
        self.added = [
            _Entry(group, option, None, primary)
            for group, (option, _) in asked.items()
            if group not in self.used and "@" not in group
        ]
        self.choices = asked
        self._collect(primary, "", "", 0)
        whole = Node({}, primary.origin)
        for package, content in self._layers(primary, "", "", 0):
            whole = overlaid(whole, within([step for step in package.split(".") if step], content))
        return whole

    def _collect(self, tree: Node, group: str, package: str, depth: int) -> None:
        """Add the choices that `override` entries make, those of the files that are laid over later first."""
        if depth > _MAX_DEPTH:
            raise ConfigError([Problem("these defaults lists contain each other", tree.origin, "defaults")])
        own = _header(tree, group, package)
        entries = [*self._entries(tree, group), *(self.added if depth == 0 else ())]
        for entry in entries:
            if entry.is_override:
                key = f"{entry.group}@{entry.package}" if entry.package else entry.group
                self.choices.setdefault(key, (entry.option, entry.node))
        for entry in reversed(entries):
            if not entry.is_override and entry.option != "_self_":
                place = self._package(entry, own, group)
                chosen = self._chosen(entry, place)
                below = self._file(chosen.path) if chosen.option is not None else None
                if below is not None:
                    self._collect(below, chosen.group, place, depth + 1)

    def _layers(self, tree: Node, group: str, package: str, depth: int) -> Iterator[tuple[str, Node]]:
        """Yield the parts that a file is composed of, each with its package, in the order in which they are merged."""
        own = _header(tree, group, package)
        entries = [entry for entry in self._entries(tree, group) if not entry.is_override]
        if not any(entry.option == "_self_" for entry in entries):
            entries.append(_Entry("", "_self_", None, tree))
        for entry in [*entries, *(self.added if depth == 0 else ())]:
            if entry.option == "_self_":
                content = {key: node for key, node in tree.value.items() if key != "defaults"}
                yield own, Node(content, tree.origin)
                continue
            place = self._package(entry, own, group)
            chosen = self._chosen(entry, place)
            if chosen.option is None:
                continue
            below = self._file(chosen.path)
            if below is not None:
                yield from self._layers(below, chosen.group, place, depth + 1)
            elif not chosen.is_optional and chosen.group.split("/")[0] != "hydra":
                self.is_whole = False
                found = f"there is no {self.root / chosen.path}.yaml"
                self.gaps.open(
                    chosen.node, "defaults", found, "It may come from a package or a search path: convert it too."
                )

    def _package(self, entry: _Entry, parent: str, group: str) -> str:
        """Return where an entry goes: its group's path within its parent's package, or what it says after `@`."""
        if entry.package is not None:
            below = entry.package.removeprefix("_here_").removeprefix(".")
            if below.startswith("_global_"):
                return below.removeprefix("_global_").removeprefix(".")
            return f"{parent}.{below}".strip(".") if below else parent
        relative = entry.group.removeprefix(group).strip("/") if entry.group.startswith(group) else entry.group
        return ".".join(step for step in (parent, relative.replace("/", ".")) if step)

    def _chosen(self, entry: _Entry, place: str) -> _Entry:
        """Return an entry as it is chosen. A group that is in another package than its own is another choice."""
        if not entry.is_choice:
            return entry
        key = entry.group if place == entry.group.replace("/", ".") else f"{entry.group}@{place}"
        self.used.add(key)
        option, node = self.choices.get(key, (entry.option, entry.node))
        match = _CHOICE.search(str(option))
        if match is not None and match[1] in self.chosen:
            option = str(option).replace(match[0], self.chosen[match[1]])
        if option is not None:
            self.chosen.setdefault(entry.group, option)
        return _Entry(entry.group, option, entry.package, node or entry.node, entry.is_optional)

    def _entries(self, tree: Node, group: str) -> Iterator[_Entry]:
        defaults = tree.value.get("defaults")
        for item in defaults.value if defaults is not None and isinstance(defaults.value, list) else ():
            if isinstance(item.value, str):
                name, _, package = item.value.partition("@")
                folder, _, option = name.rpartition("/")
                yield _Entry(_below(folder, group), option, package or None, item, is_choice=False)
            elif isinstance(item.value, dict):
                for key, node in item.value.items():
                    yield from self._of_group(str(key), node, group)

    def _of_group(self, key: str, node: Node, group: str) -> Iterator[_Entry]:
        words = key.split()
        name, _, package = words[-1].partition("@")
        flags = {"is_optional": "optional" in words, "is_override": "override" in words}
        for option in node.value if isinstance(node.value, list) else [node]:
            value = None if option.value is None else str(option.value).removesuffix(".yaml")
            if value == "???":
                self.gaps.open(
                    node, f"defaults.{name}", "this choice is left to the command line", f"Give it: {name}=OPTION"
                )
                value = None
            yield _Entry(_below(name, group), value, package or None, node, **flags)

    def _file(self, path: str) -> Node | None:
        for suffix in _SUFFIXES if self._holds(path) else ():
            file = self.root / f"{path}{suffix}"
            if file.is_file():
                return read_files([file])[0]
        return None


def _below(name: str, group: str) -> str:
    """Return the whole path of a group that is named in a file of another one: `/a` is from the top."""
    return name.lstrip("/") if name.startswith("/") or not group else f"{group}/{name}".rstrip("/")


def _header(tree: Node, group: str, package: str) -> str:
    match = _PACKAGE.search(tree.origin.source.text)
    if match is None:
        return package
    name = match[1].replace("_group_", group.replace("/", "."))
    return name.removeprefix("_global_").removeprefix(".")
