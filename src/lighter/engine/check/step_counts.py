"""Numbers of steps and batches that expressions ask the trainer for, which it knows only once it has the data."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from lighter.config.expression import REFERENCES, referred, syntax_tree
from lighter.config.tree import Node, join
from lighter.engine.check.found import Found, absolute

_STEPS = "estimated_stepping_batches"
_UNKNOWN = ("num_training_batches", "num_val_batches", "num_sanity_val_batches", "num_test_batches")
_EPOCH = (
    "The optimizer steps of an epoch are `@trainer.estimated_stepping_batches // @trainer::max_epochs`, the batches of"
    "\na loader `len(@data::train_dataloader)`."
)


def check_step_counts(found: Found) -> None:
    """`@trainer.estimated_stepping_batches` is for what is built last, and only if the fit has an end."""
    asking = {path: names for path, node in found.tree.walk() if (names := set(_asked(path, node)))}
    if not asking:
        return
    early = set(_built_early(found))
    for path, names in asking.items():
        for name in sorted(names.intersection(_UNKNOWN)):
            found.problem(f"the trainer does not know `{name}` before it runs", path, _EPOCH)
        if _STEPS in names and path in early:
            found.problem("the number of optimizer steps is not known yet when this is built", path, _where(found))
        elif _STEPS in names and _is_endless(found):
            hint = "Give `trainer::max_epochs` or `trainer::max_steps`."
            found.problem("the number of optimizer steps is infinite: the fit has no end", path, hint)


def _where(found: Found) -> str:
    section = found.section
    if _deferred(found):
        return (
            f"Use it in `{section}::optimizer` and `{section}::scheduler`: these are built last, with the data there."
        )
    return f"Use `self.trainer.{_STEPS}` in `configure_optimizers`."


def _asked(path: str, node: Node) -> Iterator[str]:
    """The attributes of `@trainer` that an expression reads."""
    text = absolute(path, node.value) if isinstance(node.value, str) and node.value.startswith("$") else ""
    if "trainer" not in referred(text):
        return
    try:
        tree = syntax_tree(text[1:])
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the first tier says so
        return
    for each in ast.walk(tree):
        if isinstance(each, ast.Attribute) and ast.unparse(each.value) == f"{REFERENCES}['trainer']":
            yield each.attr


def _deferred(found: Found) -> list[str]:
    section = found.followed(found.section)
    return [join(section, key) for key in getattr(found.kind(found.section), "deferred", ())]


def _built_early(found: Found) -> Iterator[str]:
    """All that the module and the data are made of, but for what is built when the trainer asks for it."""
    seen = {"trainer", *_deferred(found)}
    ahead = [found.followed(found.section), found.followed("data")]
    while ahead:
        path = ahead.pop()
        node = found.tree.find(path)
        if path in seen or node is None:
            continue
        seen.add(path)
        yield path
        if isinstance(node.value, str) and node.value[:1] in ("@", "$"):
            ahead += referred(absolute(path, node.value))
        ahead += [join(path, step) for step in node.steps()]


def _is_endless(found: Found) -> bool:
    given = {key: found.argument("trainer", key) for key in ("max_epochs", "max_steps")}
    values = {key: each[1].value for key, each in given.items() if each is not None}
    return values.get("max_epochs") == -1 and values.get("max_steps", -1) == -1
