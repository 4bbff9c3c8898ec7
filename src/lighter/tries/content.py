"""Hashes of what batches hold, the same in each process: by value, never by an address."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hashlib import _Hash

_PLAIN = (str, bytes, bool, int, float, complex, type(None))
_MOST_DEEP = 100  # objects within objects


class Content:
    """A hash of values.

    Attributes:
        unknown: the names of the types whose values cannot be told apart.
    """

    def __init__(self) -> None:
        self._digest: _Hash = hashlib.sha256()
        self.unknown: set[str] = set()
        self._open: list[int] = []  # objects may hold themselves

    def hexdigest(self) -> str:
        return self._digest.hexdigest()[:32]

    def add(self, value: object) -> None:
        """Add a value; of an object without a state that can be read, the name of its type."""
        import numpy as np
        import torch

        if isinstance(value, torch.Tensor):
            self._add_tensor(value)
        elif isinstance(value, np.ndarray) and value.dtype.hasobject:
            self._write(f"{value.dtype}{value.shape}")
            self._add_all(value.ravel().tolist())
        elif isinstance(value, (np.ndarray, np.generic)):
            self._write(f"{value.dtype}{value.shape}")
            self._digest.update(value.tobytes())
        elif type(value) in _PLAIN:
            self._write(repr(value))
        elif isinstance(value, (type, FunctionType)):
            self._write(f"{value.__module__}.{value.__qualname__}")
        elif id(value) in self._open:
            self._write(f"above {self._open.index(id(value))}")
        elif len(self._open) > _MOST_DEEP:
            self.unknown.add(_name(value))
        else:
            self._open.append(id(value))
            self._add_held(value)
            self._open.pop()

    def _add_tensor(self, tensor: Any) -> None:
        import torch

        tensor = tensor.detach().cpu()
        self._write(f"{tensor.dtype}{tuple(tensor.shape)}")
        tensor = tensor if tensor.layout == torch.strided else tensor.to_dense()
        # a view of other bytes is what it shows
        tensor = tensor.resolve_conj().resolve_neg().contiguous().flatten()
        self._digest.update(tensor.view(torch.uint8).numpy().tobytes())

    def _add_held(self, value: object) -> None:
        self._write(_name(value))
        kind = type(value)
        if kind in (list, tuple):
            self._add_all(value)  # type: ignore[arg-type]
        elif kind is dict:
            self._add_all(value.items())  # type: ignore[attr-defined]
        elif isinstance(value, (set, frozenset)):
            self._add_all(sorted(self._apart(each) for each in value))
        else:
            self._add_state(value)

    def _add_state(self, value: object) -> None:
        """Add what a copy of an object would be made of: its fields, attributes, items or bytes."""
        try:
            state = value.__reduce_ex__(2)
        except Exception:  # noqa: BLE001  it is user code
            self.unknown.add(_name(value))
            return
        if isinstance(state, str):  # found by its name: a function, a class
            self._write(state)
            return
        maker, arguments, *rest = state
        self._write(getattr(maker, "__qualname__", ""))
        self._add_all(arguments)
        rest = [*rest, None, None, None][:3]
        self.add(rest[0])
        for each in rest[1:]:
            self._add_all(each if each is not None else ())

    def _apart(self, value: object) -> str:
        part = Content()
        part.add(value)
        self.unknown |= part.unknown
        return part.hexdigest()

    def _add_all(self, values: Iterable[object]) -> None:
        for each in values:
            self.add(each)
        self._write("end")

    def _write(self, text: str) -> None:
        self._digest.update(text.encode(errors="surrogatepass"))


def _name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
