"""What expressions may do with values, and how much of it: operators, functions, attributes, each written down here.

Values are numbers, strings, lists, tuples, dicts, sets and ranges; tensors and NumPy arrays; and whatever a reference
leads to, of which nothing can be asked but what the tables below name. No attribute is read that is not in a table.
"""

from __future__ import annotations

import ast
import math
import operator
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

from lighter.config.safe.mode import RefusedError

MAX_ITEMS = 100_000  # of one list or text
MAX_BITS = 1024  # of an integer
MAX_ELEMENTS = 100_000_000  # of an array
MAX_WORK = 1_000_000  # steps and items of one expression
MAX_ALL_ELEMENTS = 1_000_000_000  # of the arrays that the expressions of a config go through or make
MAX_SECONDS = 30.0  # of processor time for the expressions of a config: a backstop, for what is counted too low
_SMALL = 1000
_MAX_DIGITS = 1000  # of `round`

_SCALARS = (bool, int, float, str, type(None))
_CONTAINERS = (list, tuple, dict, set, range)
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
_METHODS: dict[type, str] = {
    str: "endswith lower removeprefix removesuffix split startswith strip upper",
    dict: "items keys values",
}
_OF_TENSORS = (
    "abs all amax amin any argmax argmin bool clamp clone contiguous cos detach dim double exp flatten float half int"
    " item log log_softmax long max mean median min numel permute relu reshape round sigmoid sin size softmax sqrt"
    " squeeze std sum t tanh transpose unsqueeze var view"
)
_FACTS_OF_TENSORS = "T dtype device ndim shape"
_OF_ARRAYS = "argmax argmin flatten item max mean min ravel reshape round squeeze std sum transpose var"
_FACTS_OF_ARRAYS = "T dtype ndim shape size"
_OF_MODULES = "children modules named_children named_modules named_parameters parameters"


