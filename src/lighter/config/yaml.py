"""YAML text to nodes and back, with values as people mean them.

Numbers, booleans and null follow YAML 1.2's core schema with Python's `1_000`: `1e-3` is a float; `on`, `off`,
`yes`, `no`, dates and `12:30` are strings. A key that is written twice is a problem; tags other than YAML's own
are problems; aliases and merge keys (`<<`) work, within a bound on what they expand to.

The tree is built from PyYAML's events, not from its nodes: its C composer recurses, so deep nesting ends the process.
Reading, writing and the hints for what is no YAML share the patterns here, and so one file.
"""

from __future__ import annotations

import numbers
import re
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any

import yaml

from lighter.config.problems import Problem, indefinite, shortened
from lighter.config.tree import MAX_DEPTH, SEPARATOR, Node, Origin, Source
from lighter.processes.garbage_collection import without_collections

MAX_NODES = 1_000_000
_TOO_LONG = 10**4300

_TAG = "tag:yaml.org,2002:"
_DIGITS = r"[0-9]+(?:_[0-9]+)*"
_PATTERNS = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": rf"[-+]?(?:0b[01]+(?:_[01]+)*|0o[0-7]+(?:_[0-7]+)*|0x[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*|{_DIGITS})",
    "float": rf"[-+]?(?:(?:{_DIGITS}\.?(?:{_DIGITS})?|\.{_DIGITS})(?:[eE][-+]?[0-9]+)?|\.inf|\.Inf|\.INF)"
    r"|\.nan|\.NaN|\.NAN",
}
_ANY_PATTERN = re.compile("|".join(rf"(?P<{kind}>(?:{pattern})\Z)" for kind, pattern in _PATTERNS.items()))
_MAY_BE_SPECIAL = frozenset("~nNtTfF-+.0123456789")
_UNREADABLE = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MERGE = object()  # the key `<<`
_NO_KEY = object()  # in place of a key that is a problem


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Quotes every string that this module, or a YAML 1.1 loader, would read as something else."""

    yaml_implicit_resolvers = {first: list(rules) for first, rules in yaml.SafeDumper.yaml_implicit_resolvers.items()}

    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump(data: Any) -> str:
    """Plain data as YAML that `parse` reads back as the same data. What YAML has no word for becomes its `repr`."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000)
    return text


def parse(source: Source, problems: list[Problem], offset: int = 0, *, aliases: bool = True) -> Node | None:
    """Return the tree of a YAML text; None, and a problem, where the text is no YAML.

    Where only the end of the text is YAML (the value of an override), `offset` says where that starts.
    """
    reader = _Reader(source, offset, problems, aliases=aliases)
    try:
        with without_collections():
            return reader.document()
    except _UnusableError:
        pass
    except yaml.MarkedYAMLError as error:
        problems.append(_syntax_problem(error, reader))
    except (yaml.reader.ReaderError, UnicodeEncodeError) as error:
        problems.append(_character_problem(source, offset, str(error)))
    return None


class _UnusableError(Exception):
    pass


class _Open:
    """A dict or list whose end was not reached yet."""

    def __init__(self, node: Node, first: int, anchor: str | None) -> None:
        self.node, self.first, self.anchor = node, first, anchor
        self.height = 1
        self.key: Any = None  # of a dict: the key whose value comes next
        self.key_origin: Origin | None = None
        self.written: dict[Any, Origin] = {}
        self.merged: dict[Any, Node] = {}


class _Anchored:
    """A tree that an alias may repeat, how many values it has, and how deep it is."""

    def __init__(self, node: Node, size: int, height: int) -> None:
        self.node, self.size, self.height = node, size, height


