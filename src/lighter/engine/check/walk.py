"""Find the definitions that a stage uses, as the engine will: through every reference, without what is pruned."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from lighter.config.check.calls import NOTHING, Targets
from lighter.config.expression import absolute_if_any, referred
from lighter.config.references import copied_paths
from lighter.config.tree import Node, disabled, is_reference, is_target, join, prefixes
from lighter.engine.check.context import Context
from lighter.engine.plan import SectionPlan, StagePlan
from lighter.runs.loggers import folder_argument

# The argument that the module adds to each.
_BUILT_WITH = {"optimizer": "params", "scheduler": "optimizer"}
# A definition in the space of an experiment has ranges for arguments: it is checked with values, where these stand.
_CHECKED_ELSEWHERE = ("_imports_", "args", "experiment")


def find_targets(context: Context, targets: Targets) -> None:
    """Import the target of each definition that the stage needs."""
    walk = _Walk(context, targets)
    plan = context.plan = StagePlan.of(context.stage, context.section, context.followed, walk.definition_at)
    walk.section(plan.module)
    walk.section(plan.data)
    walk.trainer(plan.trainer)
    walk.visit(f"args::{context.stage}")


def find_other_targets(context: Context, targets: Targets, merged: Node) -> None:
    """Import the targets of all other definitions too."""
    needed, copied = set(context.targets), copied_paths(merged)
    _Walk(context, targets).visit("")
    # What is only copied may be completed where its copies stand, and they are checked there.
    others = [path for path in context.targets if path not in needed]
    context.partial.update(path for path in others if not copied.isdisjoint(prefixes(path)))


def import_names(context: Context, targets: Targets) -> None:
    for name, child in context.tree.section("_imports_").items():
        if isinstance(child.value, str) and not is_reference(child.value):
            targets.named(child.value, child, join("_imports_", name), to_call=False)


class _Walk:
    def __init__(self, context: Context, targets: Targets) -> None:
        self.context, self.targets = context, targets
        self.seen: set[str] = set()

    def section(self, plan: SectionPlan) -> None:
        # The module or the data: without what the stage does not need.
        node = self.context.tree.find(plan.path)
        if node is None or not is_target(node.value):
            self.visit(plan.path)
            return
        for key in plan.deferred if plan.target is not None else _BUILT_WITH:
            if key in node.value:
                self.fill(join(plan.path, key), _BUILT_WITH.get(key, ""))
        self.context.deferred += [join(plan.path, key) for key in plan.deferred]
        self.seen.add(plan.path)
        for child in self.children(plan.path, node):
            self.visit(child, {join(plan.path, key) for key in plan.unneeded})

    def fill(self, path: str, argument: str) -> None:
        """Note that the engine adds an argument to definitions of optimizers or schedulers, wherever they stand."""
        path = self.context.followed(path)
        node = self.context.tree.find(path)
        if node is None:
            return
        if is_target(node.value):
            if "_args_" not in node.value:
                self.context.filled[path] = argument
        elif isinstance(node.value, (dict, list)):
            for step in node.steps():
                self.fill(join(path, step), argument)

    def trainer(self, path: str) -> None:
        """Visit the trainer, whose target may be left out; loggers without `save_dir` get the run's folder."""
        context = self.context
        node = context.tree.find(path)
        if node is not None and isinstance(node.value, dict) and not is_target(node.value):
            context.targets[path] = self.targets.named("lighter.Trainer", node, path)
        self.visit(path)
        loggers = context.followed(join(path, "logger"))
        node = context.tree.find(loggers)
        if node is None:
            return
        if isinstance(node.value, list) and any(isinstance(item.value, (str, int, float)) for item in node.value):
            # `check_trainer` says which of these values are no loggers.
            context.filled[path] = "logger"
        for logger in map(context.followed, context.items(loggers)):
            if logger in context.targets and folder_argument(context.targets[logger], context.node(logger).value):
                context.filled[logger] = "save_dir"

    def visit(self, path: str, without: Collection[str] = ()) -> None:
        # Depth first and without recursion: chains may be long.
        ahead = [path]
        while ahead:
            here = ahead.pop()
            node = self.context.tree.find(here)
            if here in self.seen or here in without or node is None:
                continue
            self.seen.add(here)
            ahead += reversed(self.next(here, node))

    def next(self, path: str, node: Node) -> list[str]:
        if is_target(node.value):
            if disabled(node.value):
                return []
            self.definition(path, node)
        elif isinstance(node.value, str) and node.value[:1] in ("@", "$"):
            return referred(absolute_if_any(path, node.value))
        return self.children(path, node)

    def children(self, path: str, node: Node) -> list[str]:
        return [join(path, step) for step in node.steps() if path or step not in _CHECKED_ELSEWHERE]

    def definition_at(self, path: str) -> Any:
        """Import the target of the definition at a path; None if there is none."""
        node = self.context.tree.find(path)
        return self.definition(path, node) if node is not None and is_target(node.value) else None

    def definition(self, path: str, node: Node) -> Any:
        if path in self.context.targets:
            return self.context.targets[path]
        target = self.targets.of(node, path)
        if target is NOTHING:
            return None
        self.context.targets[path] = target
        for key in getattr(target, "functions", ()) if isinstance(target, type) else ():
            if key in node.value:
                self.functions(join(path, key))
        return target

    def functions(self, path: str) -> None:
        """Note the definitions in an argument that takes functions: unless they are classes, they are not called."""
        node = self.context.tree.find(path)
        if node is None:
            return
        if is_target(node.value) and not isinstance(self.targets.of(node, path), type):
            self.context.partial.add(path)
        elif isinstance(node.value, list):
            for step in node.steps():
                self.functions(join(path, step))
