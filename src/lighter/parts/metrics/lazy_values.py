"""Values that are computed when they are first used: a mapping, and a tensor."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from lighter._lightning.torch_internals import tensor_of_subclass


class LazyMapping(UserDict):
    """A dict that is filled when it is first looked into."""

    def __init__(self, data: Any = None, *, compute: Callable[[], Any] | None = None) -> None:
        self._compute = compute
        if compute is None:
            super().__init__(data)

    def __getattr__(self, name: str) -> Any:
        # `UserDict` keeps its content there, and is not initialized before that is asked for
        if name != "data":
            raise AttributeError(name)
        compute = self.__dict__.get("_compute")
        self.data = dict(compute()) if compute is not None else {}
        return self.data

    # a process that gets the values has not the metrics to compute them from
    def __reduce__(self) -> Any:
        return dict, (dict(self.data),)


class LazyTensor(Tensor):
    """A tensor that is computed when anything is done with it."""

    _compute: Callable[[], Tensor]
    _value: Tensor | None

    @staticmethod
    def __new__(cls, compute: Callable[[], Tensor]) -> LazyTensor:
        # the value's shape is not known before it is computed; no operation sees this one
        lazy = tensor_of_subclass(cls, torch.empty(()))
        lazy._compute, lazy._value = compute, None
        return lazy

    def __init__(self, compute: Callable[[], Tensor]) -> None:
        super().__init__()

    def value(self) -> Any:
        """Return the tensor that this one stands for."""
        if self._value is None:
            self._value = self._compute()
        return self._value

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map_only(LazyTensor, LazyTensor.value, (args, kwargs or {}))
        return func(*args, **kwargs)

    # `torch.tensor(value)`, and a value in the place of a number, as in `torch.full((2,), value)`, do not come through
    # `__torch_function__`: they would read the memory
    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return cls.__torch_function__(func, types, args, kwargs)
