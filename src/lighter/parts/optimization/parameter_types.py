"""Parameters by kind: biases, weights of normalization layers, parameters of modules of some class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

from torch import nn
from torch.nn import Parameter

from lighter._lightning.torch_internals import BatchNorms

_NORMS = (BatchNorms, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_NORM_NAME = re.compile(r"Norm(\d+d)?$")  # LlamaRMSNorm, LayerNorm2d: layers of other libraries
_BIAS_NAME = re.compile(r"(^|_)bias(_|$)")  # bias, in_proj_bias, bias_ih_l0
KINDS = ("norm", "bias")

Named = Sequence[tuple[str, Parameter]]


class NamedParameters(list[tuple[str, Parameter]]):
    """Parameters of a module with their names, and the classes of the modules that hold them."""

    def __init__(self, named: Named, module: nn.Module) -> None:
        super().__init__(named)
        self._holders: dict[int, set[type]] = {}
        for each in module.modules():
            for parameter in each.parameters(recurse=False):
                self._holders.setdefault(id(parameter), set()).add(type(each))

    def holders(self, parameter: Parameter) -> set[type]:
        # several, if it is shared
        return self._holders.get(id(parameter), set())


def matches_type(kind: str | type, name: str, parameter: Parameter, named: Named) -> bool:
    """Return whether a parameter is of a kind, `norm` or `bias`, or held by a module of a class or its name."""
    if kind == "bias":
        return _BIAS_NAME.search(name.rpartition(".")[-1]) is not None
    # a plain list of parameters knows no modules
    holders = named.holders(parameter) if isinstance(named, NamedParameters) else set()
    if kind == "norm":
        return any(issubclass(holder, _NORMS) or _NORM_NAME.search(holder.__name__) for holder in holders)
    bases = {base for holder in holders for base in holder.__mro__}
    if isinstance(kind, type):
        return kind in bases
    # only the package is compared, as classes are often imported from elsewhere than defined: torch.nn.LayerNorm
    path, _, called = kind.rpartition(".")
    package = path.partition(".")[0]
    return any(base.__name__ == called and package in ("", base.__module__.partition(".")[0]) for base in bases)


def no_such_type(kind: str | type, named: Named, index: int) -> tuple[str, int, str]:
    """Return the message for a type that no parameter has, the index of its group, and a hint."""
    text = kind.__name__ if isinstance(kind, type) else kind
    holders = [holder for _, p in named for holder in named.holders(p)] if isinstance(named, NamedParameters) else []
    names = sorted({holder.__name__ for holder in holders})
    close = get_close_matches(text.rpartition(".")[-1], [*names, *KINDS], n=1)
    hint = f"Did you mean `{close[0]}`?" if close else f"There is: {', '.join(names)}; or `norm`, `bias`."
    return f"no parameter is of the type `{text}`", index, hint
