"""Losses and metrics of all processes with data of their own, reduced in as few exchanges as possible.

torchmetrics gathers each state of each metric on its own, in three exchanges. At the end of a short epoch those take
longer than its steps. States that are sums are reduced here, all those of one dtype in one exchange.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor, distributed
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities.distributed import gather_all_tensors

from lighter._lightning.metrics import is_summed_over_processes, states_of
from lighter.parallel.ranks import data_group

if TYPE_CHECKING:
    from lighter.parts.metrics.batch_values import Metrics
    from lighter.parts.metrics.meter import LossMean

Value = TypeVar("Value")
_SUMMED = frozenset({torch.float32, torch.float64, torch.int32, torch.int64})  # what every backend can add


class Measured(NamedTuple):
    """The measurements of all processes."""

    # the mean of each loss, over the samples of all processes
    means: dict[str, Tensor]
    # whether any process updated the metrics
    updated: bool
    # by the id of a state of this process: that tensor, which keeps the id its own, and its sum over all processes
    sums: dict[int, tuple[Tensor, Tensor]]


def measured_everywhere(losses: Mapping[str, LossMean], metrics: Metrics | None, updated: bool) -> Measured:
    """Reduce the losses and metrics of all processes; each of them has to call this."""
    if not (distributed.is_available() and distributed.is_initialized()):
        means = {name: loss.total / loss.weight for name, loss in losses.items() if loss.total is not None}
        return Measured(means, updated, {})
    names, states = sorted(losses), states_that_add_up(metrics) if updated else []
    # processes may have seen other losses and batches: an exchange of tensors that do not fit hangs, or adds one to
    # another
    if not all_agree((names, updated, [(tuple(state.shape), state.dtype) for state in states])):
        seen = of_all_processes((names, updated))
        names, states = sorted({name for theirs, _ in seen for name in theirs}), []
        updated = any(theirs for _, theirs in seen)
    of_losses, *of_states = sum_everywhere([_loss_sums(names, losses), *states])
    means = dict(zip(names, (of_losses[0] / of_losses[1]).float().unbind(), strict=True))
    return Measured(means, updated, {id(mine): (mine, total) for mine, total in zip(states, of_states, strict=True)})


def _loss_sums(names: Sequence[str], losses: Mapping[str, LossMean]) -> Tensor:
    """Return the sums of the losses and of their weights: a tensor of shape (2, losses)."""
    device = next((loss.total.device for loss in losses.values() if loss.total is not None), _device())
    # a process that has not seen a loss adds nothing to it, and takes part
    sums = torch.zeros(2, len(names), dtype=torch.float64, device=device)
    for index, name in enumerate(names):
        loss = losses.get(name)
        if loss is not None and loss.total is not None:
            sums[0, index], sums[1, index] = loss.total, loss.weight
    return sums


def _device() -> torch.device:
    # NCCL exchanges what is on a GPU alone
    return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")


def of_all_processes(value: Value) -> list[Value]:
    """Return the values of all processes, by rank."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [value]
    group = data_group()
    values: list[Any] = [None] * distributed.get_world_size(group)
    distributed.all_gather_object(values, value, group)
    return values


def all_agree(value: object) -> bool:
    """Return whether all processes have the same value, by the hash of its `repr`."""
    # not `hash`, which is another in each process; 7 bytes, so that minus it fits into an int64
    digest = int.from_bytes(hashlib.blake2b(repr(value).encode(), digest_size=7).digest(), "big")
    largest = torch.tensor([digest, -digest], device=_device())  # the largest, and minus the smallest
    distributed.all_reduce(largest, distributed.ReduceOp.MAX, data_group())
    high, minus_low = largest.tolist()
    return bool(high == -minus_low)


def sum_everywhere(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Sum tensors over all processes, which have the same shapes and dtypes in the same order."""
    kinds = {(tensor.dtype, tensor.device): None for tensor in tensors}
    sums: dict[int, Tensor] = {}
    for kind in kinds:
        alike = [tensor for tensor in tensors if (tensor.dtype, tensor.device) == kind]
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in alike])
        distributed.all_reduce(flat, group=data_group())
        parts = torch.split(flat, [tensor.numel() for tensor in alike])
        sums |= {id(tensor): part.view(tensor.shape) for tensor, part in zip(alike, parts, strict=True)}
    return [sums[id(tensor)] for tensor in tensors]


def states_that_add_up(metrics: Metrics | None) -> list[Tensor]:
    """Return the tensor states of metrics that are summed over processes, those of a compute group once."""
    states = [state for metric in _members(metrics) if _adds_up(metric) for state in states_of(metric)]
    return list({id(state): state for state in states}.values())


def _members(metrics: Metrics | None) -> list[Metric]:
    if isinstance(metrics, MetricCollection):
        return list(metrics.values(copy_state=False))  # members of a compute group get the states of its first
    return [metrics] if metrics is not None else []


def _adds_up(metric: Metric) -> bool:
    return (
        is_summed_over_processes(metric)
        and all(isinstance(state, Tensor) and state.dtype in _SUMMED for state in states_of(metric))
        # a metric of metrics computes from what those gather
        and not any(isinstance(child, Metric) for child in metric.children())
    )


@contextmanager
def gathered(metrics: Metrics, sums: Mapping[int, tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Let metrics compute from these sums; states that are not among them are gathered by torchmetrics."""

    def gather(state: Tensor, group: object = None) -> list[Tensor]:
        mine, total = sums.get(id(state), (None, None))
        # by identity: a state that was replaced since may have the id of an old one
        return [total] if mine is state and total is not None else gather_all_tensors(state, group or data_group())

    taken = [metric for metric in _members(metrics) if sums and _adds_up(metric)]
    if data_group() is not None:  # which torchmetrics does not know of; metrics within metrics gather too
        every = (each for metric in _members(metrics) for each in metric.modules())
        taken = [each for each in every if isinstance(each, Metric) and each.dist_sync_fn is None]
    for metric in taken:
        metric.dist_sync_fn = gather
    try:
        yield
    finally:
        for metric in taken:
            # as it was: only metrics without one are taken
            metric.dist_sync_fn = None