class _Reader:
    def __init__(self, source: Source, offset: int, problems: list[Problem], *, aliases: bool) -> None:
        self.source, self.offset, self.problems, self.aliases = source, offset, problems, aliases
        self.count = 0
        self.open: list[_Open] = []
        self.anchors: dict[str, _Anchored | None] = {}  # None: still open
        self.root: Node | None = None

    def origin(self, mark: Any) -> Origin:
        return Origin(self.source, mark.line + 1, mark.column + 1 + (self.offset if mark.line == 0 else 0))

    def problem(self, message: str, mark: Any, hint: str = "") -> None:
        self.problems.append(Problem(message, self.origin(mark), self.path(), hint))

    def path(self) -> str:
        steps = [len(at.node.value) if isinstance(at.node.value, list) else at.key for at in self.open]
        return shortened(SEPARATOR.join(str(step) for step in steps if step not in (None, _MERGE, _NO_KEY)), 100)

    def document(self) -> Node:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(self.source.text[self.offset :])
        documents = 0
        while True:
            event = loader.get_event()
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self.scalar(event)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self.start(event, {} if kind is yaml.MappingStartEvent else [])
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self.end(event)
            elif kind is yaml.AliasEvent:
                self.alias(event)
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    self.problem("a config is one YAML document; a second one begins here", event.start_mark)
                    raise _UnusableError
            elif kind is yaml.StreamEndEvent:
                return self.root or Node(None, Origin(self.source, 1, self.offset + 1))

    def scalar(self, event: yaml.ScalarEvent) -> None:
        self.counted(1, event)
        value = event.value
        plain = event.implicit[0] and event.tag is None
        if plain and value == "<<" and self.wants_key():
            self.key(_MERGE, event)
            return
        if plain:
            if not value or value[0] in _MAY_BE_SPECIAL:
                value = self.special(value, event)
        elif event.tag not in (None, "!", _TAG + "str"):
            value = self.tagged(value, event)
        node = Node(value, self.origin(event.start_mark))
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchored(node, 1, 0)
        self.take(node, event)

    def special(self, text: str, event: yaml.ScalarEvent) -> Any:
        match = _ANY_PATTERN.match(text)
        return text if match is None else self.construct(str(match.lastgroup), text, event)

    def construct(self, kind: str, text: str, event: yaml.ScalarEvent) -> Any:
        try:
            return _CONSTRUCT[kind](text)
        except ValueError:  # Python refuses integers of thousands of digits
            self.problem(f"`{shortened(text, 40)}` is too long for a number", event.start_mark)
            return None

    def tagged(self, text: str, event: yaml.ScalarEvent) -> Any:
        kind = str(event.tag).removeprefix(_TAG)
        if kind not in _PATTERNS:
            self.unknown_tag(event)
            return None
        if not re.fullmatch(_PATTERNS[kind], text):
            self.problem(f"`{shortened(text, 40)}` is no {kind}", event.start_mark)
            return None
        return self.construct(kind, text, event)

    def unknown_tag(self, event: Any) -> None:
        hint = "Objects are made with `_target_: package.Class`."
        tag = str(event.tag).replace(_TAG, "!!")
        self.problem(f"the tag `{shortened(tag, 60)}` is not supported", event.start_mark, hint)

    def start(self, event: Any, value: Any) -> None:
        self.counted(1, event)
        if event.tag not in (None, "!", _TAG + ("map" if isinstance(value, dict) else "seq")):
            self.unknown_tag(event)
        self.checked_depth(1, event)
        node = Node(value, self.origin(event.start_mark))
        self.open.append(_Open(node, self.count, event.anchor))
        if event.anchor is not None:
            self.anchors[event.anchor] = None

    def end(self, event: Any) -> None:
        closed = self.open.pop()
        if closed.merged:
            closed.node.value = {**closed.merged, **closed.node.value}
        if closed.anchor is not None:
            self.anchors[closed.anchor] = _Anchored(closed.node, self.count - closed.first + 1, closed.height)
        self.take(closed.node, event, closed.height)

    def alias(self, event: yaml.AliasEvent) -> None:
        if not self.aliases:
            hint = "A copy is written `%path::to::it`."
            self.problem("safe mode reads no aliases", event.start_mark, hint)
            raise _UnusableError
        if event.anchor not in self.anchors:
            name = shortened(str(event.anchor), 60)
            hint = f'Text that begins with `*` is quoted: "*{name}"'
            self.problem(f"there is no anchor `&{name}` before this alias", event.start_mark, hint)
            raise _UnusableError
        anchored = self.anchors[event.anchor]
        if anchored is None:
            self.problem("this alias is inside what it repeats", event.start_mark)
            raise _UnusableError
        # Before it is copied: aliases of aliases may stand for billions of values.
        self.counted(anchored.size, event)
        self.checked_depth(anchored.height, event)
        self.take(anchored.node.copy(), event, anchored.height)

    def counted(self, more: int, event: Any) -> None:
        self.count += more
        if self.count > MAX_NODES:
            self.problem(
                f"this text has more than {MAX_NODES:,} values, those of its aliases included", event.start_mark
            )
            raise _UnusableError

    def checked_depth(self, more: int, event: Any) -> None:
        if len(self.open) + more > MAX_DEPTH:
            self.problem(f"this is nested more than {MAX_DEPTH} deep", event.start_mark)
            raise _UnusableError

    def wants_key(self) -> bool:
        return bool(self.open) and isinstance(self.open[-1].node.value, dict) and self.open[-1].key is None

    def take(self, node: Node, event: Any, height: int = 0) -> None:
        """Put a finished value where it belongs: the root, an item, a key, or the value of a key."""
        if not self.open:
            self.root = node
            return
        holder = self.open[-1]
        holder.height = max(holder.height, height + 1)
        if isinstance(holder.node.value, list):
            holder.node.value.append(node)
        elif holder.key is None:
            self.key(node.value, event, node.origin)
        else:
            key, holder.key = holder.key, None
            if key is _MERGE:
                self.merge_key(holder, node)
            elif key is not _NO_KEY:
                node.key_origin = holder.key_origin
                holder.node.value[key] = node

    def key(self, key: Any, event: Any, origin: Origin | None = None) -> None:
        holder = self.open[-1]
        origin = holder.key_origin = origin or self.origin(event.start_mark)
        holder.key = key
        if key is _MERGE:
            return
        if not isinstance(key, (str, int, float)):
            holder.key = _NO_KEY
            hint = "Quote it, if it is meant as text." if not isinstance(key, (dict, list)) else ""
            self.problems.append(
                Problem(f"a key is text or a number; found {indefinite(key)}", origin, self.path(), hint)
            )
            return
        bare = key[1:] if isinstance(key, str) and key[:1] in ("=", "~") else str(key)
        # By its text, and by the key itself: 1 equals true and 1.0.
        first = holder.written.get(bare) or holder.written.get(key)
        if first is not None:
            hint = f"It was first written in line {first.line}, column {first.column}; keep one of them."
            self.problems.append(Problem("this key is written twice", origin, self.path(), hint))
            holder.key = _NO_KEY
        holder.written.setdefault(bare, origin)
        holder.written.setdefault(key, origin)

    def merge_key(self, holder: _Open, node: Node) -> None:
        """`<<: *a` or `<<: [*a, *b]`: keys that the dict has not itself; of several sources the first wins."""
        for source in node.value if isinstance(node.value, list) else [node]:
            if not isinstance(source.value, dict):
                message = f"`<<` takes a dict or a list of dicts; found {indefinite(source.plain())}"
                self.problems.append(Problem(message, source.origin, self.path()))
                continue
            for key, child in source.value.items():
                holder.merged.setdefault(key, child)


