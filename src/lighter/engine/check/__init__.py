"""The second tier of the check, before anything is built: the targets of a config are imported, and none is called.

What a stage needs is found as the engine will find it: from the module, the data and the trainer, without what is
pruned, through every reference. Without a stage, everything in the config is looked at.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lighter.config import Config
from lighter.config.annotations import UNKNOWN
from lighter.config.check.calls import NOTHING, Targets, check_call, plain
from lighter.config.expression import referred
from lighter.config.problems import Problem, indefinite, nearest
from lighter.config.prune import unneeded
from lighter.config.references import copied_paths
from lighter.config.signatures import Call, signature_of
from lighter.config.tree import SEPARATOR, Node, disabled, is_reference, is_target, join, prefixes
from lighter.engine.build import DECIDES_NOT, is_a, wrong_kind
from lighter.engine.check.constructors import check_constructors
from lighter.engine.check.found import Found, absolute
from lighter.engine.check.metrics import check_metrics
from lighter.engine.check.missing import check_checkpoints, check_missing
from lighter.engine.check.monitors import check_monitors
from lighter.engine.check.own import check_own
from lighter.engine.check.settings import check_settings
from lighter.engine.check.sharing import check_sharing
from lighter.engine.check.step_counts import check_step_counts
from lighter.engine.check.trainer import check_trainer
from lighter.engine.check.watchers import check_watchers
from lighter.lightning_alias import refusal
from lighter.runs.loggers import folder_argument

_BUILT_WITH = {"optimizer": "params", "scheduler": "optimizer"}  # what the module adds when it builds them


def check(config: Config, stage: str, *, everything: bool = False, given: Collection[str] = ()) -> Found:
    """What is wrong with a config once its targets are imported.

    Args:
        config: a config; what is wrong with its shape is left aside.
        stage: what is to run.
        everything: look at the whole config, not only at what the stage needs.
        given: the arguments of the trainer's method that the caller gives, over those of the config.
    """
    found = Found(config.expanded, config.module_section, stage, asks=config.safe is None)
    targets = Targets(found.problems, found.failures, config.safe)
    if config.safe is None:  # safe mode imports nothing for `_imports_`
        _import_names(found, targets)
    walk = _Walk(found, targets)
    walk.section(found.section)
    walk.section("data")
    walk.trainer()
    walk.visit(f"args::{stage}")
    if everything:
        needed, copied = set(found.targets), copied_paths(config.merged)
        walk.visit("")
        # what is only copied may be completed where its copies stand, and they are checked there
        templates = [path for path in found.targets if path not in needed and not copied.isdisjoint(prefixes(path))]
        found.later.update(templates)
    unknown: set[str] = set()
    for path in sorted(found.targets, key=lambda path: path.count(SEPARATOR)):  # an argument after what has it
        filled = [found.filled[path]] if path in found.filled else []
        later = path in found.later or path in unknown
        target = found.targets[path]
        unknown |= {*check_call(path, found.node(path), target, found.problems, is_partial=later, filled=filled)}
    _check_kinds(found)
    check_missing(found, given)
    check_checkpoints(found, given)
    _check_stage_arguments(found)
    check_own(found)
    check_monitors(found)
    check_sharing(found)
    check_metrics(found)
    check_watchers(found)
    check_trainer(found)
    check_step_counts(found)
    if found.asks:
        check_constructors(found)
    check_settings(found)
    found.problems = _once(found.problems)
    return found


class _Walk:
    """Goes to every definition that is going to be used."""

    def __init__(self, found: Found, targets: Targets) -> None:
        self.found, self.targets = found, targets
        self.seen: set[str] = set()

    def section(self, name: str) -> None:
        """The module or the data: without what the stage does not need, and with what is built later."""
        path = self.found.followed(name)
        node = self.found.tree.find(path)
        if node is None or not is_target(node.value):
            self.visit(path)
            return
        target = self.definition(path, node)
        needed_for = getattr(target, "needed_for", None)
        without = unneeded(needed_for, self.found.stage) if isinstance(needed_for, Mapping) else []
        for key in getattr(target, "deferred", ()) if target is not None else _BUILT_WITH:
            if key in node.value:
                self.deferred(join(path, key), _BUILT_WITH.get(key, ""))
        self.seen.add(path)
        for child in self.children(path, node):
            self.visit(child, {join(path, key) for key in without})

    def deferred(self, path: str, filled: str) -> None:
        """The definitions of optimizers or schedulers, wherever they stand: the engine adds one argument to each."""
        path = self.found.followed(path)
        node = self.found.tree.find(path)
        if node is None:
            return
        if is_target(node.value):
            if "_args_" not in node.value:
                self.found.filled[path] = filled
        elif isinstance(node.value, (dict, list)):
            for step in node.steps():
                self.deferred(join(path, step), filled)

    def trainer(self) -> None:
        """The trainer, whose target may be left out."""
        found, path = self.found, self.found.followed("trainer")
        node = found.tree.find(path)
        if node is not None and isinstance(node.value, dict) and not is_target(node.value):
            found.targets[path] = self.targets.named("lighter.Trainer", node, path)
        self.visit(path)
        self.loggers(path)

    def loggers(self, trainer: str) -> None:
        """Give loggers without `save_dir` the run's folder; items of a list may be short names."""
        found, path = self.found, self.found.followed(join(trainer, "logger"))
        node = found.tree.find(path)
        if node is None:
            return
        several = [join(path, step) for step in node.steps()] if isinstance(node.value, list) else [path]
        if isinstance(node.value, list) and any(isinstance(item.value, (str, int, float)) for item in node.value):
            found.filled[found.followed(trainer)] = "logger"  # `check_trainer` tells which of them are none
        for here in map(found.followed, several):
            if here in found.targets and folder_argument(found.targets[here], found.node(here).value):
                found.filled[here] = "save_dir"

    def visit(self, path: str, without: Collection[str] = ()) -> None:
        """A value and all that it needs, depth first and without recursion: chains may be long."""
        ahead = [path]
        while ahead:
            here = ahead.pop()
            node = self.found.tree.find(here)
            if here in self.seen or here in without or node is None:
                continue
            self.seen.add(here)
            ahead += reversed(self.next(here, node))

    def next(self, path: str, node: Node) -> list[str]:
        """Yield the references and the members of a value."""
        if is_target(node.value):
            if disabled(node.value):
                return []
            self.definition(path, node)
        elif isinstance(node.value, str) and node.value[:1] in ("@", "$"):
            return referred(absolute(path, node.value))
        return self.children(path, node)

    def children(self, path: str, node: Node) -> list[str]:
        return [join(path, step) for step in node.steps() if path or step not in ("_imports_", "args")]

    def definition(self, path: str, node: Node) -> Any:
        if path in self.found.targets:
            return self.found.targets[path]
        target = self.targets.of(node, path)
        if target is NOTHING:
            return None
        self.found.targets[path] = target
        for key in getattr(target, "functions", ()) if isinstance(target, type) else ():
            if key in node.value:
                self.functions(join(path, key))
        return target

    def functions(self, path: str) -> None:
        """The definitions in an argument that takes functions: unless they are classes, they are not called."""
        node = self.found.tree.find(path)
        if node is None:
            return
        if is_target(node.value) and not isinstance(self.targets.of(node, path), type):
            self.found.later.add(path)
        elif isinstance(node.value, list):
            for step in node.steps():
                self.functions(join(path, step))


