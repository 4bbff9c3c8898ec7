"""What was found that is not finite, and what is said about it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from lighter.parts.metrics.log_names import loss_name
from lighter.trainer.nonfinite.tensors import Spoiled, first_spoiled, largest_value, look_at, parameters_of, spoiled_in

NOT_TAKEN = "The optimizer's step was not taken: the weights are those of the step before."
TAKEN = "Earlier checkpoints are as they were."
_BATCH = "The data are not finite when they get to the step: look at these samples, and at what loads them."
_WEIGHTS = """\
If it was the optimizer that made the weights so, a smaller learning rate, a warm-up or `gradient_clip_val` usually
helps."""
_BUFFER = """\
A buffer that is to hold such values, a mask say, is registered with `persistent=False`, or has them before the fit
begins. A mean or a variance that a layer keeps is not finite because its inputs were not: look at what comes before it,
in validation too."""
_LOSS = """\
With a finite batch and finite weights it is the network or the loss that overflows: a logarithm, a division or a
square root near 0; half precision, where `bf16-mixed` has the range of 32 bits; or weights that grow, where a smaller
learning rate, a warm-up or `gradient_clip_val` usually helps."""
_GRADIENT = """\
The loss is finite and its derivative is not: that of a square root or a norm at 0, or of a branch that `torch.where`
leaves out; or it overflows in half precision, where `bf16-mixed` has the range of 32 bits."""
_LATER = """\
With `on_non_finite: skip` each step is looked at when it is made, and a message names the first parameter and what
the batch holds."""
_CHOICE = """\
`detect_anomaly: true` names the operation. `on_non_finite: skip` leaves such a step out, `continue` trains on."""


class Place(NamedTuple):
    """A moment of a fit: epoch and batch from 0, and the optimizer's steps taken before."""

    epoch: int
    batch: int
    step: int

    def __str__(self) -> str:
        return f"epoch {self.epoch}, batch {self.batch} (from 0), global step {self.step}"


@dataclass(frozen=True)
class Finding:
    """Something that is not finite.

    Attributes:
        what: the loss, gradient or weight, in words.
        place: where it was met first.
        rows: what was looked at besides, by name.
        outcome: what became of the weights or the checkpoints.
        hint: what usually helps.
        is_cause: whether it is a loss, and so, of several processes, of the one where it began.
        is_hopeless: whether the weights are spoiled, so that leaving out steps does not help.
    """

    what: str
    place: Place
    rows: Mapping[str, str]
    outcome: str
    hint: str
    is_cause: bool = False
    is_hopeless: bool = False

    @property
    def headline(self) -> str:
        """What, and where."""
        return f"{self.what} in {self.place}"

    def __str__(self) -> str:
        width = max(len(name) for name in self.rows)
        rows = "\n".join(f"  {name:<{width}}  {text}" for name, text in self.rows.items())
        return f"{self.headline}.\n\n{rows}\n\n{self.outcome}\n{self.hint}\n{_CHOICE}"


def of_loss(loss: Tensor, output: Any, batch: Any, exempt: Collection[str], trainer: Any) -> Finding:
    """A loss that is not finite.

    Args:
        loss: what is back-propagated.
        output: what the step returned, with its named losses where there are some.
        batch: the step's batch.
        exempt: the weights that were not finite when the fit began.
        trainer: of the fit.
    """
    causes = _causes(batch, exempt, trainer)
    rows = {**_process(trainer), **causes.rows, "learning rate": ", ".join(_rates(trainer))}
    outcome = causes.outcome if trainer.lightning_module.automatic_optimization else TAKEN
    what, hint = _first_loss(loss, output), causes.hint or _LOSS
    return Finding(what, place_in(trainer), rows, outcome, hint, is_cause=True, is_hopeless=causes.in_weights)


def _first_loss(loss: Tensor, output: Any) -> str:
    """The first part of the loss that is not finite, or else the total."""
    losses = output.get("losses") if isinstance(output, Mapping) else None
    parts = {name: part for name, part in losses.items() if name != "total"} if isinstance(losses, Mapping) else {}
    named = ((loss_name(name), part) for name, part in parts.items() if isinstance(part, Tensor))
    found = first_spoiled(named) or look_at("loss/total", loss)
    name = f" `{found.name}`" if found is not None and parts else ""
    return f"The loss{name} is {_kind(found)}"


