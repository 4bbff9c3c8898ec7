"""Configs of Lighter 0.1 to ours: they run nearly unchanged; keys that it ignored are errors now."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lighter.config.check.sections import SECTIONS
from lighter.config.merge import merge
from lighter.config.problems import Problems
from lighter.config.tree import Node, is_target
from lighter.convert.gaps import Gaps
from lighter.convert.nodes import added, dict_of
from lighter.convert.trainer import convert_trainer
from lighter.errors import ConfigError

_FIRST = ("project", "run", "seed", "_imports_", "vars")


def convert(trees: Sequence[Node], gaps: Gaps) -> Node:
    """Return the converted tree of a config's files, which merge as ours do."""
    problems = Problems()
    root = added({})
    for tree in trees:
        root = merge(root, tree, problems)
    if problems:
        raise ConfigError(problems)
    return with_known_sections(root, gaps)


def with_known_sections(root: Node, gaps: Gaps) -> Node:
    """Move other top-level keys into `vars`, and references to them; convert what the trainer refuses."""
    others = [key for key in root.value if key not in SECTIONS and key != "_base_"]
    dict_of(root.value.get("vars"), "vars")
    held = root.value.setdefault("vars", added({}))
    held.value = held.value or {}
    for key in others:
        node = root.value.pop(key)
        held.value[key] = node
        gaps.note(node, str(key), "this section is unknown now", f"It is `vars::{key}`, also where it is referred to.")
    if others:
        renamed(root, {str(key): f"vars::{key}" for key in others})
    args = root.value.setdefault("args", added({}))
    trainer = root.value.get("trainer")
    if trainer is not None and isinstance(trainer.value, dict):
        convert_trainer(trainer, args, gaps)
    for key in [key for key in ("vars", "args") if not root.value[key].value]:
        del root.value[key]
    _note_parameter_groups(root, gaps)
    root.value = {key: root.value[key] for key in sorted(root.value, key=_rank)}
    return root


def _rank(key: object) -> int:
    return _FIRST.index(key) if key in _FIRST else len(_FIRST)


def renamed(root: Node, names: dict[str, str]) -> None:
    """Change references to some paths, and to what is in them."""
    pattern = re.compile(rf"([@%])({'|'.join(map(re.escape, names))})(?=::|[^\w:]|$)")
    for _, node in root.walk():
        if isinstance(node.value, str) and node.value[:1] in ("@", "%", "$"):
            node.value = pattern.sub(lambda match: match[1] + names[match[2]], node.value)


def _note_parameter_groups(root: Node, gaps: Gaps) -> None:
    """Note groups of parameters: those in no group did not train, silently, and are an error now."""
    for section in ("model", "system"):
        optimizer = root.section(section).get("optimizer")
        if optimizer is None or not is_target(optimizer.value):
            continue
        groups = optimizer.value.get("params")
        if groups is not None and isinstance(groups.value, list):
            found = "parameters in no group are an error now; they did not train before"
            write = "Add `- {params: null}` for the rest, or freeze it: `finetune_cfg`."
            gaps.note(groups, f"{section}::optimizer::params", found, write)
