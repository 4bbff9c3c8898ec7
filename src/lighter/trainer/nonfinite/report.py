"""Describe a NaN or Inf: what it is, where it was found, what may be the cause and what helps."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor
from torch.optim import Optimizer

from lighter.parts.metrics.log_names import loss_name
from lighter.trainer.nonfinite.tensors import (
    NonFinite,
    first_nonfinite,
    largest_value,
    nonfinite_in_batch,
    parameters_of,
)

if TYPE_CHECKING:
    from lighter.trainer import Trainer

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


class Moment(NamedTuple):
    """A moment of a fit: epoch and batch from 0, and the optimizer's steps taken before."""

    epoch: int
    batch: int
    step: int

    def __str__(self) -> str:
        return f"epoch {self.epoch}, batch {self.batch} (from 0), global step {self.step}"


@dataclass(frozen=True)
class Finding:
    """A NaN or Inf, in words."""

    subject: str  # the loss, gradient or weight
    moment: Moment  # when it was met first
    rows: Mapping[str, str]  # what was checked besides, by name
    outcome: str  # the state of the weights or checkpoints
    hint: str  # what usually helps
    # it is a loss; so, of several processes, this is the one where it began
    is_cause: bool = False
    # weights are NaN or Inf, so leaving out steps does not help
    is_hopeless: bool = False

    @property
    def headline(self) -> str:
        return f"{self.subject} in {self.moment}"

    def __str__(self) -> str:
        width = max(len(name) for name in self.rows)
        rows = "\n".join(f"  {name:<{width}}  {text}" for name, text in self.rows.items())
        return f"{self.headline}.\n\n{rows}\n\n{self.outcome}\n{self.hint}\n{_CHOICE}"


def of_loss(loss: Tensor, output: object, batch: object, exempt: Collection[str], trainer: Trainer) -> Finding:
    """Describe a loss that is back-propagated; weights that were NaN or Inf when the fit began are exempt."""
    causes, hint, in_weights = _causes(batch, exempt, trainer)
    losses = output.get("losses") if isinstance(output, Mapping) else None
    parts = {name: part for name, part in losses.items() if name != "total"} if isinstance(losses, Mapping) else {}
    named = [(loss_name(name), part) for name, part in parts.items() if isinstance(part, Tensor)]
    bad = first_nonfinite([*named, ("loss/total", loss)])
    name = f" `{bad.name}`" if bad is not None and parts else ""
    rows = {**_process(trainer), **causes, "learning rate": ", ".join(_rates(trainer))}
    is_taken = in_weights or not trainer.lightning_module.automatic_optimization
    outcome, hint = TAKEN if is_taken else NOT_TAKEN, hint or _LOSS
    subject = f"The loss{name} is {_kind(bad)}"
    return Finding(subject, moment_of(trainer), rows, outcome, hint, is_cause=True, is_hopeless=in_weights)


def of_gradients(optimizer: Optimizer, batch: object, exempt: Collection[str], trainer: Trainer) -> Finding:
    names = {parameter: name for name, parameter in trainer.lightning_module.named_parameters()}
    optimized = {parameter: None for group in optimizer.param_groups for parameter in group["params"]}
    parameters = [p for p in {**names, **optimized} if p in optimized and p.grad is not None]  # in the module's order
    named = {names.get(p, "a parameter that is not the module's"): p for p in parameters}
    bad = first_nonfinite((name, p.grad) for name, p in named.items())
    causes, hint, in_weights = _causes(batch, exempt, trainer)
    finite = "finite" if trainer.world_size == 1 else "finite in this process"
    rows = {
        **_process(trainer),
        "gradient": bad.values if bad is not None else finite,
        "loss": finite if trainer.lightning_module.automatic_optimization else "not known yet",
        **causes,
        "learning rate": ", ".join(_rates(trainer, named[bad.name] if bad is not None else None)),
    }
    subject = f"The gradient of `{bad.name}` is {_kind(bad)}" if bad is not None else "A gradient is not finite"
    outcome = TAKEN if in_weights else NOT_TAKEN
    return Finding(subject, moment_of(trainer), rows, outcome, hint or _GRADIENT, is_hopeless=in_weights)


def _causes(batch: object, exempt: Collection[str], trainer: Trainer) -> tuple[dict[str, str], str, bool]:
    """Look for NaN and Inf in the batch and the weights.

    Returns:
        the rows about them; what helps, or nothing if both are finite; and whether it is in the weights.
    """
    in_batch = nonfinite_in_batch(batch)
    # parameters only: the step itself may have made its buffers so
    parameters = [(name, p) for name, p in parameters_of(trainer.lightning_module) if name not in exempt]
    bad = first_nonfinite(parameters)
    if bad is None:
        largest = max(((largest_value(p), name) for name, p in parameters), default=None)
        weights = "all finite" + (", the largest {:.3g} in `{}`".format(*largest) if largest is not None else "")
    else:
        weights = f"{bad}, before this step"
    data = "; ".join(map(str, in_batch[:3])) if in_batch else "all finite"
    rows = {"batch": data if batch is not None else "not known", "weights": weights}
    return rows, _WEIGHTS if bad is not None else _BATCH if in_batch else "", bad is not None


def of_weight(weight: NonFinite, trainer: Trainer) -> Finding:
    parameter = dict(trainer.lightning_module.named_parameters()).get(weight.name)
    if parameter is None:
        rows = {**_process(trainer), "buffer": weight.values}
        return Finding(f"The buffer `{weight.name}` is {_kind(weight)}", moment_of(trainer), rows, TAKEN, _BUFFER)
    rates = _rates(trainer, parameter) or ["none: no optimizer has it"]
    rows = {**_process(trainer), "weight": weight.values, "learning rate": ", ".join(rates)}
    return Finding(f"The weight `{weight.name}` is {_kind(weight)}", moment_of(trainer), rows, TAKEN, _WEIGHTS)


def of_table(
    moment: Moment, loss: float, gradients: str, weight: NonFinite | None, every: int, trainer: Trainer
) -> Finding:
    """Describe the first loss or gradient in a table that is read `every` so many batches."""
    is_loss = loss - loss != 0
    rows = {
        **_process(trainer),
        "gradients": gradients,
        # which batch made it so cannot be told any more
        "weights": f"{weight}, by now" if weight is not None else "all finite",
        "learning rate": ", ".join(_rates(trainer)),
        "found in": f"{moment_of(trainer)}: a device is read every {every} batches",
    }
    subject = f"The loss is {loss}" if is_loss else "A gradient is not finite"
    return Finding(subject, moment, rows, TAKEN, _LATER, is_cause=is_loss)


def moment_of(trainer: Trainer) -> Moment:
    return Moment(trainer.current_epoch, max(trainer.fit_loop.epoch_loop.batch_idx, 0), trainer.global_step)


def _kind(bad: NonFinite | None) -> str:
    return str(bad.first) if bad is not None and bad.of == 1 else "not finite"


def _process(trainer: Trainer) -> Mapping[str, str]:
    return {"process": f"{trainer.global_rank} of {trainer.world_size}"} if trainer.world_size > 1 else {}


def _rates(trainer: Trainer, parameter: Tensor | None = None) -> list[str]:
    # each once, as parameter groups often share one
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    if parameter is not None:
        groups = [group for group in groups if any(p is parameter for p in group["params"])]
    rates = [group.get("lr") for group in groups]  # which torch asks of no optimizer
    return list(dict.fromkeys("not known" if rate is None else f"{float(rate):.6g}" for rate in rates))
