"""Restore the values of a checkpoint in the types in which they were saved.

Lightning loads the weights before `precision: 64-true`, or a hook, converts the module, so that they pass through
float32; and `Optimizer.load_state_dict` casts the state of each parameter to the parameter's type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class CastValues:
    """Values of a checkpoint that were cast when they were loaded, as the module had other types then.

    Args:
        module: the module, just after loading.
        states: the state dicts that it may have been loaded from, the one that tells the types first.
    """

    def __init__(self, module: nn.Module, states: Sequence[Mapping[str, Any]]) -> None:
        held = module.state_dict()
        self._module = module
        self._types = {name: saved.dtype for name, saved in states[0].items() if isinstance(saved, Tensor)}
        self._weights = [
            (name, saved, held[name].dtype)
            for state in states
            for name, saved in state.items()
            if isinstance(saved, Tensor) and isinstance(held.get(name), Tensor) and _rounds(saved, held[name])
        ]
        self._optimizers: list[tuple[Optimizer, Mapping[str, Any]]] = []

    def restore_weights(self) -> None:
        """Load the weights that have the saved type by now, unless somebody has changed their values since."""
        held = self._module.state_dict() if self._weights else {}
        for name, saved, was in self._weights:
            now = held.get(name)
            if isinstance(now, Tensor) and now.dtype == saved.dtype and now.shape == saved.shape:
                rounded = saved.to(now.device, was).to(saved.dtype)
                if torch.allclose(now, rounded, rtol=0, atol=0, equal_nan=True):
                    now.copy_(saved)

    def add_optimizers(self, optimizers: Sequence[Optimizer], saved: Sequence[Mapping[str, Any]]) -> None:
        """Take the saved states of optimizers, and give their tensors the saved types, once the module has those."""
        self._optimizers = [*zip(optimizers, saved, strict=False)]
        self._uncast_optimizers()

    def restore(self) -> None:
        """Restore the values that a hook has converted to the saved type since."""
        self.restore_weights()
        self._uncast_optimizers()

    def differing(self) -> list[str]:
        """Name each weight that has another type than in the checkpoint."""
        return [
            f"{name} ({_name(now.dtype)}, and {_name(self._types[name])} in the checkpoint)"
            for name, now in self._module.state_dict().items()
            if isinstance(now, Tensor) and now.dtype != self._types.get(name, now.dtype)
        ]

    def _uncast_optimizers(self) -> None:
        if self._optimizers and not self.differing():
            for optimizer, saved in self._optimizers:
                _uncast(optimizer, saved)
            self._optimizers = []


def _rounds(saved: Tensor, held: Tensor) -> bool:
    return torch.promote_types(saved.dtype, held.dtype) != held.dtype


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _uncast(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Restore the types of an optimizer's state, which `load_state_dict` has cast to the parameters' types."""
    for state, earlier in _states(optimizer, saved):
        for key, value in earlier.items():
            now = state.get(key)
            if isinstance(value, Tensor) and isinstance(now, Tensor) and value.dtype != now.dtype:
                state[key] = value.to(now.device, copy=True)


def _states(optimizer: Optimizer, saved: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], Mapping[str, Any]]]:
    """Pair the states of the parameters with the saved ones: by their order in the groups, as torch does."""
    numbers = chain.from_iterable(group["params"] for group in saved["param_groups"])
    parameters = chain.from_iterable(group["params"] for group in optimizer.param_groups)
    for number, parameter in zip(numbers, parameters, strict=False):
        if parameter in optimizer.state and number in saved["state"]:
            yield optimizer.state[parameter], saved["state"][number]
