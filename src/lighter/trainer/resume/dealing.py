"""The rest of an interrupted epoch on another number of processes: each sample once, whoever gets it.

A distributed sampler deals the order of the epoch like cards, so what all processes have trained is the beginning of
that order. The rest is dealt anew, to the processes that there are now. Each has as many steps as every other, so the
last batches may be smaller; only where there are fewer samples than processes, some come twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from typing import Any, NamedTuple, TypedDict

import torch
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, RandomSampler, SequentialSampler

PLAIN = {kind.__name__: kind for kind in (RandomSampler, SequentialSampler)}


class Order(TypedDict):
    """The order of a dataloader's samples and their distribution over processes, as plain data."""

    kind: str  # of the sampler: its class
    samples: int  # of the dataset
    processes: int  # that they were dealt to
    batch: int  # samples of a batch
    shuffle: bool
    seed: int  # of a distributed sampler
    drops: bool  # whether the last samples are left out, for equal shares or for full batches


class Deal(NamedTuple):
    """The rest of an epoch: the batches of this process."""

    epoch: int
    batches: list[list[int]]


def order_of(loader: Any) -> Order | None:
    """Return how a loader orders and deals its samples, to one process or by a distributed sampler; None if unknown."""
    batches = getattr(loader, "batch_sampler", None)
    batches = getattr(batches, "inner", batches)  # ours stands for it
    if type(loader) is not DataLoader or type(batches) is not BatchSampler:
        return None
    sampler: Any = batches.sampler
    is_plain = type(sampler) in PLAIN.values()
    if not (is_plain or type(sampler) is DistributedSampler):
        return None
    if type(sampler) is RandomSampler and (sampler.replacement or sampler.num_samples != len(sampler.data_source)):
        return None
    size = len(sampler.data_source if is_plain else sampler.dataset)
    return Order(
        kind=type(sampler).__name__,
        samples=size,
        processes=1 if is_plain else sampler.num_replicas,
        batch=batches.batch_size,
        shuffle=type(sampler) is RandomSampler or bool(getattr(sampler, "shuffle", False)),
        seed=getattr(sampler, "seed", 0),
        drops=batches.drop_last or bool(getattr(sampler, "drop_last", False)),
    )


def deal(then: Order, loader: DataLoader, epoch: int, trained: int, key: bytes) -> Deal:
    """Deal what is left of an epoch, of which each process of then has `trained` so many batches.

    `key` is that of the epoch's order. The loader has an order of its own now, of which only the dealing counts.
    """
    sampler: Any = getattr(loader.batch_sampler, "inner", loader.batch_sampler)
    left = _order(then, epoch, key)[trained * then["batch"] * then["processes"] :]
    dealt_by = sampler.sampler
    rank, processes = (dealt_by.rank, dealt_by.num_replicas) if isinstance(dealt_by, DistributedSampler) else (0, 1)
    return Deal(epoch, batches_of(left, rank, processes, sampler.batch_size, drops=sampler.drop_last))


def batches_of(left: Sequence[int], rank: int, processes: int, size: int, *, drops: bool) -> list[list[int]]:
    """Return the batches of one of the processes, of a `size` at most; each has as many as every other."""
    if not left:
        return []
    if drops:
        left = left[: len(left) // (processes * size) * processes * size]
    steps = math.ceil(math.ceil(len(left) / processes) / size)
    own = list(left[rank::processes])
    if len(own) < steps:
        own += [left[rank % len(left)]]
    batches = [own[start : start + size] for start in range(0, len(own), size)]
    if len(batches) < steps:  # others have one sample more
        batches[-1:] = [batches[-1][:-1], batches[-1][-1:]]
    return batches


def _order(then: Order, epoch: int, key: bytes) -> list[int]:
    """Return the samples of an epoch in their order, without those that a sampler repeats for equal shares."""
    dataset: Any = range(then["samples"])
    if then["kind"] in PLAIN:
        torch.default_generator.manual_seed(int.from_bytes(key[:8], "little"))  # as `KeyedBatches` does
        order = list(PLAIN[then["kind"]](dataset))
    else:
        sampler: DistributedSampler[Any] = DistributedSampler(dataset, 1, 0, shuffle=then["shuffle"], seed=then["seed"])
        sampler.set_epoch(epoch)
        order = list(sampler)
    share = then["batch"] * then["processes"]
    return order[: len(order) // share * share] if then["drops"] else order


def resharded(processes: Sequence[Any], count: int, *, are_over: bool) -> list[Any]:
    """Return the states of another number of processes, made of those that a checkpoint has.

    Of processes with the same data, one stands for all.
    A process gets what the one of its number had accumulated. One that is new starts with nothing of that; where the
    batches `are_over`, it gets what the first one had, as all of them take part in the sums of the epoch. Random
    numbers are those of its own number, from the step on. Gradients that wait are the mean of those of then, unless
    they are sharded themselves.
    """
    is_needed = any(process["numbers"]["is_needed"] for process in processes)
    gradients = _mean([process["gradients"] for process in processes])
    states = []
    for rank in range(count):
        process = copy(processes[rank] if rank < len(processes) else processes[0])
        process |= {"loaders": (), "datasets": (), "samplers": {}, "buffers": {}, "gradients": gradients}
        process["numbers"] = {"is_needed": is_needed, "since": None}
        if rank >= len(processes) and not are_over:
            process["measured"] = {"own": None, "metrics": {}, "logged": {}, "shown": process["measured"]["shown"]}
        states.append(process)
    return states


def _mean(gradients: Sequence[Any]) -> dict[str, Any]:
    first = gradients[0]
    if any(one is first for one in gradients[1:]) or len(gradients) == 1:  # one for all: it was sharded
        return dict(first)
    return {name: sum(one[name] for one in gradients) / len(gradients) for name in first}
