"""The output of a step, in the one form that Lightning and the measuring understand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from lighter.errors import MisfitError, ModuleTypeError, ModuleValueError
from lighter.parts.describe import describe
from lighter.parts.metrics.loss_weights import LossWeights
from lighter.parts.plain_tensors import plain_tensor

_FORMS = """A step returns one of
  return loss                                  # a tensor with one element
  return {"loss": loss, "pred": pred}          # and anything else for callbacks; or several named losses:
  return {"loss": {"total": a + b, "a": a, "b": b}}"""


class StepOutput(NamedTuple):
    """A step's output, sorted."""

    # every loss by name, detached scalars; the only loss has the empty name. Empty if there is none
    losses: dict[str, Tensor]
    # for Lightning and callbacks: `loss` is the scalar to back-propagate, `losses` are the named ones
    returned: Any


def sort_output(output: object, step: str, *, needs_loss: bool, weights: LossWeights | None = None) -> StepOutput:
    """Sort a step's output: a tensor, a dict with `loss`, or None for a batch that does not count.

    With weights, the total of named losses is their weighted sum.
    """
    if type(output) is Tensor and output.ndim == 0 and weights is None:  # what most steps return
        return StepOutput({"": output.detach()}, output)
    if output is None:
        return StepOutput({}, None)
    if not isinstance(output, (Tensor, Mapping)):
        raise ModuleTypeError(f"`{step}` returned {describe(output)}. {_FORMS}")
    loss = output.get("loss") if isinstance(output, Mapping) else output
    if type(loss) is Tensor and loss.ndim == 0 and weights is None:
        return StepOutput({"": loss.detach()}, output)
    if isinstance(loss, Tensor):
        if weights is not None:
            raise MisfitError(
                f"`loss_weights` needs named losses, and `{step}` returned one loss. {_FORMS}", "loss_weights"
            )
        return StepOutput({"": _scalar(loss, "", step)}, output)
    if isinstance(loss, Mapping) and isinstance(output, Mapping):
        if weights is not None:  # a loss may be one of training alone
            loss = weights.apply(_tensors(loss, step), strict=step == "training_step")
        return _named(output, loss, step)
    # where Lightning back-propagates, a dict without `loss` is a mistake
    if loss is None and not needs_loss:
        return StepOutput({}, output)
    described = f"a dict with the keys {[*output]}" if loss is None else f"a dict whose `loss` is {describe(loss)}"
    raise ModuleTypeError(f"`{step}` returned {described}. {_FORMS}")


def as_dict(output: StepOutput) -> dict[str, Any]:
    """Return a step's output as a dict; named losses are a dict in `loss`, with `total`."""
    returned = output.returned
    if not isinstance(returned, Mapping):
        return {"loss": returned}
    return {**returned, "loss": returned["losses"]} if output.losses and "" not in output.losses else dict(returned)


def _named(output: Mapping[str, Any], losses: Mapping[str, Any], step: str) -> StepOutput:
    if "total" not in losses:
        raise ModuleValueError(
            f"`{step}` returned several losses without `total`, the one to back-propagate; found {list(losses)}.\n"
            '  return {"loss": {"total": ce + 0.1 * reg, "ce": ce, "reg": reg}}'
        )
    scalars = {name: _scalar(value, name, step) for name, value in _tensors(losses, step).items()}
    return StepOutput(scalars, {**output, "loss": losses["total"], "losses": losses})


def _tensors(losses: Mapping[str, Any], step: str) -> Mapping[str, Tensor]:
    for name, value in losses.items():
        if not isinstance(value, Tensor):
            raise ModuleTypeError(
                f"`{step}` returned a loss `{name}` that is {describe(value)}, not a tensor. {_FORMS}"
            )
    return losses


def _scalar(loss: Tensor, name: str, step: str) -> Tensor:
    if loss.numel() == 1:
        detached = plain_tensor(loss)
        return detached if loss.ndim == 0 else detached.reshape(())
    called = f"the loss `{name}`" if name else "a loss"
    raise ModuleValueError(
        f"`{step}` returned {called} of shape {tuple(loss.shape)}; a loss is one number: take its mean() or sum()."
    )
