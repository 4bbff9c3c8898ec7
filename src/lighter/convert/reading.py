"""Files of other tools as nodes, with the values that YAML 1.1 has for them: `yes` is true there, and `010` is 8."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from lighter.config.problems import Problems
from lighter.config.sources import Files
from lighter.config.tree import Node
from lighter.errors import ConfigError

_PLAIN = re.compile(r"(?:&\S+\s+)?([-+\w:.]+)\s*(?:$|#|,|\]|\})")
_OLD_WORDS = ("yes", "no", "on", "off")


def read_files(paths: Sequence[Path]) -> list[Node]:
    """Return the tree of each file; raise a `ConfigError` where one is no YAML."""
    problems = Problems()
    reader = Files(problems)
    trees = [reader.parsed(path, None) for path in paths]
    if problems:
        raise ConfigError(problems)
    return [_in_yaml_1_1(tree) for tree in trees if tree is not None]


def _in_yaml_1_1(tree: Node) -> Node:
    for _, node in tree.walk():
        if isinstance(node.value, (str, int)) and not isinstance(node.value, bool):
            node.value = _old_value(node)
    return tree


def _old_value(node: Node) -> Any:
    """Return what PyYAML reads where the source has no quotes: other booleans, octal and sexagesimal integers."""
    line, column = node.origin.line, node.origin.column
    lines = node.origin.source.lines
    match = _PLAIN.match(lines[line - 1], column - 1) if line <= len(lines) else None
    if match is None or not (match[1].lower() in _OLD_WORDS or match[1][0] in "+-0123456789"):
        return node.value
    old = _constructed(match[1])
    return old if type(old) in (bool, int) else node.value


@lru_cache(maxsize=1000)
def _constructed(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # a date that there is not
        return text


def overlaid(base: Node, over: Node) -> Node:
    """Return a tree over another as OmegaConf and jsonargparse merge: dicts by key, anything else is replaced."""
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return over if over.value != "???" else base
    merged = dict(base.value)
    for key, node in over.value.items():
        merged[key] = overlaid(merged[key], node) if key in merged else node
    return Node(merged, base.origin, over.key_origin if base.key_origin is None else base.key_origin)
