"""What was found that is not finite, and what is said about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from lighter.parts.log_names import loss_name
from lighter.trainer.finite.values import Spoiled, first_spoiled, look_at, spoiled_in

_BATCH = "The data are not finite when they get to the step: look at these samples, and at what loads them."
_WEIGHTS = """The weights were so before this step: a smaller learning rate, a warm-up or `gradient_clip_val` usually helps, if it
was the optimizer that made them so."""
_LOSS = """With a finite batch and finite weights it is the network or the loss that overflows: a logarithm, a division or a
square root near 0; half precision, where `bf16-mixed` has the range of 32 bits; or weights that grow, where a smaller
learning rate, a warm-up or `gradient_clip_val` usually helps."""
_GRADIENT = """The loss is finite and its derivative is not: that of a square root or a norm at 0, a branch that `torch.where`
leaves out, or an overflow in half precision, where `bf16-mixed` has the range of 32 bits."""
_STEP = """The optimizer made them so, or something else set them: a smaller learning rate, a warm-up or `gradient_clip_val`
usually helps."""
_CHOICE = """`detect_anomaly: true` names the operation. With `on_non_finite: skip` such a step is left out, with `continue` nobody
looks."""


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
        hint: what usually helps.
        rows: what was looked at besides, by name.
        outcome: what became of the weights.
    """

    what: str
    place: Place
    hint: str
    rows: Mapping[str, str]
    outcome: str

    def __str__(self) -> str:
        width = max(len(name) for name in self.rows)
        rows = "\n".join(f"  {name:<{width}}  {text}" for name, text in self.rows.items())
        return f"{self.what} in {self.place}\n\n{rows}\n\n{self.outcome}\n{self.hint}\n{_CHOICE}"


NOT_TAKEN = "The optimizer's step was not taken: the weights are those of before."
TAKEN = "The weights are spoiled. What was saved before is as it was."


def of_loss(
    loss: Tensor, output: Any, batch: Any, weight: Spoiled | None, trainer: Any, outcome: str = NOT_TAKEN
) -> Finding:
    """A loss that is not finite.

    Args:
        loss: what is back-propagated.
        output: what the step returned, with its named losses where there are some.
        batch: the step's batch.
        weight: the first weight that was not finite then.
        trainer: of the fit.
        outcome: what became of the weights.
    """
    found = spoiled_in(batch)
    hint = _BATCH if found else _WEIGHTS if weight is not None else _LOSS
    rows = {
        **process_row(trainer),
        "batch": batch_row(batch, found),
        "weights": str(weight) if weight is not None else "all finite before this step",
        "learning rate": ", ".join(_rates(trainer)),
    }
    return Finding(f"the loss {_first_loss(loss, output)}", place_in(trainer), hint, rows, outcome)


def _first_loss(loss: Tensor, output: Any) -> str:
    """The first part of the loss that is not finite, or else the total."""
    losses = output.get("losses") if isinstance(output, Mapping) else None
    parts = {name: part for name, part in losses.items() if name != "total"} if isinstance(losses, Mapping) else {}
    found = first_spoiled((loss_name(name), part) for name, part in parts.items() if isinstance(part, Tensor))
    if found is None:
        total = look_at("loss/total" if parts else "loss", loss)
        found = total if total is not None else Spoiled("loss", 1, 1, float("nan"), ())
    return str(found)


def of_gradients(optimizer: Any, batch: Any, trainer: Any) -> Finding:
    """A gradient that is not finite, of a loss that was."""
    named = dict(_gradients(trainer.lightning_module, optimizer))
    found = first_spoiled((name, parameter.grad) for name, (parameter, _) in named.items())
    what, rates = "a gradient of another process is not finite", _rates(trainer)
    if found is not None:
        what = f"the gradient of {found}"
        rates = [str(named[found.name][1])]
    loss = "finite" if trainer.world_size == 1 else "finite in this process, maybe not in another"
    spoiled = spoiled_in(batch)
    rows = {
        **process_row(trainer),
        "loss": loss if trainer.lightning_module.automatic_optimization else "not known yet",
        "batch": batch_row(batch, spoiled),
        "learning rate": ", ".join(rates),
    }
    return Finding(what, place_in(trainer), _BATCH if spoiled else _GRADIENT, rows, NOT_TAKEN)


def of_weight(weight: Spoiled | None, trainer: Any) -> Finding:
    """A weight that is not finite; None if it is another process's."""
    what = f"the weight {weight}" if weight is not None else "a weight or a loss of another process is not finite,"
    rates = _rates(trainer) if weight is None else _rate_of(weight.name, trainer)
    rows = {**process_row(trainer), "learning rate": ", ".join(rates)}
    return Finding(f"{what}; found", place_in(trainer), _STEP, rows, TAKEN)


def place_in(trainer: Any) -> Place:
    """Where a fit is."""
    return Place(trainer.current_epoch, max(trainer.fit_loop.epoch_loop.batch_idx, 0), trainer.global_step)


def process_row(trainer: Any) -> Mapping[str, str]:
    """Which process it is, where there are several."""
    return {"process": f"{trainer.global_rank} of {trainer.world_size}"} if trainer.world_size > 1 else {}


def batch_row(batch: Any, found: Sequence[Spoiled]) -> str:
    """What is not finite in the batch."""
    if batch is None:
        return "not kept"
    return "; ".join(map(str, found[:3])) if found else "all finite"


def _gradients(module: nn.Module, optimizer: Any) -> list[tuple[str, tuple[Any, float]]]:
    """The optimizer's parameters that have gradients and their learning rates, in the order of the module."""
    rates = {parameter: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    named = [(name, parameter) for name, parameter in module.named_parameters() if parameter in rates]
    known = {parameter for _, parameter in named}
    named += [(f"parameter {n} of the optimizer", p) for n, p in enumerate(rates) if p not in known]
    return [(name, (p, rates[p])) for name, p in named if p.grad is not None]


def _rates(trainer: Any) -> list[str]:
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    return list(dict.fromkeys(f"{float(group['lr']):.6g}" for group in groups)) or ["no optimizer"]


def _rate_of(name: str, trainer: Any) -> list[str]:
    weight = dict(trainer.lightning_module.named_parameters()).get(name)
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    mine = [group for group in groups if any(parameter is weight for parameter in group["params"])]
    return [f"{float(group['lr']):.6g}" for group in mine] or ["not of an optimizer"]
