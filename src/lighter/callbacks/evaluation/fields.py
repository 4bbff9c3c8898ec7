"""Find the predictions, targets and inputs of an evaluated batch, on every rung of the ladder.

| rung | predictions and targets are |
| --- | --- |
| System | what its logging adapter changes; otherwise what its metrics adapter passes on |
| ForwardModule | those in `metric_dict`, or beside it |
| LighterModule, LightningModule | those in the dict that the step returns, under a usual or a given name |

What a step does not return is looked for in the batch: by name in a dict, by position in a pair of input and target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from lighter.adapters import LoggingAdapter, MetricsAdapter
from lighter.callbacks.evaluation.settings import Name
from lighter.config.tree import SEPARATOR
from lighter.errors import MisfitError
from lighter.forward import ForwardModule
from lighter.parts.describe import describe
from lighter.parts.plain_tensors import plain_tensor
from lighter.parts.transforms import apply_transforms
from lighter.system import System

USUAL: Mapping[str, Sequence[str]] = {
    "pred": ("pred", "preds", "prediction", "predictions", "logits", "probs", "probabilities", "y_hat", "y_pred"),
    "target": ("target", "targets", "label", "labels", "y", "y_true", "mask", "masks"),
    "input": ("input", "inputs", "x", "image", "images", "img", "features", "pixel_values"),
}
_OF_BATCH = {"input": 0, "target": 1}  # the places in a pair
STEPS = {"val": "validation_step", "test": "test_step"}
_ABSENT: Any = object()


class Names(NamedTuple):
    """The given names of the three; None for the usual ones."""

    pred: Name = None
    target: Name = None
    input: Name = None


class Fields(NamedTuple):
    """Predictions, targets and inputs of a batch, one of each for every sample; None for what there is none of."""

    pred: Tensor
    target: Tensor | None
    input: Any


def find_labeled(
    module: LightningModule, mode: str, outputs: object, batch: object, names: Names
) -> tuple[Tensor, Tensor, Any]:
    """Return predictions, targets and inputs of a batch.

    Raises:
        MisfitError: there is no prediction or no target; the message says what to return.
    """
    pred, target, input = find_fields(module, mode, outputs, batch, names)
    if target is None:
        raise _misfit("target", names.target, _ABSENT, module, mode, outputs, batch)
    return pred, target, input


def find_fields(module: LightningModule, mode: str, outputs: object, batch: object, names: Names) -> Fields:
    """Return the fields of a batch, which may have no targets.

    Raises:
        MisfitError: there is no prediction, or a target that is none; the message says what to return.
    """
    returned = _of_system(module, mode, outputs) if isinstance(module, System) else outputs
    found = {key: _find(key, getattr(names, key), returned, batch) for key in ("pred", "target", "input")}
    tensors = {key: _tensor(found[key]) for key in ("pred", "target")}
    pred, target = tensors["pred"], tensors["target"]
    if pred is None:
        raise _misfit("pred", names.pred, found["pred"], module, mode, outputs, batch)
    if target is None and (found["target"] is not _ABSENT or names.target is not None):
        raise _misfit("target", names.target, found["target"], module, mode, outputs, batch)
    if target is not None and len(pred) != len(target):
        message = f"a prediction is needed for each target; found {describe(pred)} and {describe(target)}"
        raise MisfitError(message, "report")
    input = None if found["input"] is _ABSENT else found["input"]
    return Fields(pred, None if target is None else target.to(pred.device), input)


def _find(key: str, name: Name, returned: object, batch: object) -> Any:
    usual = USUAL[key] if name is None else (name,)
    for holder in _holders(returned, batch):
        if not isinstance(holder, Mapping):
            continue
        for each in usual:
            value = _inside(holder, each)
            if value is not None:
                return value
    position = name if name is not None else _OF_BATCH.get(key)
    # a batch of a single item has no target, and a step that returns tensors as a list has no names
    is_pair = isinstance(batch, (list, tuple)) and (name is not None or len(batch) >= 2)
    if is_pair and isinstance(position, int) and -len(batch) <= position < len(batch):  # type: ignore[arg-type]
        return batch[position]  # type: ignore[index]
    return batch if key == "input" and isinstance(batch, Tensor) else _ABSENT


def _inside(holder: Mapping[Any, Any], name: str | int | None) -> Any:
    """Return the value under a name, or under a path such as `pred::digit`; None if it is not there."""
    if name in holder or not isinstance(name, str) or SEPARATOR not in name:
        return holder.get(name)
    value: Any = holder
    for step in name.split(SEPARATOR):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _holders(returned: object, batch: object) -> list[object]:
    metric_dict = returned.get("metric_dict") if isinstance(returned, Mapping) else None
    return [metric_dict, returned, batch]


def _of_system(system: System, mode: str, outputs: object) -> object:
    """Return the output of a system's step with the predictions and targets that its metrics are given."""
    adapters = system.adapters[mode]
    metrics, logging = adapters["metrics"], adapters["logging"]
    if not isinstance(outputs, Mapping) or not isinstance(metrics, MetricsAdapter):
        return outputs
    changed = dict(outputs)
    for key in ("pred", "target"):
        is_logged = not isinstance(logging, LoggingAdapter) or logging.transforms[key]
        if not is_logged and metrics.transforms[key] and changed.get(key) is not None:
            changed[key] = apply_transforms(metrics.transforms[key], changed[key], f"{key}_transforms")
    return changed


def _tensor(value: object) -> Tensor | None:
    """Return a value with an entry for each sample as a tensor without a graph; None if it is no such value."""
    if isinstance(value, Tensor):
        return plain_tensor(value.reshape(1) if value.ndim == 0 else value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.as_tensor(value).reshape(value.shape or (1,))
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, (bool, int, float)) for item in value):
        return torch.tensor(value)
    return None


def _misfit(
    key: str, name: Name, found: object, module: LightningModule, mode: str, outputs: object, batch: object
) -> MisfitError:
    step, kind = STEPS[mode], type(module).__name__
    noun = {"pred": "predictions", "target": "targets"}[key]
    returned = "nothing" if outputs is None else describe(outputs)
    if found is not _ABSENT:
        message = f"{noun} are a tensor with an entry for each sample; found {describe(found)}"
    elif name is not None:
        message = (
            f"there are no {noun} under {name!r}: `{step}` of {kind} returned {returned}, and the batch is"
            f" {describe(batch)}"
        )
    else:
        message = f"there are no {noun} to record: `{step}` of {kind} returned {returned}"
    if isinstance(module, System) and key == "target":
        form = "its batch adapter says where they are: `input_accessor: 0, target_accessor: 1`"
    elif isinstance(module, ForwardModule):
        form = 'return {"loss_dict": {...}, "metric_dict": {"preds": pred, "target": target}}'
    else:
        form = 'return {"loss": loss, "pred": pred, "target": target}'
    hint = f"{message}.\n  {form}\nor name the keys that it has: `pred: logits, target: y`"
    return MisfitError(hint, "report")
