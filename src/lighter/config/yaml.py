"""YAML text to nodes and back, with values as people mean them.

Numbers, booleans and null follow YAML 1.2's core schema with Python's `1_000`: `1e-3` is a float; `on`, `off`,
`yes`, `no`, dates and `12:30` are strings. A key that is written twice is a problem; tags other than YAML's own
are problems; aliases and merge keys (`<<`) work, within a bound on what they expand to.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from lighter.config.problems import Problem
from lighter.config.tree import Node, Origin, Source

MAX_NODES = 1_000_000
MAX_DEPTH = 100

_TAG = "tag:yaml.org,2002:"
_IMPLICIT = {
    "bool": (re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    "int": (re.compile(r"[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)$"), "-+0123456789"),
    "float": (
        re.compile(
            r"""(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?
            |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
            |[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
            re.VERBOSE,
        ),
        "-+0123456789.",
    ),
    "null": (re.compile(r"(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    "merge": (re.compile(r"<<$"), "<"),
}


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's C parser with this module's idea of scalars."""

    yaml_implicit_resolvers: dict = {}


class _Dumper(yaml.SafeDumper):
    """Quotes every string that this loader or a YAML 1.1 loader would read as something else."""

    yaml_implicit_resolvers = {first: list(rules) for first, rules in yaml.SafeDumper.yaml_implicit_resolvers.items()}

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _name, (_pattern, _first) in _IMPLICIT.items():
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, list(_first))
    if _name != "merge":
        for _letter in _first:
            _Dumper.yaml_implicit_resolvers.setdefault(_letter, []).insert(0, (_TAG + _name, _pattern))
_Dumper.add_representer(tuple, lambda dumper, value: dumper.represent_list(list(value)))
_Dumper.add_multi_representer(object, lambda dumper, value: dumper.represent_str(repr(value)))


def parse(source: Source, problems: list[Problem], offset: int = 0) -> Node | None:
    """The tree of a YAML text; None, and a problem, where the text is no YAML.

    Args:
        source: the text. Where only its end is YAML (the value of an override), `offset` says where that starts.
        problems: takes what is wrong.
    """
    try:
        root = yaml.compose(source.text[offset:], Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        problems.append(_syntax_problem(error, source, offset))
        return None
    except (yaml.YAMLError, RecursionError) as error:
        what = "is nested too deeply" if isinstance(error, RecursionError) else f"is not YAML: {error}"
        problems.append(Problem(f"this text {what}", Origin(source)))
        return None
    if root is None:
        return Node(None, Origin(source, 1, offset + 1))
    return _Reader(source, offset, problems).read(root)


def dump(data: Any) -> str:
    """Plain data as YAML that `parse` reads back as the same data. What YAML has no word for becomes its `repr`."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Reader:
    """PyYAML's nodes to ours."""

    def __init__(self, source: Source, offset: int, problems: list[Problem]) -> None:
        self.source, self.offset, self.problems = source, offset, problems
        self.count = 0
        self.open: list[yaml.Node] = []

    def origin(self, node: yaml.Node) -> Origin:
        mark = node.start_mark
        return Origin(self.source, mark.line + 1, mark.column + 1 + (self.offset if mark.line == 0 else 0))

    def problem(self, message: str, node: yaml.Node, hint: str = "") -> None:
        self.problems.append(Problem(message, self.origin(node), hint=hint))

    def read(self, node: yaml.Node) -> Node:
        self.count += 1
        if self.count == MAX_NODES:
            self.problem(f"this text has more than {MAX_NODES:,} values once its aliases are expanded", node)
        if self.count >= MAX_NODES:
            return Node(None, self.origin(node))
        if isinstance(node, yaml.ScalarNode):
            return Node(self.scalar(node), self.origin(node))
        if node in self.open or len(self.open) > MAX_DEPTH:
            what = "an alias contains itself" if node in self.open else f"this is nested more than {MAX_DEPTH} deep"
            self.problem(what, node)
            return Node(None, self.origin(node))
        self.open.append(node)
        value: Any
        if isinstance(node, yaml.MappingNode):
            value = self.mapping(node)
        else:
            value = [self.read(item) for item in node.value]
        self.open.pop()
        return Node(value, self.origin(node))

    def mapping(self, node: yaml.MappingNode) -> dict[Any, Node]:
        written: dict[Any, Node] = {}
        merged: dict[Any, Node] = {}
        seen: dict[Any, Origin] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                for key, value in self.merge_key(value_node).items():
                    merged.setdefault(key, value)
                continue
            key = self.key(key_node)
            if key is None:
                continue
            bare = key.lstrip("=~") if isinstance(key, str) else key
            if bare in seen:
                hint = f"It was first written in line {seen[bare].line}; keep one of them."
                self.problem(f"the key `{bare}` is written twice", key_node, hint)
                continue
            seen[bare] = self.origin(key_node)
            written[key] = self.read(value_node)
            written[key].key_origin = seen[bare]
        return {**merged, **written}

    def key(self, node: yaml.Node) -> Hashable | None:
        if isinstance(node, yaml.ScalarNode):
            key: Hashable | None = self.scalar(node)
            if isinstance(key, (str, int, float)):
                return key
        self.problem("a key is text or a number", node, "Quote it, if it is meant as text.")
        return None

    def merge_key(self, node: yaml.Node) -> dict[Any, Node]:
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found: dict[Any, Node] = {}
        for part in parts:
            value = self.read(part).value
            if not isinstance(value, dict):
                self.problem("`<<` takes a mapping or a list of mappings", part)
                continue
            for key, child in value.items():
                found.setdefault(key, child)
        return found

    def scalar(self, node: yaml.ScalarNode) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if kind not in ("str", "int", "float", "bool", "null", "merge"):
            self.problem(
                f"the tag `{node.tag}` is not supported", node, "Objects are made with `_target_: package.Class`."
            )
            return None
        try:
            return _CONSTRUCT[kind](node.value)
        except ValueError:
            self.problem(f"`{node.value}` is no {kind}", node)
            return None


def _int(text: str) -> int:
    text = text.replace("_", "").lower()
    base = {"0b": 2, "0o": 8, "0x": 16}.get(text.lstrip("+-")[:2], 10)
    return int(text, base)


def _float(text: str) -> float:
    text = text.replace("_", "").lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


_CONSTRUCT: dict[str, Any] = {
    "str": str,
    "merge": str,
    "int": _int,
    "float": _float,
    "bool": lambda text: text.lower() == "true",
    "null": lambda text: None,
}


def _syntax_problem(error: yaml.MarkedYAMLError, source: Source, offset: int) -> Problem:
    mark = error.problem_mark or error.context_mark
    origin = Origin(source, 1, offset + 1)
    if mark is not None:
        origin = Origin(source, mark.line + 1, mark.column + 1 + (offset if mark.line == 0 else 0))
    lines = source.text.splitlines() or [""]
    if origin.line > len(lines):  # the text ends where more was expected
        origin = Origin(source, len(lines), len(lines[-1]) + 1)
    rest = lines[origin.line - 1][origin.column - 1 :]
    hint = ""
    if rest[:1] in ("@", "%", "`"):
        hint = f'Quote it: "{rest.strip()}"'
    elif "\t" in lines[origin.line - 1]:
        hint = "YAML is indented with spaces, not tabs."
    elif "mapping values are not allowed" in (error.problem or ""):
        hint = "Is the line before indented otherwise, or does a text with `: ` need quotes?"
    what = " ".join(part for part in (error.context, error.problem) if part)
    return Problem(f"this is not YAML: {what}", origin, hint=hint)
