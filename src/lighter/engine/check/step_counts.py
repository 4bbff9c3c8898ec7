"""Numbers of steps and batches that expressions ask the trainer for, which it knows only once it has the data."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from lighter.config.expression import REFERENCES, absolute_if_any, referred, syntax_tree
from lighter.config.tree import Node, join
from lighter.engine.check.context import Context

_STEPS = "estimated_stepping_batches"
_UNKNOWN = ("num_training_batches", "num_val_batches", "num_sanity_val_batches", "num_test_batches")
_EPOCH = (
    "The optimizer steps of an epoch are `@trainer.estimated_stepping_batches // @trainer::max_epochs`, the batches of"
    "\na loader `len(@data::train_dataloader)`."
)


def check_step_counts(context: Context) -> None:
    """See that `@trainer.estimated_stepping_batches` is in what is built last, and only if the fit has an end."""
    asking = {path: names for path, node in context.tree.walk() if (names := set(_asked(path, node)))}
    if not asking:
        return
    early = set(_built_early(context))
    limits = {key: argument for key in ("max_epochs", "max_steps") if (argument := context.argument("trainer", key))}
    values = {key: node.value for key, (_, node) in limits.items()}
    is_endless = values.get("max_epochs") == -1 and values.get("max_steps", -1) == -1
    for path, names in asking.items():
        for name in sorted(names.intersection(_UNKNOWN)):
            context.problem(f"the trainer does not know `{name}` before it runs", path, _EPOCH)
        if _STEPS in names and path in early:
            message = "the number of optimizer steps is not known yet when this is built"
            places = f"`{context.section}::optimizer` and `{context.section}::scheduler`"
            hint = f"Use it in {places}: these are built last, with the data there."
            if not context.deferred:
                hint = f"Use `self.trainer.{_STEPS}` in `configure_optimizers`."
            context.problem(message, path, hint)
        elif _STEPS in names and is_endless:
            hint = "Give `trainer::max_epochs` or `trainer::max_steps`."
            context.problem("the number of optimizer steps is infinite: the fit has no end", path, hint)


def _asked(path: str, node: Node) -> Iterator[str]:
    text = absolute_if_any(path, node.value) if isinstance(node.value, str) and node.value.startswith("$") else ""
    if "trainer" not in referred(text):
        return
    try:
        tree = syntax_tree(text[1:])
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # which the first tier reports
        return
    for each in ast.walk(tree):
        if isinstance(each, ast.Attribute) and ast.unparse(each.value) == f"{REFERENCES}['trainer']":
            yield each.attr


def _built_early(context: Context) -> Iterator[str]:
    # All that module and data are made of, but for what is built when the trainer asks for it.
    seen = {"trainer", *context.deferred}
    ahead = [context.followed(context.section), context.followed("data")]
    while ahead:
        path = ahead.pop()
        node = context.tree.find(path)
        if path in seen or node is None:
            continue
        seen.add(path)
        yield path
        if isinstance(node.value, str) and node.value[:1] in ("@", "$"):
            ahead += referred(absolute_if_any(path, node.value))
        ahead += [join(path, step) for step in node.steps()]
