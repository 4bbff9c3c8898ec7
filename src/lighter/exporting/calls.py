"""Calls of a network: their inputs, and the tensors in them by name."""

from __future__ import annotations

import inspect
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_flatten_with_path, tree_map_only, tree_unflatten

from lighter.parts.plain_tensors import plain_tensor

Shape = tuple[int, ...]


class _Tensor:
    def __repr__(self) -> str:
        return "tensor"


_TENSOR = _Tensor()


@dataclass(frozen=True)
class Call:
    """The arguments of one call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def of(cls, network: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
        """Take the arguments of a call, those by keyword in the order of the signature, as `torch.export` has them."""
        order = [*inspect.signature(network.forward).parameters]
        known = sorted(kwargs, key=lambda name: order.index(name) if name in order else len(order))
        return cls(tuple(args), {name: kwargs[name] for name in known})

    @property
    def tensors(self) -> list[Tensor]:
        return [leaf for leaf in tree_flatten((self.args, self.kwargs))[0] if isinstance(leaf, Tensor)]

    @property
    def form(self) -> str:
        """The arguments as text, with `tensor` for each tensor: what is fixed in an exported program."""
        args, kwargs = tree_map_only(Tensor, lambda _: _TENSOR, (self.args, self.kwargs))
        return f"({', '.join([*map(repr, args), *(f'{name}={value!r}' for name, value in kwargs.items())])})"

    def copied(self) -> Call:
        """Copy the tensors, which code that runs later may change, as plain ones."""
        args, kwargs = tree_map_only(
            Tensor, lambda value: plain_tensor(value).detach().clone(), (self.args, self.kwargs)
        )
        return Call(args, kwargs)

    def replaced(self, tensors: Sequence[Tensor]) -> Call:
        """Return the same call with other tensors."""
        leaves, spec = tree_flatten((self.args, self.kwargs))
        rest = iter(tensors)
        args, kwargs = tree_unflatten([next(rest) if isinstance(leaf, Tensor) else leaf for leaf in leaves], spec)
        return Call(args, kwargs)

    def names(self, network: nn.Module) -> list[str]:
        """Name the tensors by the parameters of `forward`: `image`, `inputs_0`, `batch_image`."""
        bound = inspect.signature(network.forward).bind(*self.args, **self.kwargs)
        kinds = {name: parameter.kind for name, parameter in bound.signature.parameters.items()}
        named = []
        for path, leaf in tree_flatten_with_path(dict(bound.arguments))[0]:
            if isinstance(leaf, Tensor):
                words = [str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path]
                # names of `**kwargs` are the arguments' own
                skipped = kinds[words[0]] is inspect.Parameter.VAR_KEYWORD and len(words) > 1
                alone = kinds[words[0]] is inspect.Parameter.VAR_POSITIONAL and len(bound.arguments[words[0]]) == 1
                named.append(_identifier("_".join(words[1:] if skipped else words[:1] if alone else words)))
        return _distinct(named)

    def run(self, network: Any) -> Any:
        return network(*self.args, **self.kwargs)


def shapes(call: Call) -> tuple[Shape, ...]:
    return tuple(tuple(tensor.shape) for tensor in call.tensors)


def output_names(output: object) -> list[str]:
    """Name the tensors of an output: `output`, `output_0`, or the keys of a dict."""
    named = []
    for path, leaf in tree_flatten_with_path(output)[0]:
        if isinstance(leaf, Tensor):
            words = [str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path]
            named.append(_identifier("_".join(words if path and hasattr(path[0], "key") else ["output", *words])))
    return _distinct(named)


def template(call: Call, names: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a call as JSON has them, which the `fill` of `load_pt2.py` makes again.

    Each JSON object within them is a mark with one key, so that nothing of the user's looks like one:
    `{"input": name}` for a tensor, `{"tuple": items}`, `{"dict": pairs}`, and the class's name for what `fill` lacks.
    """
    rest = iter(names)

    def plain(value: object) -> Any:
        kind = type(value)
        if isinstance(value, Tensor):
            return {"input": next(rest)}
        if kind is list:
            return [plain(item) for item in value]  # type: ignore[attr-defined]
        if kind is tuple:
            return {"tuple": [plain(item) for item in value]}  # type: ignore[attr-defined]
        if kind in (dict, OrderedDict):
            pairs = [[plain(key), plain(item)] for key, item in value.items()]  # type: ignore[attr-defined]
            return {kind.__name__: pairs}
        if isinstance(value, float) and not math.isfinite(value):
            return {"float": repr(value)}
        if kind in (bool, int, float, str, type(None)):
            return value
        items, spec = tree_flatten(value, is_leaf=lambda item: item is not value)
        is_container = not spec.is_leaf()
        return {
            f"{kind.__module__}.{kind.__qualname__}": [plain(item) for item in items] if is_container else repr(value)
        }

    args = [plain(value) for value in call.args]
    return {"args": args, "kwargs": {name: plain(value) for name, value in call.kwargs.items()}}


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _distinct(names: Sequence[str]) -> list[str]:
    """Add numbers to names that occur twice, as of the keys `1` and `"1"`."""
    distinct: list[str] = []
    for name in names:
        new, number = name, 1
        while new in distinct or (number > 1 and new in names):
            number += 1
            new = f"{name}_{number}"
        distinct.append(new)
    return distinct


def _identifier(text: str) -> str:
    cleaned = "".join(letter if letter.isalnum() or letter == "_" else "_" for letter in text)
    return cleaned if cleaned[:1].isalpha() or cleaned[:1] == "_" else f"_{cleaned}"
