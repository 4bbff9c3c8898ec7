"""Completions at the cursor: keys, targets, choices, paths after `@` and `%`, names in expressions."""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lighter.config import yaml
from lighter.config.check.sections import SECTIONS
from lighter.config.expression import from_top
from lighter.config.history import as_text
from lighter.config.problems import shortened
from lighter.config.safe import SafeMode
from lighter.config.tree import MODES, SEPARATOR, SPECIAL, Node, is_target, join, prefixes
from lighter.editor.server import schema_at
from lighter.editor.server.cursor import Cursor, written_path
from lighter.editor.server.documents import Analysis
from lighter.editor.server.names import MODULE, Names

KEY, VALUE, PATH, NAME = "key", "value", "path", "name"
_TRAINER = "lighter.Trainer"
_IN_EXPRESSION = re.compile(r"([@%][\w:]*|[A-Za-z_]\w*)\Z")
_OF_SHELLS = ("exit", "quit", "copyright", "credits", "license", "help")
_BUILTINS = [name for name in dir(builtins) if name[0].islower() and name not in _OF_SHELLS]


@dataclass(frozen=True)
class Offer:
    """One completion.

    Attributes:
        text: what replaces the columns from `start` on of the cursor's line, up to the end of the key or value.
        kind: `key`, `value`, `path`, or what Python calls it: `module`, `class`, `function`, `name`.
        end: the column up to which it replaces; None for the end of the whole key or value.
        is_open: whether more will follow: a path that goes on, a module.
    """

    label: str
    text: str
    kind: str
    start: int
    detail: str = ""
    documentation: str = ""
    end: int | None = None
    is_open: bool = False


def offers(cursor: Cursor, analysis: Analysis | None, names: Names, folder: Path, safe: SafeMode | None) -> list[Offer]:
    """Return what may stand at a cursor."""
    completion = _Completion(cursor, analysis, names, folder, safe)
    found = completion.keys() if cursor.is_key else completion.values()
    return list({offer.text: offer for offer in found}.values())


def targets_on_the_way(path: str, *trees: Node | None) -> dict[str, str]:
    """Return the targets of the definitions that hold a path, as the first of some trees that has one says."""
    named: dict[str, str] = {}
    for here in prefixes(path):
        for tree in trees:
            node = tree.find(here) if tree is not None else None
            target = node.value.get("_target_") if node is not None and is_target(node.value) else None
            if target is not None and isinstance(target.value, str):
                named.setdefault(here, target.value)
    if path.split(SEPARATOR)[0] == "trainer":
        named.setdefault("trainer", _TRAINER)
    return named


