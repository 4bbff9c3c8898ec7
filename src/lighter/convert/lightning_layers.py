"""Files of a LightningCLI config as one tree: laid over each other as jsonargparse does, without their stage."""

from __future__ import annotations

from collections.abc import Sequence

from lighter.config.tree import Node
from lighter.convert.gaps import Gaps
from lighter.convert.interpolation import Path
from lighter.convert.nodes import below
from lighter.convert.reading import overlaid

STAGES = ("fit", "validate", "test", "predict")
ARGUMENTS = ("ckpt_path", "verbose", "return_predictions")
"""Arguments of a stage, at the top of a config or in the section of the stage."""


Stages = dict[str, dict[str, Node]]
"""The arguments that are in the sections of the stages."""


def merged(trees: Sequence[Node], gaps: Gaps) -> tuple[Node, Stages]:
    """Return the files as one tree without stages, and the arguments of these."""
    return _without_stage(_merged(trees, gaps), gaps)


def _merged(trees: Sequence[Node], gaps: Gaps) -> Node:
    merged = trees[0]
    for tree in trees[1:]:
        merged = overlaid(_without_old_arguments(merged, tree, (), gaps), _appended(merged, tree))
    return merged


def _without_old_arguments(base: Node, over: Node, at: Path, gaps: Gaps) -> Node:
    """Return the base without the arguments of classes that the next file replaces."""
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return base
    old, new = (node.value.get("class_path") for node in (base, over))
    kept = dict(base.value)
    if old is not None and new is not None and old.value != new.value and "init_args" in kept:
        dropped = kept.pop("init_args")
        found = f"the class changes to {new.value}, and the arguments of {old.value} are left out: {_names(dropped)}"
        gaps.open(new, ".".join(at), found, "Write those that the new class takes: LightningCLI keeps them.")
    for key in [key for key in kept if key in over.value]:
        kept[key] = _without_old_arguments(kept[key], over.value[key], (*at, str(key)), gaps)
    return below(base, kept)


def _names(node: Node) -> str:
    return ", ".join(map(str, node.value)) if isinstance(node.value, dict) else str(node.plain())


def _appended(base: Node, over: Node) -> Node:
    """Return a tree with whole lists in place of those that extend one of the base (`callbacks+:`)."""
    if not isinstance(over.value, dict):
        return over
    result = {}
    for key, node in over.value.items():
        name = key.removesuffix("+") if isinstance(key, str) else key
        listed = base.value.get(name) if isinstance(base.value, dict) else None
        if name != key and listed is not None and isinstance(listed.value, list) and isinstance(node.value, list):
            node = below(node, [*listed.value, *node.value])
        result[name] = _appended(listed, node) if listed is not None else node
    return below(over, result)


def _without_stage(source: Node, gaps: Gaps) -> tuple[Node, Stages]:
    """Return a config of `main.py --config FILE fit`, whose sections are within one of the stage, without that."""
    stages = [stage for stage in STAGES if isinstance(source.value.get(stage, Node(0, source.origin)).value, dict)]
    if not stages:
        return source, {}
    first = stages[0]
    merged = dict(source.value[first].value)
    args = {first: {key: merged.pop(key) for key in ARGUMENTS if key in merged}}
    for stage in stages[1:]:
        args[stage] = {key: node for key, node in source.value[stage].value.items() if key in ARGUMENTS}
        for key, node in source.value[stage].value.items():
            if key not in args[stage] and (key not in merged or merged[key].plain() != node.plain()):
                found = f"it differs from the section of `{first}`, which is taken for all stages"
                gaps.open(node, f"{stage}.{key}", found, "Write it into a file of its own, laid over this one.")
    rest = {key: node for key, node in source.value.items() if key not in stages}
    return Node({**rest, **merged}, source.origin), args
