"""Restore the values of a checkpoint in the types in which they were saved.

Lightning loads the weights before `precision: 64-true`, or a hook, converts the module, so that they pass through
float32; and `Optimizer.load_state_dict` casts the state of each parameter to the parameter's type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class CastValues:
    """Values of a checkpoint that were cast when they were loaded, as the module had other types then.

    It is made just after the module was loaded from one of `states`, of which the first tells the types.
    """

    def __init__(self, module: nn.Module, states: Sequence[Mapping[str, Any]]) -> None:
        held = module.state_dict()
        self._module = module
        self._types = {name: saved.dtype for name, saved in states[0].items() if isinstance(saved, Tensor)}
        # only those that may have lost bits: a narrower value in a wider type is what it was
        self._weights = [
            (name, saved, held[name].dtype)
            for state in states
            for name, saved in state.items()
            if isinstance(saved, Tensor)
            and isinstance(held.get(name), Tensor)
            and torch.promote_types(saved.dtype, held[name].dtype) != held[name].dtype
        ]
        self._optimizers: list[tuple[Optimizer, Mapping[str, Any]]] = []

    def restore_weights(self) -> None:
        # not a weight whose value somebody has changed since: a hook's reset, say
        held = self._module.state_dict() if self._weights else {}
        for name, saved, was in self._weights:
            now = held.get(name)
            if isinstance(now, Tensor) and now.dtype == saved.dtype and now.shape == saved.shape:
                rounded = saved.to(now.device, was).to(saved.dtype)
                if torch.allclose(now, rounded, rtol=0, atol=0, equal_nan=True):
                    now.copy_(saved)

    def add_optimizers(self, optimizers: Sequence[Optimizer], saved: Sequence[Mapping[str, Any]]) -> None:
        # the module may get the saved types only later
        self._optimizers = [*zip(optimizers, saved, strict=False)]
        self._uncast_optimizers()

    def restore(self) -> None:
        self.restore_weights()
        self._uncast_optimizers()

    def differing(self) -> list[str]:
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


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _uncast(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    # the states have numbers: parameters are paired with them by their order in the groups, as torch does
    numbers = chain.from_iterable(group["params"] for group in saved["param_groups"])
    parameters = chain.from_iterable(group["params"] for group in optimizer.param_groups)
    for number, parameter in zip(numbers, parameters, strict=False):
        state = optimizer.state.get(parameter, {})
        for key, value in saved["state"].get(number, {}).items():
            now = state.get(key)
            if isinstance(value, Tensor) and isinstance(now, Tensor) and value.dtype != now.dtype:
                state[key] = value.to(now.device, copy=True)
