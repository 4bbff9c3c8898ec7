"""Choose which parameters train: some of a network's, by name, and the rest frozen, or the other way round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lighter.errors import MisfitError, ModuleTypeError
from lighter.parts.describe import describe
from lighter.parts.optimization.parameter_groups import match_all
from lighter.parts.optimization.parameter_types import Named

_FORMS = """It is one of
  finetune_cfg: head                                    # only these parameters train
  finetune_cfg: [head, neck]
  finetune_cfg: {finetune: false, params: [backbone]}   # these are frozen, the rest trains"""


class Finetune:
    """A choice of parameters, checked when it is made; its forms are in `_FORMS`.

    A name stands for the module of that name, or all names that start with it; it may be a pattern, as in parameter
    groups.
    """

    def __init__(self, given: object) -> None:
        named: Any = given.get("params") if isinstance(given, Mapping) else given
        self.names: Any = [named] if isinstance(named, str) else named
        self.finetune = given.get("finetune", True) if isinstance(given, Mapping) else True
        names_fit = isinstance(self.names, (list, tuple)) and all(isinstance(name, str) for name in self.names)
        keys_fit = not isinstance(given, Mapping) or set(given) <= {"finetune", "params"}
        if not (names_fit and self.names and keys_fit and isinstance(self.finetune, bool)):
            raise ModuleTypeError(f"`finetune_cfg` is {describe(given)}. {_FORMS}", "finetune_cfg")

    def apply(self, named: Named, prefixes: Sequence[str] = ()) -> list[str]:
        """Freeze what must not train, and return the names of what was frozen."""
        chosen = match_all(self.names, named, prefixes, "finetune_cfg", "parameter")
        frozen = [
            (name, parameter)
            for name, parameter in named
            if (id(parameter) in chosen) != self.finetune and parameter.requires_grad
        ]
        if len(frozen) == sum(parameter.requires_grad for _, parameter in named):
            raise MisfitError("`finetune_cfg` leaves no parameter to train", "finetune_cfg")
        # `requires_grad` is only taken away: what the user froze never trains
        for _, parameter in frozen:
            parameter.requires_grad_(False)
        return [name for name, _ in frozen]