def of_gradients(optimizer: Any, batch: Any, exempt: Collection[str], trainer: Any) -> Finding:
    """A gradient that is not finite, of a loss that was; arguments as above."""
    rates = {parameter: _rate(group) for group in optimizer.param_groups for parameter in group["params"]}
    names = {parameter: name for name, parameter in trainer.lightning_module.named_parameters()}
    parameters = [p for p in [*names, *rates] if p in rates and p.grad is not None]  # in the order of the module
    named = {names.get(p, "a parameter that is not the module's"): p for p in parameters}
    found = first_spoiled((name, p.grad) for name, p in named.items())
    causes = _causes(batch, exempt, trainer)
    here = "" if trainer.world_size == 1 else " in this process"
    rows = {
        **_process(trainer),
        "gradient": found.values if found is not None else f"finite{here}",
        "loss": f"finite{here}" if trainer.lightning_module.automatic_optimization else "not known yet",
        **causes.rows,
        "learning rate": rates[named[found.name]] if found is not None else ", ".join(_rates(trainer)),
    }
    what = f"The gradient of `{found.name}` is {_kind(found)}" if found is not None else "A gradient is not finite"
    hint = causes.hint or _GRADIENT
    return Finding(what, place_in(trainer), rows, causes.outcome, hint, is_hopeless=causes.in_weights)


class _Causes(NamedTuple):
    """What may be the cause, and is not finite either; and what helps against that, if it is."""

    rows: Mapping[str, str]
    hint: str
    in_weights: bool

    @property
    def outcome(self) -> str:
        """What is left: not the weights of the step before, if one was spoiled then."""
        return TAKEN if self.in_weights else NOT_TAKEN


def _causes(batch: Any, exempt: Collection[str], trainer: Any) -> _Causes:
    in_batch = spoiled_in(batch)
    # of the buffers, what the step itself may have spoiled is no cause
    parameters = [(name, p) for name, p in parameters_of(trainer.lightning_module) if name not in exempt]
    parameter = first_spoiled(iter(parameters))
    weights = f"{parameter}, before this step" if parameter is not None else _largest(parameters)
    data = "; ".join(map(str, in_batch[:3])) if in_batch else "all finite"
    rows = {"batch": data if batch is not None else "not known", "weights": weights}
    hint = _WEIGHTS if parameter is not None else _BATCH if in_batch else ""
    return _Causes(rows, hint, parameter is not None)


def _largest(parameters: Sequence[tuple[str, Tensor]]) -> str:
    found = [(value, name) for name, p in parameters for value in [largest_value(p)]]
    return "all finite" + (", the largest {:.3g} in `{}`".format(*max(found)) if found else "")


def of_weight(weight: Spoiled, trainer: Any) -> Finding:
    """A weight that is not finite, found between steps."""
    parameter = dict(trainer.lightning_module.named_parameters()).get(weight.name)
    if parameter is None:
        rows = {**_process(trainer), "buffer": weight.values}
        return Finding(f"The buffer `{weight.name}` is {_kind(weight)}", place_in(trainer), rows, TAKEN, _BUFFER)
    rates = _rates(trainer, parameter) or ["none: no optimizer has it"]
    rows = {**_process(trainer), "weight": weight.values, "learning rate": ", ".join(rates)}
    return Finding(f"The weight `{weight.name}` is {_kind(weight)}", place_in(trainer), rows, TAKEN, _WEIGHTS)


def of_table(place: Place, loss: float, gradients: str, weight: Spoiled | None, every: int, trainer: Any) -> Finding:
    """What was read from a device after several steps.

    Args:
        place: of the first batch that was not finite.
        loss: its loss.
        gradients: whether its gradients were finite, in words.
        weight: the first weight that is not finite by now.
        every: how often a device is read, in batches.
        trainer: of the fit.
    """
    is_loss = loss - loss != 0
    rows = {
        **_process(trainer),
        "gradients": gradients,
        "weights": f"{weight}, by now" if weight is not None else "all finite",
        "learning rate": ", ".join(_rates(trainer)),
        "found in": f"{place_in(trainer)}: a device is read every {every} batches",
    }
    what = f"The loss is {loss}" if is_loss else "A gradient is not finite"
    return Finding(what, place, rows, TAKEN, _LATER, is_cause=is_loss)


def place_in(trainer: Any) -> Place:
    """Where a fit is."""
    return Place(trainer.current_epoch, max(trainer.fit_loop.epoch_loop.batch_idx, 0), trainer.global_step)


def _kind(found: Spoiled | None) -> str:
    return str(found.first) if found is not None and found.of == 1 else "not finite"


def _process(trainer: Any) -> Mapping[str, str]:
    return {"process": f"{trainer.global_rank} of {trainer.world_size}"} if trainer.world_size > 1 else {}


def _rates(trainer: Any, parameter: Any = None) -> list[str]:
    """The learning rates of all parameter groups, or of those that have a parameter, each once."""
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    if parameter is not None:
        groups = [group for group in groups if any(p is parameter for p in group["params"])]
    return list(dict.fromkeys(map(_rate, groups)))


def _rate(group: Mapping[str, Any]) -> str:
    rate = group.get("lr")  # which torch asks of no optimizer
    return "not known" if rate is None else f"{float(rate):.6g}"
