"""Make checkpoints that `weights_only=True` reads: tensors, numbers, text, and lists and dicts of them.

Values that are plain but for their type become plain. Other objects of the user's stay, and a warning names them.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

from lighter.parts.plain_tensors import plain_tensor

_HYPERPARAMETERS = ("hyper_parameters", "datamodule_hyper_parameters")
_SHOWN = 5


def plain(checkpoint: Any) -> Any:
    """Replace tensors of subclasses by plain ones, NumPy's numbers by equal ones of Python's, and paths by text.

    Paths only among hyperparameters, which a constructor takes as a config gives them. A number of lower precision than
    Python's stays, as results that are computed with it would change.
    """
    if type(checkpoint) is not dict:
        return checkpoint
    try:
        return {key: _plain(value, paths=key in _HYPERPARAMETERS) for key, value in checkpoint.items()}
    except RecursionError:  # data that holds itself
        return checkpoint


def _plain(value: Any, *, paths: bool) -> Any:
    # the value itself where there is nothing to replace in it: a checkpoint is not copied
    if type(value) is Tensor:
        return value
    if type(value) in (dict, OrderedDict):
        changed = {key: new for key, old in value.items() if (new := _plain(old, paths=paths)) is not old}
        if not changed:
            return value
        copied = copy.copy(value)  # with its attributes: the state dict of a module has some
        copied.update(changed)
        return copied
    if type(value) in (list, tuple):
        items = [_plain(inner, paths=paths) for inner in value]
        return type(value)(items) if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if isinstance(value, Tensor):
        return plain_tensor(value)
    if isinstance(value, (np.bool_, np.integer, np.float64, np.str_)):
        return value.item()
    return str(value) if paths and isinstance(value, PurePath) else value


def refused(path: str | Path | IO[bytes]) -> list[str]:
    """List what `weights_only=True` refuses in a checkpoint's pickle: names of classes and functions, as a rule."""
    try:
        return sorted(get_unsafe_globals_in_checkpoint(path))
    except pickle.UnpicklingError as error:  # a number of a thousand digits, a list that holds itself
        return [str(error)]


def what_to_do(checkpoint: object, file: str) -> str:
    """Write a warning that says where in a checkpoint the refused values are, and how to avoid them."""
    try:
        named = list(_refused_values(checkpoint, ""))
    except RecursionError:
        named = []
    lines = [f"  {key}: {name}" for key, name in named[:_SHOWN]]
    lines += [f"  ... and {len(named) - _SHOWN} more"] if len(named) > _SHOWN else []
    return "\n".join(
        [
            f"{file} holds more than weights and plain data. All of it is saved, but it can be loaded only with"
            " weights_only=False (--no-weights_only), which can run code:",
            *lines,
            "Leave objects out of the hyperparameters with save_hyperparameters(ignore=[...]), and have state_dict()"
            " of callbacks and data modules return tensors, numbers, text, lists and dicts",
        ]
    )


def _refused_values(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if type(value) is dict:
        for key, inner in value.items():
            yield from _refused_values(inner, f"{path}::{key}" if path else str(key))
    elif type(value) in (list, tuple):
        for index, inner in enumerate(value):
            yield from _refused_values(inner, f"{path}::{index}")
    elif not _is_simple(value) and _refused_alone(value):
        kind = value if isinstance(value, type) else type(value)
        yield path, f"{kind.__module__}.{kind.__qualname__}"


def _is_simple(value: object) -> bool:
    if type(value) is int:
        return value.bit_length() < 64
    return type(value) in (str, float, bool, type(None), torch.Tensor, torch.nn.Parameter)


def _refused_alone(value: object) -> list[str]:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return refused(file)