class _Completion:
    def __init__(
        self, cursor: Cursor, analysis: Analysis | None, names: Names, folder: Path, safe: SafeMode | None
    ) -> None:
        self.cursor, self.names, self.folder, self.safe = cursor, names, folder, safe
        config = analysis.config if analysis is not None else None
        self.merged = config.merged if config is not None else cursor.top
        self.expanded = config.expanded if config is not None else cursor.top
        self.schema = analysis.schema if analysis is not None else {}
        self.start = cursor.span[0]

    def described(self, path: str) -> list[schema_at.Schema]:
        return schema_at.at(self.schema, path, targets_on_the_way(path, self.cursor.top, self.expanded))

    def keys(self) -> Iterator[Offer]:
        operator = self.cursor.typed[:1] if self.cursor.typed[:1] in ("=", "~") else ""
        typed = self.cursor.typed[len(operator) :]
        if SEPARATOR in typed:
            yield from self.paths_as_keys(operator, typed)
            return
        path = self.cursor.path
        known = schema_at.keys(self.schema, self.described(path)) if self.schema else {}
        if not path:
            known = {**dict.fromkeys(sorted(SECTIONS)), "_base_": None, **known}  # type: ignore[dict-item]
        written = {str(key).lstrip("=~") for key in (self.cursor.holder.value if self.cursor.holder else ())}
        written.add(self.cursor.whole.lstrip("=~"))
        node = self.merged.find(path)
        below = [str(key) for key, _ in node.children()] if node is not None and isinstance(node.value, dict) else []
        # what a base says may be changed here; an operator needs something that is there
        others = [key for key in below if key not in known and "0cursor0" not in key]
        special = SPECIAL if path and path.partition(SEPARATOR)[0] not in ("run", "args", "_imports_", "seed") else ()
        known = dict(sorted(known.items(), key=lambda item: self.rank(*item)))
        for key in dict.fromkeys([*known, *others, *special]):
            if key in written or (operator and key not in below):
                continue
            yield self.key(key, operator, [known[key]] if known.get(key) else [])

    def rank(self, key: str, described: schema_at.Schema | None) -> int:
        """Order keys: arguments that have to be given, others, special keys."""
        about = schema_at.description(self.schema, [described]) if described else ""
        return 2 if key in SPECIAL[1:] else 0 if about.partition("\n")[0].endswith("no default") else 1

    def key(self, key: str, operator: str, described: list[schema_at.Schema]) -> Offer:
        ending = "" if self.cursor.has_value else ":" if operator == "~" else ": "
        about = schema_at.description(self.schema, described)
        first, _, more = about.partition("\n\n")
        return Offer(f"{operator}{key}", f"{operator}{key}{ending}", KEY, self.start, first, more or about)

    def paths_as_keys(self, operator: str, typed: str) -> Iterator[Offer]:
        above = typed.rpartition(SEPARATOR)[0]
        node = self.merged.find(join(self.cursor.path, above) if self.cursor.path else above)
        for key, child in node.children() if node is not None else ():
            is_open = isinstance(child.value, (dict, list)) and bool(child.value)
            text = f"{operator}{above}{SEPARATOR}{key}"
            yield Offer(text, text, PATH, self.start, _shown(child), is_open=is_open)

    def values(self) -> Iterator[Offer]:
        typed, key = self.cursor.typed, self.cursor.key
        if typed[:1] in ("@", "%"):
            yield from self.references(typed, self.start)
        elif typed[:1] == "$":
            yield from self.in_expression(typed)
        elif key in ("_target_", "=_target_"):
            yield from self.targets(typed)
        elif self.cursor.path.partition(SEPARATOR)[0] == "_base_":
            yield from self.files()
        elif self.cursor.above == "_imports_":
            yield from self.targets(typed)
        else:
            yield from self.choices(key)

    def choices(self, key: str) -> Iterator[Offer]:
        fixed: dict[str, list[object]] = {"_mode_": [*MODES], "_disabled_": [True, False]}
        described = self.described(self.cursor.path)
        default = next((each["default"] for each in described if "default" in each), None)
        listed = fixed.get(key) or schema_at.choices(self.schema, described)
        is_offered = default is not None and not isinstance(default, (list, dict)) and default not in listed
        for value in [*listed, *([default] if is_offered else [])]:
            is_default = value == default and type(value) is type(default)
            text = value if self.cursor.quote and isinstance(value, str) else _as_yaml(value)
            yield Offer(text, text, VALUE, self.start, "default" if is_default else "")

    def targets(self, typed: str) -> Iterator[Offer]:
        above, dot, _ = typed.rpartition(".")
        if self.safe is not None:
            for name in self.safe.names():
                if name.startswith(f"{above}{dot}"):
                    yield Offer(name, name, NAME, self.start)
            return
        for member in self.names.members(above):
            text = f"{above}{dot}{member.name}"
            yield Offer(member.name, text, member.kind, self.start, above, is_open=member.kind == MODULE)

    def files(self) -> Iterator[Offer]:
        above = self.cursor.typed.rpartition("/")[0]
        beside = self.folder / above
        for file in sorted(beside.iterdir()) if beside.is_dir() else ():
            if file.suffix in (".yaml", ".yml") or (file.is_dir() and not file.name.startswith(".")):
                text = f"{above}/{file.name}".lstrip("/") + ("/" if file.is_dir() else "")
                yield Offer(text, text, VALUE, self.start, is_open=file.is_dir())

    def references(self, typed: str, start: int, end: int | None = None) -> Iterator[Offer]:
        """Offer the next step of a path; a whole value that begins with `@` or `%` is quoted, as YAML wants it."""
        sign, path = typed[0], typed[1:]
        above = path.rpartition(SEPARATOR)[0] + SEPARATOR if SEPARATOR in path else ""
        try:
            holder = from_top(self.cursor.path, f"{sign}{above}")[1:] if above.startswith(SEPARATOR) else above
        except ValueError:  # it goes up beyond the top
            return
        node = (self.expanded if sign == "@" else self.merged).find(holder.strip(":"))
        quote = '"' if end is None and not self.cursor.quote else ""
        for key, child in node.children() if node is not None else ():
            # a path that is written itself leads back to where it stands
            if str(key).startswith("_") or written_path(join(holder.strip(":"), key)) == self.cursor.path:
                continue
            is_open = isinstance(child.value, (dict, list)) and bool(child.value)
            text = f"{sign}{above}{key}"
            yield Offer(text, f"{quote}{text}{quote}", PATH, start, _shown(child), end=end, is_open=is_open)

    def in_expression(self, typed: str) -> Iterator[Offer]:
        match = _IN_EXPRESSION.search(typed)
        word = match[0] if match is not None else ""
        before, end = typed[: len(typed) - len(word)], self.start + len(typed)
        start = end - len(word)
        if word[:1] in ("@", "%"):
            yield from self.references(word, start, end)
        elif not before.endswith((".", "::")):
            imports = self.merged.section("_imports_")
            for name, node in imports.items():
                yield Offer(str(name), str(name), MODULE, start, str(node.value), end=end)
            for name in _BUILTINS if word else ():
                yield Offer(name, name, NAME, start, "built in", end=end)


def _shown(node: Node) -> str:
    value = node.value
    if isinstance(value, dict):
        target = value.get("_target_")
        return str(target.value) if target is not None else f"{len(value)} keys"
    return f"{len(value)} items" if isinstance(value, list) else shortened(as_text(value), 60)


def _as_yaml(value: object) -> str:
    return yaml.dump(value).removesuffix("\n").removesuffix("\n...")
