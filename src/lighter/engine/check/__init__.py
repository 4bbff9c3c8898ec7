"""The second tier of the check, before anything is built: the targets of a config are imported, and none is called.

What a stage needs is found as the engine will find it (`walk.py`). Without a stage, the whole config is checked.
"""

from __future__ import annotations

from collections.abc import Collection

from pytorch_lightning import LightningDataModule, LightningModule, Trainer

from lighter.config import Config
from lighter.config.check.calls import Targets, check_call
from lighter.config.problems import Problem
from lighter.config.tree import SEPARATOR
from lighter.engine.build import is_a, wrong_kind
from lighter.engine.check.constructors import check_constructors
from lighter.engine.check.context import Context
from lighter.engine.check.launch import check_launch
from lighter.engine.check.metrics import check_metrics
from lighter.engine.check.missing import check_checkpoints, check_missing
from lighter.engine.check.module_arguments import check_module_arguments
from lighter.engine.check.monitors import check_monitors
from lighter.engine.check.parallel import check_parallel
from lighter.engine.check.report import check_report
from lighter.engine.check.settings import check_settings
from lighter.engine.check.sharing import check_sharing
from lighter.engine.check.split import check_split, without_split
from lighter.engine.check.step_counts import check_step_counts
from lighter.engine.check.trainer import check_trainer
from lighter.engine.check.trainer_call import check_stage_arguments
from lighter.engine.check.walk import find_other_targets, find_targets, import_names
from lighter.engine.check.watchers import check_watchers
from lighter.lightning_alias import refusal

_BASES = {"data": LightningDataModule, "trainer": Trainer}


def check(config: Config, stage: str, *, everything: bool = False, arguments: Collection[str] = ()) -> Context:
    """Import the targets of a config, whose shape may have problems, and gather all others.

    Check the whole config, with `everything`, and not only what the stage needs. `arguments` are those of the trainer's
    method that the caller gives, over those of the config.
    """
    context = Context(config.expanded, config.module_section, stage, constructs=config.safe is None)
    targets = Targets(context.problems, context.failures, config.safe)
    if config.safe is None:  # safe mode imports nothing for `_imports_`
        import_names(context, targets)
    find_targets(context, targets)
    if everything:
        find_other_targets(context, targets, config.merged)
    check_split(context)
    _check_calls(context)
    _check_classes(context)
    check_missing(context, arguments)
    check_checkpoints(context, arguments)
    check_stage_arguments(context)
    check_module_arguments(context)
    check_monitors(context)
    check_sharing(context)
    check_metrics(context)
    check_watchers(context)
    check_trainer(context)
    check_step_counts(context)
    check_report(context)
    check_launch(context)
    check_parallel(context)
    # After the checks above: of what they complain of, no constructor is asked.
    if context.constructs:
        check_constructors(context)
    check_settings(context)
    # Each problem of a text once, though copies of it stand in many places.
    kept: dict[object, Problem] = {}
    for problem in context.problems:
        has_text = problem.origin is not None and problem.origin.source.text
        kept.setdefault((problem.message, problem.origin if has_text else problem.path), problem)
    context.problems = list(kept.values())
    return context


def check_calls_only(config: Config) -> Context:
    """Import the targets of a part of a config, and check what it says of each call; other parts may say the rest."""
    context = Context(config.expanded, config.module_section, "fit", constructs=False)
    targets = Targets(context.problems, context.failures, config.safe)
    find_targets(context, targets)
    find_other_targets(context, targets, config.merged)
    context.partial.update(context.targets)
    _check_calls(context)
    return context


def _check_calls(context: Context) -> None:
    # The definitions of arguments that do not exist may be anything.
    unknown: set[str] = set()
    # An argument comes after the definition that it is in.
    for path in sorted(context.targets, key=lambda path: path.count(SEPARATOR)):
        filled = [context.filled[path]] if path in context.filled else []
        is_partial = path in context.partial or path in unknown
        node, target = context.node(path), context.targets[path]
        node, in_place_of_split = without_split(context, path, node)
        filled += in_place_of_split
        unknown.update(check_call(path, node, target, context.problems, is_partial=is_partial, filled=filled))


def _check_classes(context: Context) -> None:
    for path, base in {context.section: LightningModule, **_BASES}.items():
        kind = context.kind(path)
        wrong = wrong_kind(kind, base, path) if kind is not None and is_a(kind) else None
        if wrong is not None:
            context.problem(wrong[0], path, wrong[1])
    # Of a second copy of Lightning, no class is an instance of ours.
    for path, target in context.targets.items():
        second_copy = refusal(target) if isinstance(target, type) else None
        if second_copy is not None:
            context.problem(second_copy[0], path, second_copy[1])