def _import_names(found: Found, targets: Targets) -> None:
    node = found.tree.child("_imports_")
    for name, child in (node.value if node is not None and isinstance(node.value, dict) else {}).items():
        if isinstance(child.value, str) and not is_reference(child.value):
            targets.named(child.value, child, join("_imports_", name), to_call=False)


def _check_kinds(found: Found) -> None:
    """The module is a LightningModule, and so on, and nothing is of a second copy of Lightning."""
    for path, base in ((found.section, "LightningModule"), ("data", "LightningDataModule"), ("trainer", "Trainer")):
        kind = found.kind(path)
        if kind is None or not is_a(kind):
            continue
        wrong = wrong_kind(kind, base, path)
        if wrong is not None:
            found.problem(wrong[0], path, wrong[1])
    for path, target in found.targets.items():
        second_copy = refusal(target) if isinstance(target, type) else None
        if second_copy is not None:
            found.problem(second_copy[0], path, second_copy[1])


def _check_stage_arguments(found: Found) -> None:
    """`args::fit` has arguments of `trainer.fit`."""
    method = getattr(found.kind("trainer"), found.stage, None)
    path = found.followed(f"args::{found.stage}")
    node = found.tree.find(path)
    if method is None or node is None or node.value is None or is_reference(node.value):
        return
    if not isinstance(node.value, dict) or is_target(node.value):
        if not is_target(node.value) and path == f"args::{found.stage}":  # the first tier says so
            return
        what = "an object" if is_target(node.value) else indefinite(node.value)
        found.problem(f"the arguments of a stage are a dict; found {what}", f"args::{found.stage}")
        return
    signature = signature_of(method)
    allowed = [name for name in inspect.signature(method).parameters if name not in ("self", "model", "datamodule")]
    has_data = found.section == "model" and getattr(found.tree.child("data"), "value", None) is not None
    for key, child in node.value.items():
        message, hint = _wrong_argument(found.stage, str(key), plain(child), allowed, has_data=has_data)
        if message:
            found.problem(message, join(path, key), hint, at_key=str(key) not in allowed)
        for misfit in signature.misfits(Call(None, {str(key): plain(child)})) if signature and not message else ():
            found.problem(misfit.message, join(path, key), misfit.hint)


def _wrong_argument(stage: str, key: str, value: Any, allowed: list[str], *, has_data: bool) -> tuple[str, str]:
    """Message and hint, if a config cannot give this argument to a method of the trainer's."""
    if key not in allowed:
        return f"`trainer.{stage}` has no argument `{key}`", nearest(key, allowed)
    if key == "weights_only" and value not in (True, None, UNKNOWN):
        return DECIDES_NOT, ""
    if not key.endswith("dataloaders") or value is None:
        return "", ""
    if has_data:
        return "the dataloaders are those of `data`: the trainer takes no others beside it", "Leave one of them out."
    if isinstance(value, (bool, int, float, str)):
        return f"a dataloader is an object; found {indefinite(value)}", ""
    return "", ""


def _once(problems: Sequence[Problem]) -> list[Problem]:
    """Each problem of a text once, though copies of it stand in many places."""
    kept: dict[Any, Problem] = {}
    for problem in problems:
        placed = problem.origin is not None and problem.origin.source.text
        kept.setdefault((problem.message, problem.origin if placed else problem.path), problem)
    return list(kept.values())
