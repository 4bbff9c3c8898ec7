"""Calls of a network: their inputs, and the tensors in them by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_flatten_with_path, tree_map_only, tree_unflatten

from lighter.parts.plain_tensors import plain_tensor

Shape = tuple[int, ...]


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
    def constants(self) -> list[Any]:
        """The arguments that are no tensors, which become constants of the exported program."""
        return [leaf for leaf in tree_flatten((self.args, self.kwargs))[0] if not isinstance(leaf, Tensor)]

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
        return named

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
    return named


def template(value: object, names: Sequence[str]) -> Any:
    """Return a value of containers as JSON has it, with `{"input": name}` for each tensor."""
    rest = iter(names)

    def plain(value: object) -> Any:
        if isinstance(value, Tensor):
            return {"input": next(rest)}
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return value if isinstance(value, (bool, int, float, str, type(None))) else repr(value)

    return plain(value)


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _identifier(text: str) -> str:
    cleaned = "".join(letter if letter.isalnum() or letter == "_" else "_" for letter in text)
    return cleaned if cleaned[:1].isalpha() or cleaned[:1] == "_" else f"_{cleaned}"
