"""Limit the work of expressions in an untrusted config, counted before it is done.

Values are numbers, texts, lists, tuples, dicts and ranges, and tensors and NumPy arrays. Other objects, to which
references lead, are passed on, and asked nothing but what `operations` and `expressions` list.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lighter.config.safe.mode import RefusedError

MAX_ITEMS = 100_000  # of one list or text
MAX_BITS = 64  # of an integer
MAX_ELEMENTS = 100_000_000  # of an array
MAX_WORK = 1_000_000  # steps and items of one expression
# Of all arrays that the expressions of a config go through or make.
MAX_ALL_ELEMENTS = 1_000_000_000
# Of processor time for the expressions of a config: a backstop, for what is counted too low.
MAX_SECONDS = 30.0
_SMALL = 1000

SCALARS = (bool, int, float, str, type(None))
NUMBERS = (bool, int, float)
SEQUENCES = (str, list, tuple, range)


class Work:
    """Count what the expressions of a config do, and end one when that is too much."""

    def __init__(self) -> None:
        self.left = MAX_WORK
        self.elements = MAX_ALL_ELEMENTS
        self.seconds = MAX_SECONDS
        self._started = time.thread_time()

    @contextmanager
    def expression(self) -> Iterator[None]:
        """Begin an expression: its steps count anew; elements and time count on."""
        self.left, self._started = MAX_WORK, time.thread_time()
        try:
            yield
        finally:
            self.seconds -= time.thread_time() - self._started

    def spend(self, amount: int = 1) -> None:
        self.left -= amount
        if self.left < 0:
            raise RefusedError(f"this expression takes more than {MAX_WORK:,} steps")
        # processor time, so that a busy machine refuses no more than an idle one
        if time.thread_time() - self._started > self.seconds:
            raise RefusedError(f"the expressions of this config take more than {MAX_SECONDS:.0f} seconds")

    def spend_elements(self, amount: int) -> None:
        self.spend()
        self.elements -= amount
        if amount > MAX_ELEMENTS:
            raise RefusedError(f"this array has more than {MAX_ELEMENTS:,} elements")
        if self.elements < 0:
            raise RefusedError(f"the arrays of this config's expressions have more than {MAX_ALL_ELEMENTS:,} elements")

    def spend_on(self, values: Sequence[Any]) -> None:
        """Count all that is in some values, however deep, before something goes through them."""
        for leaf in self.leaves(values):
            if type(leaf) is str:
                self.spend(len(leaf))
            elif is_array(leaf):
                self.spend_elements(math.prod(leaf.shape))

    def leaves(self, *values: Any) -> Iterator[Any]:
        """Yield what is in some values, list in list and dict in dict, each for a step."""
        waiting: list[Any] = [values]
        while waiting:
            value = waiting.pop()
            if type(value) in (list, tuple, dict):
                inside = [*value.keys(), *value.values()] if type(value) is dict else value
                self.spend(len(inside))
                waiting += inside
            else:
                yield value

    def measure(self, value: Any, *others: type) -> None:
        """Count all that is in a plain value before it is compared or looked up; refuse what is not plain.

        `others` are types that may be in it beside plain values; with them, arrays may be, too.
        """
        for leaf in self.leaves(value):
            if type(leaf) is str:
                self.spend(len(leaf))
            elif type(leaf) not in (*SCALARS, range, *others, *_dtypes()) and not (others and is_array(leaf)):
                raise RefusedError(f"a {type(leaf).__name__} is compared by `is`, and is no key")

    def checked(self, value: Any) -> Any:
        """Return a result, unless it is too large."""
        if type(value) is int and value.bit_length() > MAX_BITS:
            raise RefusedError(f"this integer has more than {MAX_BITS} bits")
        if type(value) in (*SEQUENCES, dict):
            if len(value) > MAX_ITEMS:
                raise RefusedError(f"this has more than {MAX_ITEMS:,} items")
            self.spend(len(value) if type(value) is not range else 1)
        return value

    def call(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call something, counting what it goes through, and what it makes: before it does, where that may be large."""
        arguments = [*args, *kwargs.values()]
        self.spend_on(arguments)
        foreseen = None if _bound(arguments) <= _SMALL else _tried(function, args, kwargs)
        self.spend_elements(_elements(foreseen))
        made = function(*args, **kwargs)
        if foreseen is None:
            self.spend_elements(_elements(made))
        return made


def is_array(value: Any) -> bool:
    """Return whether a value is a tensor, or an array or a scalar of NumPy's that holds no Python objects."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and type(value) in (torch.Tensor, torch.nn.Parameter):
        return True
    if numpy is None:
        return False
    is_plain = type(value) is numpy.ndarray and not value.dtype.hasobject
    return is_plain or isinstance(value, (numpy.number, numpy.bool_))


def _dtypes() -> tuple[type, ...]:
    torch = sys.modules.get("torch")
    return (torch.dtype, torch.device, torch.Size) if torch is not None else ()


def _bound(values: Iterable[Any]) -> float:
    """Return a number whose square the elements of what is made of some values do not exceed."""
    bound, waiting = 1.0, list(values)
    while waiting:
        value = waiting.pop()
        if type(value) in (list, tuple):
            waiting += value
        elif type(value) in (int, float) and value:
            bound *= max(abs(value), 1 / abs(value))  # a size, or a step of `arange`
        elif is_array(value):
            bound *= max(1, math.prod(value.shape))
    return bound


def _tried(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    # On the meta device torch works out shapes, and allocates nothing. None where that cannot be had.
    torch = sys.modules.get("torch")
    home = str(getattr(function, "__module__", None) or "torch")
    if torch is None or not home.startswith(("torch", "_operator")):
        return None
    named = {key: _on_meta(value) for key, value in kwargs.items() if key not in ("device", "generator", "out")}
    try:
        with torch.device("meta"), torch.no_grad():
            return function(*map(_on_meta, args), **named)
    except Exception:  # noqa: BLE001  it depends on the content, or is wrong, which the call itself says
        return None


def _elements(made: Any) -> int:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(made, torch.nn.Module):
        return sum(tensor.numel() for tensor in made.parameters())
    return sum(math.prod(each.shape) for each in (made if isinstance(made, tuple) else (made,)) if is_array(each))


def _on_meta(value: Any) -> Any:
    torch = sys.modules["torch"]
    if type(value) in (list, tuple):
        return type(value)(_on_meta(inner) for inner in value)
    if type(value) is torch.Tensor or type(value) is torch.nn.Parameter:
        return value.detach().to("meta")
    if is_array(value):
        return torch.empty(value.shape, dtype=torch.as_tensor(value[:0] if value.ndim else value).dtype)
    return value
