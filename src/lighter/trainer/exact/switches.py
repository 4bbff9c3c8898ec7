"""What hooks have switched on or off in a module since the fit began: training or evaluation mode, what trains.

Neither is in a `state_dict`. Hooks that begin an epoch freeze BatchNorm by `eval()` or thaw a backbone by
`requires_grad_()`, and are not called again for an epoch that goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

State = Mapping[str, Mapping[str, bool]]


class Switches:
    """The changes of one fit. What a module is when the fit begins is the user's to say, in a fit that goes on too."""

    def __init__(self) -> None:
        self._first: dict[str, dict[str, bool]] | None = None

    def begin(self, module: Any) -> None:
        """The fit has begun: changes are counted from here."""
        self._first = _all(module)

    def state(self, trainer: Any) -> State:
        """What is otherwise than it was then."""
        if self._first is None:
            return {}
        now = _all(trainer.lightning_module)
        if trainer.validating:  # when everything is in evaluation mode for a while
            now["modes"] |= trainer.fit_loop.epoch_loop.val_loop._module_mode.mode
        return {kind: _changed(self._first[kind], now[kind]) for kind in now}

    def load(self, module: Any, state: State) -> None:
        """Switch again what was switched, which stays a change, though a callback may have made it by now."""
        modes, trains = state.get("modes", {}), state.get("trains", {})
        for kind, first in (self._first or {}).items():
            first.update({name: not is_on for name, is_on in state.get(kind, {}).items()})
        for name, part in module.named_modules() if modes else ():
            part.training = modes.get(name, part.training)
        for name, parameter in module.named_parameters() if trains else ():
            parameter.requires_grad_(trains.get(name, parameter.requires_grad))


def _all(module: Any) -> dict[str, dict[str, bool]]:
    return {
        "modes": {name: part.training for name, part in module.named_modules()},
        "trains": {name: parameter.requires_grad for name, parameter in module.named_parameters()},
    }


def _changed(first: Mapping[str, bool], now: Mapping[str, bool]) -> dict[str, bool]:
    return {name: is_on for name, is_on in now.items() if first.get(name, is_on) != is_on}
