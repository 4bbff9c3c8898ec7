"""Folds of an experiment: `data::split` without the number of the fold, which each member has for itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lighter.config.problems import Problem
from lighter.config.tree import Node
from lighter.splits.settings import PLAIN, parse

SECTION = "experiment::folds"


def parse_folds(node: Node | None, problems: list[Problem], path: str = SECTION) -> Mapping[str, Any] | None:
    """Return the folds that are asked for as plain data, and add what is wrong; None if there are none."""
    if node is None or node.value is None:
        return None
    settings = parse(_with_kind(node), path, problems, of_experiment=True)
    return _with_kind(node).plain() if settings is not None else None


def n_folds(folds: Mapping[str, Any]) -> int:
    """Return the number of folds, those of all repeats together; `folds` are those of `parse_folds`."""
    splitter = folds.get("splitter") or {}
    count: int = folds.get("n", splitter.get("n_splits", 5) * splitter.get("n_repeats", 1))
    return count * int(folds.get("repeats", 1))


def fold_override(folds: Mapping[str, Any], fold: int, merged: Node | None = None) -> str:
    """Return the override of a member: `data::split={"kind": "stratified", "n": 5, "fold": 2}`.

    `merged` is the config that it changes: a split that is there is replaced.
    """
    replaces = merged is not None and merged.find("data::split") is not None
    return f"{'=' if replaces else ''}data::split={json.dumps({**folds, 'fold': fold}, ensure_ascii=False)}"


def _with_kind(node: Node) -> Node:
    """Return folds with a kind: `--folds 5` says none."""
    if not isinstance(node.value, dict) or {"kind", "splitter"} & set(node.value):
        return node
    return Node({"kind": Node(PLAIN, node.origin), **node.value}, node.origin, node.key_origin)