def _int(text: str) -> int:
    base = {"0b": 2, "0o": 8, "0x": 16}.get(text.lstrip("+-")[:2], 10)
    number = int(text, base)
    if is_too_long(number):  # one with `0x` can be read, and never be written
        raise ValueError
    return number


def is_too_long(number: int) -> bool:
    """Return whether Python refuses to write a number: one of more than 4,300 digits."""
    return abs(number) >= _TOO_LONG


_CONSTRUCT: dict[str, Any] = {
    "str": str,
    "int": _int,
    "float": lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
    "bool": lambda text: text.lower() == "true",
    "null": lambda text: None,
}


# An expression without quotes begins after one of these.
_EXPRESSION = re.compile(r"[\s{\[,](?=[$@%])")


def _syntax_problem(error: yaml.MarkedYAMLError, reader: _Reader) -> Problem:
    source, mark = reader.source, error.problem_mark or error.context_mark
    origin = reader.origin(mark) if mark is not None else Origin(source, 1, reader.offset + 1)
    lines = source.lines or [""]
    if origin.line > len(lines):  # the text ends where more was expected
        origin = Origin(source, len(lines), len(lines[-1]) + 1)
    if "nesting depth" in (error.problem or ""):  # libyaml 0.2.6 reads ahead, to a limit of its own
        return Problem(f"this is nested more than {MAX_DEPTH} deep", origin)
    reason = " ".join(text for text in (error.context, error.problem) if text)
    return Problem(
        f"this is not YAML: {reason}", origin, hint=_syntax_hint(error, lines[origin.line - 1], origin.column)
    )


