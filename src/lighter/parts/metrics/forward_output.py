"""The output of a forward module's `forward`, sorted, and the total of its losses."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from lighter.errors import ModuleTypeError, ModuleValueError
from lighter.parts.describe import describe
from lighter.parts.metrics.loss_weights import TOTAL, LossWeights

LOSS = "loss"
KEYS = ("loss_dict", "metric_dict")
_OTHER_RUNGS = {"loss": "loss_dict", "losses": "loss_dict", "metrics": "metric_dict"}
_FORMS = """`forward` returns one of
  return loss                                                     # a tensor with one element
  return {"loss_dict": {"ce_loss": ce}, "metric_dict": {"preds": pred, "target": y}}"""


class ForwardOutput(NamedTuple):
    """The sorted output."""

    # by name; None if there are none
    losses: Mapping[str, Any] | None
    # the keyword arguments of the evaluators' `update`; None if there are none
    metric_inputs: Mapping[str, Any] | None
    # the whole output, if that was a dict
    rest: Mapping[str, Any]


def sort_forward(output: object) -> ForwardOutput:
    """Sort the output of `forward`: a dict with `loss_dict` and `metric_dict`, or a tensor, which is the loss."""
    if isinstance(output, Tensor):
        return ForwardOutput({LOSS: output}, None, {})
    if not isinstance(output, Mapping):
        raise ModuleTypeError(f"`forward` returned {describe(output)}. {_FORMS}")
    for key in output:
        # a misspelt key would pass as an output for callbacks, and nothing would be trained or measured
        close = get_close_matches(str(key), [*KEYS, *_OTHER_RUNGS], n=1, cutoff=0.75)
        meant = _OTHER_RUNGS.get(close[0], close[0]) if close else None
        if meant is not None and meant not in output:
            raise ModuleValueError(
                f"`forward` returned a dict with the key `{key}`, and without `{meant}`, which may be meant. {_FORMS}"
            )
    for key in KEYS:
        if output.get(key) is not None and not isinstance(output[key], Mapping):
            raise ModuleTypeError(f"`forward` returned a `{key}` that is {describe(output[key])}. {_FORMS}")
    return ForwardOutput(output.get("loss_dict"), output.get("metric_dict"), output)


def with_total(losses: Mapping[str, Any], weights: LossWeights | None, *, strict: bool = True) -> dict[str, Tensor]:
    """Weigh the losses, and add their total.

    The total is the entry `loss` if there is one, otherwise the sum of the entries with `loss` in their names. All
    others are only observed. With `strict`, the loss of every weight has to have been seen by now, in this step or
    before it.

    Raises:
        ModuleValueError: no entry counts, or one is called `total`.
        MisfitError: a weight for an unknown loss.
    """
    if TOTAL in losses:
        raise ModuleValueError(f"`loss_dict` has the entry `{TOTAL}`, the name of the sum of losses; call it `{LOSS}`")
    tensors = {str(name): _tensor(str(name), value) for name, value in losses.items()}
    if weights is not None:
        tensors = weights.weigh(tensors, strict=strict)
    counted = [LOSS] if LOSS in tensors else [name for name in tensors if LOSS in name]
    if not counted:
        raise ModuleValueError(
            f"no entry of `loss_dict` counts: one called `{LOSS}`, or those with `{LOSS}` in their names;"
            f" found {list(tensors)}"
        )
    idle = [
        name for name in (weights.weights if weights is not None else ()) if name in tensors and name not in counted
    ]
    if idle:
        rank_zero_warn(
            f"`loss_weights` weighs {', '.join(f'`{name}`' for name in idle)}, which is only observed:"
            f" the total is made of {', '.join(f'`{name}`' for name in counted)}"
        )
    # not `sum`, which begins with an integer and so adds a node to the graph
    total = functools.reduce(operator.add, [tensors[name] for name in counted])
    return {TOTAL: total, **{name: value for name, value in tensors.items() if name != LOSS}}


def _tensor(name: str, value: object) -> Tensor:
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ModuleValueError(
                f"`loss_dict::{name}` has the shape {tuple(value.shape)}; a loss is one number: take its mean or sum."
            )
        return value.reshape(())
    if isinstance(value, (int, float)):
        return torch.tensor(float(value))
    raise ModuleTypeError(f"`loss_dict::{name}` is {describe(value)}, not a tensor")
