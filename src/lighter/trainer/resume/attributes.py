"""The attributes of a fit's objects that are in no `state_dict`, one by one, with their values as plain data."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torchmetrics import Metric, MetricCollection

from lighter._lightning.resume import own_buffers, own_tensors
from lighter.parts.holders import holders, is_of_library, is_of_users, own_attributes, set_attribute, sets_own_state
from lighter.parts.metrics.foreign import has_methods
from lighter.trainer.resume.encoding import Opaque, encode, fingerprint, opaque_in, restored

Name = tuple[str, str]  # the path of an object, and the name of its attribute

_OF_TRAINER = ("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm")
_GRADIENT = ".requires_grad"
_NO_EXTRA_STATE = nn.Module.get_extra_state


class Attribute:
    """An attribute of an object; `weight.requires_grad` is that of a parameter. Its value is encoded."""

    def __init__(self, holder: object, name: str, value: Any) -> None:
        self.holder, self.name, self.value = holder, name, encode(value)

    @property
    def is_plain(self) -> bool:
        return next(opaque_in(self.value), None) is None

    @property
    def is_iterator(self) -> bool:
        # nobody can read the position of one, but that of a file
        return any(hasattr(type(one), "__next__") and not hasattr(one, "fileno") for one in opaque_in(self.value))

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.value)

    @property
    def is_users(self) -> bool:
        # a change that cannot be saved is reported if it is the user's: objects of libraries keep caches, and
        # metrics sums
        is_foreign = not isinstance(self.holder, (Metric, MetricCollection))
        has_state = isinstance(self.holder, nn.Module) and type(self.holder).get_extra_state is not _NO_EXTRA_STATE
        return not has_state and (is_of_users(self.holder) or (is_foreign and has_methods(self.holder)))

    @property
    def kind(self) -> str:
        # a list or a tensor is not plain only if it is too large
        one = next(opaque_in(self.value))
        name = type(one).__name__
        if self.is_iterator:
            return f"an iterator ({name})"
        if isinstance(one, Tensor) or type(one) in (list, dict, tuple, set, str, bytes):
            return f"too large a {name}"
        return f"a {name}" if isinstance(self.value, Opaque) else f"with a {name} in it"

    def set(self, encoded: Any, device: torch.device) -> None:
        tensors: dict[str, Any] = own_tensors(self.holder) if isinstance(self.holder, nn.Module) else {}
        if self.name.endswith(_GRADIENT):
            tensors[self.name.removesuffix(_GRADIENT)].requires_grad_(encoded)
        elif self.name in tensors:
            setattr(self.holder, self.name, restored(encoded, tensors[self.name], device))
        else:
            now = dict(own_attributes(self.holder)).get(self.name)
            set_attribute(self.holder, self.name, restored(encoded, now, device))


def is_mode(name: Name) -> bool:
    # of a module, or whether a parameter trains
    return name[1] == "training" or name[1].endswith(_GRADIENT)


def attributes_of(label: str, root: object, besides: Collection[int] = ()) -> Iterator[tuple[Name, Attribute]]:
    """Yield the attributes of an object and of those that it keeps, other than objects with ids in `besides`."""
    if isinstance(root, pl.Trainer):
        for name in _OF_TRAINER:
            yield (label, name), Attribute(root, name, getattr(root, name))
        return
    registered = set(map(id, root.modules())) if isinstance(root, nn.Module) else set()
    for path, holder in holders(root, besides):
        values = own_attributes(holder)
        if isinstance(holder, nn.Module) and not isinstance(holder, Metric):
            values += _tensors_of(holder, is_registered=id(holder) in registered)
        for name, value in values:
            if not sets_own_state(value):
                yield (f"{label}{path}", name), Attribute(holder, name, value)


def _tensors_of(module: nn.Module, *, is_registered: bool) -> Iterator[tuple[str, Any]]:
    """Yield which parameters train, and the tensors that a `state_dict` does not have."""
    for name, parameter in nn.Module.named_parameters(module, recurse=False, remove_duplicate=False):
        yield f"{name}{_GRADIENT}", parameter.requires_grad
        if not (is_registered or is_lazy(parameter)):
            yield name, parameter
    for name, buffer, is_persistent in own_buffers(module):
        if not (is_registered and is_persistent):
            yield name, buffer


def users_callbacks(callbacks: Iterable[pl.Callback]) -> dict[str, pl.Callback]:
    """Return the user's callbacks by label."""
    labelled: dict[str, pl.Callback] = {}
    for callback in callbacks:
        # those that save checkpoints note files, which are theirs to keep
        if isinstance(callback, Checkpoint) or is_of_library(type(callback)):
            continue
        name = f"callbacks.{type(callback).__qualname__}"
        same = sum(label == name or label.startswith(f"{name}[") for label in labelled)
        labelled[f"{name}[{same}]" if same else name] = callback
    return labelled