def _syntax_hint(error: yaml.MarkedYAMLError, line: str, column: int) -> str:
    # The mark of this error is behind the `*`.
    if error.context == "while scanning an alias":
        column -= 1
    # YAML reserves these at the beginning of a text without quotes; a config has them there all the time.
    rest = line[column - 1 :]
    if rest[:1] in ("@", "%", "`", "*"):
        return _quoted(_in_brackets(rest) if "{" in line or "[" in line else rest)
    if error.context in ("while parsing a flow mapping", "while parsing a flow sequence"):
        for start in (match.end() for match in _EXPRESSION.finditer(line, 0, column)):
            value = _in_brackets(line[start:])
            if start < column <= start + len(value):
                return _quoted(value)
    if "\t" in line[: len(line) - len(line.lstrip())] or rest.startswith("\t"):
        return "YAML is indented with spaces, not tabs."
    if "mapping values are not allowed" in (error.problem or ""):
        return "Is the line before indented otherwise, or does a text with `: ` need quotes?"
    return ""


def _in_brackets(text: str) -> str:
    depth = 0
    for index, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        # In flow style, a comma or a bracket that the text did not open ends it.
        if depth < 0 or (letter == "," and depth == 0) or text[index : index + 2] == " #":
            return text[:index]
    return text


def quote_whole(origin: Origin, value: str) -> str:
    """Return the hint for a value that a comma ended, because it is not quoted; empty for others."""
    lines = origin.source.lines
    line = lines[origin.line - 1] if 0 < origin.line <= len(lines) else ""
    whole = _in_brackets(line[origin.column - 1 :])
    return _quoted(whole) if whole.startswith(f"{value},") else ""


def _quoted(value: str) -> str:
    value = value.strip()
    # The expression goes on in the next line.
    if sum(map(value.count, "([{")) > sum(map(value.count, ")]}")):
        return "Quote the whole expression: commas and brackets within `{}` and `[]` end a text without quotes."
    escaped = value.replace("'", "''")
    return f"Quote it: '{escaped}'" if '"' in value else f'Quote it: "{value}"'


def _character_problem(source: Source, offset: int, message: str) -> Problem:
    match = _UNREADABLE.search(source.text, offset)
    if match is None:
        return Problem(f"this is not YAML: {message}", Origin(source, 1, offset + 1))
    before = source.text[: match.start()]
    origin = Origin(source, before.count("\n") + 1, match.start() - before.rfind("\n"))
    return Problem(f"this is not text: it holds the character U+{ord(match[0]):04X}", origin)


def _represent_other(dumper: Any, value: Any) -> Any:
    # A dict from Python may hold more than YAML's own types: NumPy's numbers, paths, live objects.
    if isinstance(value, Mapping):
        return dumper.represent_dict(value)
    if isinstance(value, (list, tuple)):
        return dumper.represent_list(list(value))
    if isinstance(value, numbers.Integral):
        return dumper.represent_int(int(value))
    if isinstance(value, numbers.Real):
        return dumper.represent_float(float(value))
    if isinstance(value, PathLike):
        return dumper.represent_str(str(fspath(value)))
    return dumper.represent_str(str(value) if isinstance(value, str) else repr(value))


_FIRST_LETTERS = {
    "null": ["~", "n", "N", ""],
    "bool": list("tTfF"),
    "int": list("-+0123456789"),
    "float": list("-+.0123456789"),
}
# Those inserted last are asked first: an int before a float.
for _name, _pattern in reversed(_PATTERNS.items()):
    for _letter in _FIRST_LETTERS[_name]:
        _Dumper.yaml_implicit_resolvers.setdefault(_letter, []).insert(
            0, (_TAG + _name, re.compile(rf"(?:{_pattern})\Z"))
        )
_Dumper.add_multi_representer(object, _represent_other)
for _type in (tuple, set, bytes):
    _Dumper.add_representer(_type, _represent_other)