class Work:
    """Counts what the expressions of a config do, and ends one when that is too much."""

    def __init__(self) -> None:
        self.left = MAX_WORK
        self.elements = MAX_ALL_ELEMENTS
        self.seconds = MAX_SECONDS
        self._started = 0.0

    @contextmanager
    def expression(self) -> Iterator[None]:
        """One expression: its steps count anew; elements and time count on."""
        self.left, self._started = MAX_WORK, time.thread_time()
        try:
            yield
        finally:
            self.seconds -= time.thread_time() - self._started

    def spend(self, amount: int = 1) -> None:
        """Count some steps or items.

        Raises:
            RefusedError: there were too many.
        """
        self.left -= amount
        if self.left < 0:
            raise RefusedError(f"this expression takes more than {MAX_WORK:,} steps")
        if time.thread_time() - self._started > self.seconds:
            raise RefusedError(f"the expressions of this config take more than {MAX_SECONDS:.0f} seconds")

    def spend_elements(self, amount: int) -> None:
        """Count some elements of arrays.

        Raises:
            RefusedError: there were too many.
        """
        self.spend()
        self.elements -= amount
        if amount > MAX_ELEMENTS:
            raise RefusedError(f"this array has more than {MAX_ELEMENTS:,} elements")
        if self.elements < 0:
            raise RefusedError(f"the arrays of this config's expressions have more than {MAX_ALL_ELEMENTS:,} elements")

    def spend_on(self, values: Iterable[Any]) -> None:
        """Count all that is in some values, list in list, before something goes through them."""
        waiting = list(values)
        while waiting:
            here = waiting.pop()
            self.spend()
            if type(here) is dict:
                waiting += [*here.keys(), *here.values()]
            elif type(here) in (list, tuple, set):
                waiting += here
            elif type(here) is str:
                self.spend(len(here))
            elif is_array(here):
                self.spend_elements(math.prod(here.shape))

    def call(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call something, counting what it goes through, and what it makes: before it does, where that may be large."""
        given = [*args, *kwargs.values()]
        self.spend_on(given)
        foreseen = None if _bound(given) <= _SMALL else _tried(function, args, kwargs)
        self.spend_elements(_elements(foreseen))
        made = function(*args, **kwargs)
        if foreseen is None:
            self.spend_elements(_elements(made))
        return made


def _bound(values: Iterable[Any]) -> float:
    """A number whose square the elements of what is made of some values do not exceed."""
    bound, waiting = 1.0, list(values)
    while waiting:
        here = waiting.pop()
        if type(here) in (list, tuple):
            waiting += here
        elif type(here) in (int, float) and here:
            bound *= max(abs(here), 1 / abs(here))  # a size, or a step of `arange`
        elif is_array(here):
            bound *= max(1, math.prod(here.shape))
    return bound


def _tried(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return the result of a function or network of torch's without its content; None where that cannot be had."""
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
    """How many elements there are in the arrays that were made."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(made, torch.nn.Module):
        return sum(tensor.numel() for tensor in made.parameters())
    return sum(math.prod(part.shape) for part in (made if isinstance(made, tuple) else (made,)) if is_array(part))


def _on_meta(value: Any) -> Any:
    """The same with tensors that have a shape, and no content."""
    torch = sys.modules["torch"]
    if type(value) in (list, tuple):
        return type(value)(_on_meta(inner) for inner in value)
    if type(value) is torch.Tensor or type(value) is torch.nn.Parameter:
        return value.detach().to("meta")
    if is_array(value):
        return torch.empty(value.shape, dtype=torch.as_tensor(value[:0] if value.ndim else value).dtype)
    return value


def checked(value: Any, work: Work) -> Any:
    """A result, unless it is too large."""
    kind = type(value)
    if kind is int and value.bit_length() > MAX_BITS:
        raise RefusedError(f"this integer has more than {MAX_BITS} bits")
    if kind in (str, list, tuple, dict, set, range):
        if len(value) > MAX_ITEMS:
            raise RefusedError(f"this has more than {MAX_ITEMS:,} items")
        work.spend(len(value) if kind is not range else 1)
    return value


def counted(value: Any, work: Work) -> Any:
    """A result, unless what is in it, list in list, is too much for who gets it."""
    waiting = [value]
    while waiting:
        here = waiting.pop()
        work.spend()
        if type(here) in (list, tuple, set):
            waiting += here
        elif type(here) is dict:
            waiting += here.values()
    return value


def binary(symbol: ast.operator, left: Any, right: Any, work: Work) -> Any:
    """`left + right` and the like, if the result cannot be large."""
    if is_array(left) or is_array(right):
        if not all(is_array(side) or type(side) in (bool, int, float) for side in (left, right)):
            raise RefusedError("an array is calculated with arrays and numbers")
        _check_shape(left, right, work)
        return _BINARY[type(symbol)](left, right)
    if not all(type(side) in (bool, int, float, str, list, tuple, set) for side in (left, right)):
        raise RefusedError(f"`{_spelling(symbol)}` works on numbers, texts, lists, tensors and arrays")
    if isinstance(symbol, ast.Mod) and type(left) is str:
        raise RefusedError("text is put together by `+` or an f-string, not by `%`")
    if isinstance(symbol, (ast.Pow, ast.LShift)):
        _check_growth(symbol, left, right)
    if isinstance(symbol, ast.Mult):
        for sequence, times in ((left, right), (right, left)):
            if (
                type(sequence) in (str, list, tuple)
                and type(times) in (bool, int)
                and len(sequence) * times > MAX_ITEMS
            ):
                raise RefusedError(f"this has more than {MAX_ITEMS:,} items")
    for side in (left, right):
        work.spend(len(side) if type(side) in (str, list, tuple, set) else 1)
    return checked(_BINARY[type(symbol)](left, right), work)


def _check_shape(left: Any, right: Any, work: Work) -> None:
    """Two arrays may be broadcast to a shape that is far larger than theirs."""
    shapes = [tuple(getattr(side, "shape", ()))[::-1] for side in (left, right)]
    work.spend_elements(math.prod(max(sizes) for sizes in zip_longest(*shapes, fillvalue=1)))


def _check_growth(symbol: ast.operator, left: Any, right: Any) -> None:
    if not all(type(side) in (bool, int, float) for side in (left, right)):
        raise RefusedError(f"`{_spelling(symbol)}` works on numbers, tensors and arrays")
    if type(left) is float or type(right) is float:
        return
    bits = int(left).bit_length()
    grown = bits + right if isinstance(symbol, ast.LShift) else bits * abs(right)
    if grown > 2 * MAX_BITS:
        raise RefusedError(f"this integer has more than {MAX_BITS} bits")


def unary(symbol: ast.unaryop, value: Any, work: Work) -> Any:
    """`-value` and the like."""
    if type(value) not in (bool, int, float) and not is_array(value):
        raise RefusedError("a sign stands before a number, a tensor or an array")
    work.spend_on([value])
    return checked(_UNARY[type(symbol)](value), work)


def compare(symbol: ast.cmpop, left: Any, right: Any, work: Work) -> Any:
    """`left < right` and the like; `is` works on anything, the rest on plain values."""
    if isinstance(symbol, (ast.Is, ast.IsNot)):
        return (left is right) == isinstance(symbol, ast.Is)
    if (is_array(left) or is_array(right)) and not isinstance(symbol, (ast.In, ast.NotIn)):
        if not all(is_array(side) or type(side) in (bool, int, float) for side in (left, right)):
            raise RefusedError("an array is compared with arrays and numbers")
        _check_shape(left, right, work)
    else:
        measure(left, work)
        measure(right, work)
        if type(right) is range and type(left) not in (bool, int):  # which is looked for item by item
            work.spend(len(right))
    return _COMPARISONS[type(symbol)](left, right)


def measure(value: Any, work: Work, *others: type) -> None:
    """Count all that is in a plain value, however deep, before something goes through it.

    Args:
        others: what may be in it beside plain values.

    Raises:
        RefusedError: there is too much, or something that is not plain.
    """
    waiting = [value]
    while waiting:
        here = waiting.pop()
        work.spend()
        if type(here) is dict:
            waiting += [*here.keys(), *here.values()]
        elif type(here) in (list, tuple, set):
            waiting += here
        elif type(here) is str:
            work.spend(len(here))
        elif type(here) not in (*_SCALARS, range, *others) and not _is_dtype(here) and not (others and is_array(here)):
            raise RefusedError(f"a {type(here).__name__} is compared by `is`, and is no key")


def truth(value: Any) -> bool:
    """What `if value` sees."""
    if type(value) in (*_SCALARS, *_CONTAINERS) or is_array(value):
        return bool(value)
    raise RefusedError(f"a {type(value).__name__} is neither true nor false; `is not None` can be asked")


def item(value: Any, key: Any, work: Work) -> Any:
    """`value[key]`."""
    measure((key.start, key.stop, key.step) if type(key) is slice else key, work, slice, type(...))
    if type(value) is dict or _is_bunch(value):
        return dict.__getitem__(value, key)
    if is_array(value):
        return work.call(operator.getitem, (value, key), {})
    if type(value) in (str, list, tuple, range):
        return checked(value[key], work)
    torch = sys.modules.get("torch")
    if torch is not None and type(value) in (torch.Size, torch.nn.Sequential, torch.nn.ModuleList):
        return value[key]
    raise RefusedError(f"a {type(value).__name__} has no items that safe mode could take")


def attribute(value: Any, name: str, work: Work) -> tuple[Any, bool]:
    """`value.name`, and whether it is a method, which can only be called."""
    facts, methods, owner = _known(value)
    if name in facts:
        return getattr(value, name), False
    if name in methods:
        return _method(getattr(owner, name), value, work), True
    if _is_bunch(value) and dict.__contains__(value, name):
        return dict.__getitem__(value, name), False
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.nn.Module):
        for parts in ("_modules", "_parameters"):
            held = object.__getattribute__(value, "__dict__").get(parts)
            if isinstance(held, dict) and dict.__contains__(held, name):
                return dict.__getitem__(held, name), False
    raise RefusedError(f"safe mode does not read `{name}` of a {type(value).__name__}")


def _method(function: Callable[..., Any], value: Any, work: Work) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return work.call(function, (value, *args), kwargs)

    return call


def _known(value: Any) -> tuple[Iterable[str], Iterable[str], type]:
    """What may be read of a value, what may be called, and the class whose methods are called."""
    kind = type(value)
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if kind in _METHODS:
        return (), _METHODS[kind].split(), kind
    if torch is not None and kind in (torch.Tensor, torch.nn.Parameter):
        return _FACTS_OF_TENSORS.split(), _OF_TENSORS.split(), torch.Tensor
    if torch is not None and kind is torch.Generator:
        return (), ("manual_seed", "initial_seed"), kind
    if torch is not None and isinstance(value, torch.nn.Module):
        return (), _OF_MODULES.split(), torch.nn.Module
    if numpy is not None and kind is numpy.ndarray and not value.dtype.hasobject:
        return _FACTS_OF_ARRAYS.split(), _OF_ARRAYS.split(), kind
    return (), (), kind


def is_array(value: Any) -> bool:
    """Whether a value is a tensor, or an array or a scalar of NumPy's that holds no Python objects."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and type(value) in (torch.Tensor, torch.nn.Parameter):
        return True
    if numpy is None:
        return False
    return (type(value) is numpy.ndarray and not value.dtype.hasobject) or isinstance(
        value, (numpy.number, numpy.bool_)
    )


def _is_bunch(value: Any) -> bool:
    """Whether a value is the dict that scikit-learn returns its data in."""
    utils = sys.modules.get("sklearn.utils")
    return utils is not None and type(value) is utils.Bunch


def _is_dtype(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and type(value) in (torch.dtype, torch.device, torch.Size)


def _spelling(symbol: ast.operator) -> str:
    return {ast.Pow: "**", ast.LShift: "<<", ast.Mult: "*", ast.Add: "+"}.get(type(symbol), type(symbol).__name__)


def text(value: Any) -> str:
    """`str(value)`, of a number, a text, a boolean or None."""
    if type(value) not in _SCALARS:
        raise RefusedError(f"a {type(value).__name__} is not written as text")
    return str(value)


def _items(value: Any, work: Work) -> list[Any]:
    """What iterating over a value gives, of those that safe mode iterates over."""
    if type(value) not in (str, *_CONTAINERS, type({}.keys()), type({}.values()), type({}.items())):
        raise RefusedError(f"safe mode does not go through a {type(value).__name__}")
    if len(value) > MAX_ITEMS:
        raise RefusedError(f"this has more than {MAX_ITEMS:,} items")
    work.spend(len(value))
    return list(value)


def iterate(value: Any, work: Work) -> list[Any]:
    """The items that a comprehension goes through."""
    return _items(value, work)


def _plain_items(args: tuple[Any, ...], work: Work) -> list[Any]:
    """The items of one list, or the arguments, all of them plain."""
    found = _items(args[0], work) if len(args) == 1 else list(args)
    measure(found, work)
    return found


def _sum(work: Work, values: Any, start: Any = 0) -> Any:
    total = start
    for value in [start, *_items(values, work)]:
        if type(value) not in (bool, int, float):
            raise RefusedError("`sum` adds numbers")
    for value in _items(values, work):
        total = checked(total + value, work)
    return total


def _round(work: Work, value: Any, digits: Any = None) -> Any:
    if type(value) not in (bool, int, float) or type(digits) not in (int, type(None)):
        raise RefusedError("`round` takes a number and a number of digits")
    if digits is not None and abs(digits) > _MAX_DIGITS:
        raise RefusedError(f"`round` takes at most {_MAX_DIGITS} digits")
    return round(value, digits)


def _number(kind: type) -> Callable[..., Any]:
    def make(work: Work, value: Any = 0) -> Any:
        if type(value) not in (bool, int, float, str) and not is_array(value):
            raise RefusedError(f"`{kind.__name__}` takes a number or a text")
        work.spend_on([value])
        return kind(value)

    return make


def _length(work: Work, value: Any) -> int:
    if type(value) in (str, *_CONTAINERS) or is_array(value) or _is_bunch(value):
        return len(value)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, (torch.Size, torch.utils.data.Dataset)):
        return len(value)
    raise RefusedError(f"safe mode does not ask a {type(value).__name__} for its length")


def _range(work: Work, *bounds: Any) -> range:
    if not all(type(bound) in (bool, int) for bound in bounds):
        raise RefusedError("`range` takes integers")
    made = range(*bounds)
    if made and (abs(made[0]) | abs(made[-1])).bit_length() > 62:
        raise RefusedError("`range` takes integers of at most 62 bits")
    return made


def _absolute(work: Work, value: Any) -> Any:
    if type(value) not in (bool, int, float) and not is_array(value):
        raise RefusedError("`abs` takes a number")
    return abs(value)


def _dict(work: Work, pairs: Any = (), **named: Any) -> dict:
    given = list(pairs.items()) if type(pairs) is dict else _items(pairs, work)
    made = {}
    for pair in given:
        key, value = _items(pair, work)
        measure(key, work)
        made[key] = value
    return {**made, **named}


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": _absolute,
    "all": lambda work, values: all(truth(value) for value in _items(values, work)),
    "any": lambda work, values: any(truth(value) for value in _items(values, work)),
    "bool": lambda work, value=False: truth(value),
    "dict": _dict,
    "enumerate": lambda work, values, start=0: [
        (binary(ast.Add(), start, index, work), value) for index, value in enumerate(_items(values, work))
    ],
    "float": _number(float),
    "int": _number(int),
    "len": _length,
    "list": lambda work, values=(): _items(values, work),
    "max": lambda work, *values: max(_plain_items(values, work)),
    "min": lambda work, *values: min(_plain_items(values, work)),
    "range": _range,
    "reversed": lambda work, values: _items(values, work)[::-1],
    "round": _round,
    "sorted": lambda work, values, reverse=False: sorted(_plain_items((values,), work), reverse=truth(reverse)),
    "str": lambda work, value="": text(value),
    "sum": _sum,
    "tuple": lambda work, values=(): tuple(_items(values, work)),
    "zip": lambda work, *values: list(zip(*(_items(value, work) for value in values), strict=False)),
}
