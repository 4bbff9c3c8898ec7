"""The names of logged values, on every rung of the ladder but plain LightningModules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch.optim import Optimizer


def loss_name(name: str) -> str:
    """Return `loss/{name}`; `loss` for the only loss of a step, which has the empty name."""
    return f"loss/{name}" if name else "loss"


def metric_name(name: str) -> str:
    return f"metrics/{name}"


def at_step(mode: str, name: str) -> str:
    return f"{mode}/{name}/step"


def at_epoch(mode: str, name: str) -> str:
    return f"{mode}/{name}/epoch"


def optimizer_values(optimizers: Sequence[Optimizer]) -> Iterator[tuple[str, float]]:
    """Yield name and value of everything that is logged of the optimizers, once an epoch, in mode train.

    `train/optimizer/{Class}/lr/epoch`, and `momentum`, `beta1`, `beta2`, `weight_decay` where the optimizer has them;
    `/group{N}` after the stat if there are several parameter groups; `train/lr` if there is one optimizer.
    Optimizers of one class are called `Adam`, `Adam-1`, ... in the order of `configure_optimizers`.
    """
    seen: dict[str, int] = {}
    for optimizer in optimizers:
        kind = type(optimizer).__name__
        label = f"{kind}-{seen[kind]}" if kind in seen else kind
        seen[kind] = seen.get(kind, 0) + 1
        for number, group in enumerate(optimizer.param_groups, start=1):
            suffix = f"/group{number}" if len(optimizer.param_groups) > 1 else ""
            stats: dict[str, Any] = {stat: group[stat] for stat in ("lr", "momentum", "weight_decay") if stat in group}
            stats |= {f"beta{index}": beta for index, beta in enumerate(group.get("betas", ())[:2], start=1)}
            for stat, value in stats.items():
                yield at_epoch("train", f"optimizer/{label}/{stat}{suffix}"), float(value)
    if len(optimizers) == 1:
        yield "train/lr", float(optimizers[0].param_groups[0]["lr"])
