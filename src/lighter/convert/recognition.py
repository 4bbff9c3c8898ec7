"""Recognise the tool that a config was written for, from what only this tool has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lighter.config.check.other_tools import is_of_cli
from lighter.config.tree import Node
from lighter.convert import KINDS

_OF_HYDRA = ("_partial_", "_recursive_", "_convert_")
_HASHES = re.compile(r"[@%](?:[\w./-]+\.yaml)?#*\w*#\w+")
_COLONS = re.compile(r"[@%](?:::)*\w+::\w+|[@%](?:::)+\w+")


def kinds_of(trees: Sequence[Node]) -> list[str]:
    """Return the kinds that a config may be of: one if it is clear, none if nothing says it."""
    found = {kind for tree in trees for kind in _signs(tree)}
    if not found and any(_has_interpolation(node) for tree in trees for _, node in tree.walk()):
        found.add("hydra")  # LightningCLI has them too, with other signs
    if "lighter-0.0" in found:
        found.discard("lighter-0.1")  # which has the same references
    return [kind for kind in KINDS if kind in found]


def _signs(tree: Node) -> Iterator[str]:
    top = tree.value
    if "seed_everything" in top:
        yield "lightning-cli"
    if isinstance(getattr(top.get("defaults"), "value", None), list) or "hydra" in top or "datamodule" in top:
        yield "hydra"
    if "# @package" in tree.origin.source.text:
        yield "hydra"
    if "system" in top or "_requires_" in top or any("#" in str(key) for key in top):
        yield "lighter-0.0"
    for _, node in tree.walk():
        yield from _signs_of_value(node.value)


def _signs_of_value(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if is_of_cli(value):
            yield "lightning-cli"
        if any(key in value for key in _OF_HYDRA):
            yield "hydra"
        target = getattr(value.get("_target_"), "value", None)
        if isinstance(target, str) and target.startswith("lighter."):
            yield "lighter-0.0" if target.endswith("System") else "lighter-0.1"
        if "_mode_" in value or "_imports_" in value:
            yield "lighter-0.1"
    elif isinstance(value, str) and value[:1] in "@%$" and not value.startswith("${"):
        if _HASHES.search(value):
            yield "lighter-0.0"
        elif _COLONS.search(value):
            yield "lighter-0.1"


def _has_interpolation(node: Node) -> bool:
    return isinstance(node.value, str) and "${" in node.value
