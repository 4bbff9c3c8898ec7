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


class RoundedWeights:
    """Weights that were rounded when they were loaded, as the module held them in a narrower type then.

    Args:
        module: the module, just after loading.
        states: the state dicts that it may have been loaded from.
    """

    def __init__(self, module: nn.Module, states: Sequence[Mapping[str, Any]]) -> None:
        held = module.state_dict()
        self._module = module
        self._rounded = [
            (name, saved, held[name].dtype)
            for state in states
            for name, saved in state.items()
            if isinstance(saved, Tensor) and isinstance(held.get(name), Tensor) and _rounds(saved, held[name])
        ]

    def load_again(self) -> None:
        """Load those that have their own type by now, unless somebody has changed their values since."""
        held = self._module.state_dict() if self._rounded else {}
        for name, saved, was in self._rounded:
            now = held.get(name)
            if isinstance(now, Tensor) and now.dtype == saved.dtype and now.shape == saved.shape:
                rounded = saved.to(now.device, was).to(saved.dtype)
                if torch.allclose(now, rounded, rtol=0, atol=0, equal_nan=True):
                    now.copy_(saved)


def _rounds(saved: Tensor, held: Tensor) -> bool:
    return torch.promote_types(saved.dtype, held.dtype) != held.dtype


def has_types_of(module: nn.Module, state: Mapping[str, Any]) -> bool:
    """Return whether the tensors of a module have the types that they have in a state dict."""
    held = module.state_dict()
    pairs = ((held.get(name), saved) for name, saved in state.items())
    return all(
        now.dtype == saved.dtype for now, saved in pairs if isinstance(now, Tensor) and isinstance(saved, Tensor)
    )


def uncast_optimizer_state(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Give those tensors of an optimizer's state their own type that `load_state_dict` has cast to the parameter's."""
    for state, earlier in _states(optimizer, saved):
        for key, value in earlier.items():
            now = state.get(key)
            if isinstance(value, Tensor) and isinstance(now, Tensor) and value.dtype != now.dtype:
                state[key] = value.to(now.device, copy=True)


def _states(optimizer: Optimizer, saved: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], Mapping[str, Any]]]:
    """The states of the parameters, each with what was saved of it: by their order in the groups, as torch does."""
    numbers = chain.from_iterable(group["params"] for group in saved["param_groups"])
    parameters = chain.from_iterable(group["params"] for group in optimizer.param_groups)
    for number, parameter in zip(numbers, parameters, strict=False):
        if parameter in optimizer.state and number in saved["state"]:
            yield optimizer.state[parameter], saved["state"][number]
