"""`args::fit` has arguments of `trainer.fit`, and so on."""

from __future__ import annotations

from typing import Any

from lighter.config.annotations import UNKNOWN
from lighter.config.check.calls import plain
from lighter.config.problems import indefinite, nearest
from lighter.config.signatures import Call, signature_of
from lighter.config.tree import is_reference, is_target, join
from lighter.engine.check.context import Context
from lighter.engine.stage_arguments import WEIGHTS_ONLY_IN_CONFIG, allowed_arguments


def check_stage_arguments(context: Context) -> None:
    """Add a problem for each argument in the config that the trainer's method does not take."""
    method = getattr(context.kind("trainer"), context.stage, None)
    path = context.followed(f"args::{context.stage}")
    node = context.tree.find(path)
    if method is None or node is None or node.value is None or is_reference(node.value):
        return
    if not isinstance(node.value, dict) or is_target(node.value):
        # What is written there itself, the first tier has checked.
        is_direct = path == f"args::{context.stage}" and not is_target(node.value)
        what = "an object" if is_target(node.value) else indefinite(node.value)
        if not is_direct:
            context.problem(f"the arguments of a stage are a dict; found {what}", f"args::{context.stage}")
        return
    signature, allowed = signature_of(method), allowed_arguments(method)
    has_data = context.section == "model" and getattr(context.tree.child("data"), "value", None) is not None
    for key, child in node.value.items():
        message, hint = _wrong_argument(context.stage, str(key), plain(child), allowed, has_data=has_data)
        if message:
            context.problem(message, join(path, key), hint, at_key=str(key) not in allowed)
        for misfit in signature.misfits(Call(None, {str(key): plain(child)})) if signature and not message else ():
            context.problem(misfit.message, join(path, key), misfit.hint)


def _wrong_argument(stage: str, key: str, value: Any, allowed: list[str], *, has_data: bool) -> tuple[str, str]:
    """Return message and hint, if a config cannot give this argument to a method of the trainer's."""
    if key not in allowed:
        return f"`trainer.{stage}` has no argument `{key}`", nearest(key, allowed)
    if key == "weights_only" and value not in (True, None, UNKNOWN):
        return WEIGHTS_ONLY_IN_CONFIG, ""
    if not key.endswith("dataloaders") or value is None:
        return "", ""
    if has_data:
        return "the dataloaders are those of `data`: the trainer takes no others beside it", "Leave one of them out."
    is_scalar = isinstance(value, (bool, int, float, str))
    return (f"a dataloader is an object; found {indefinite(value)}", "") if is_scalar else ("", "")
