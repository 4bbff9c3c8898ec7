"""The rest of an interrupted epoch on another number of processes: each sample once, whoever gets it.

A distributed sampler deals the order of the epoch like cards, so what all processes have trained is the beginning of
that order. The rest is dealt anew, to the processes that there are now. Each has as many steps as every other, so the
last batches may be smaller; only where there are fewer samples than processes, some come twice.

An epoch may be interrupted again. So a checkpoint has, beside the order, how it was dealt so far. What is left follows
from these few numbers, and needs no list of samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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


class Share(TypedDict):
    """The dealing of what was left of an epoch to some processes, as plain data."""

    processes: int
    batch: int
    drops: bool  # whether samples that fill no batch are left out
    trained: int  # batches, by each of the processes


class Dealt(TypedDict):
    """An epoch's order and how it was dealt, start by start, as plain data."""

    order: Order  # of the start that began the epoch
    trained: int  # batches of that order, by each of its processes
    shares: Sequence[Share]  # of the starts on other numbers of processes since
    counted: int  # batches that counted as trained when the last of the shares was dealt


class Deal(NamedTuple):
    """The rest of an epoch: the batches of this process, and what they are dealt from."""

    epoch: int
    batches: list[list[int]]
    dealt: Dealt


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


def dealt_until(process: Mapping[str, Any], trained: int) -> Dealt:
    """Return how an epoch was dealt, by the saved state of a process and how many batches counted as `trained`."""
    dealt: Dealt | None = process.get("dealt")
    if dealt is None:
        return Dealt(order=process["orders"][0], trained=trained, shares=[], counted=0)
    *before, last = dealt["shares"]
    last = Share(**{**last, "trained": trained - dealt["counted"]})
    return Dealt(**{**dealt, "shares": [*before, last]})


def deal(dealt: Dealt, loader: DataLoader, epoch: int, key: bytes) -> Deal:
    """Deal what is left of an epoch to the processes of a loader, whose own order does not count.

    `key` is that of the epoch's order.
    """
    sampler, (rank, processes) = _sampler_of(loader), _place_of(loader)
    share = Share(processes=processes, batch=sampler.batch_size, drops=sampler.drop_last, trained=0)
    batches = _batches(_left(dealt, dealt["shares"], epoch, key), rank, share)
    now = Dealt(**{**dealt, "shares": [*dealt["shares"], share], "counted": len(loader) - len(batches)})
    return Deal(epoch, batches, now)


def continued(dealt: Dealt, loader: DataLoader, epoch: int, key: bytes) -> Deal:
    """Continue the last dealing of an epoch on as many processes as it was made for."""
    *before, last = dealt["shares"]
    batches = _batches(_left(dealt, before, epoch, key), _place_of(loader)[0], last)
    return Deal(epoch, batches[last["trained"] :], dealt)


def _sampler_of(loader: DataLoader) -> Any:
    return getattr(loader.batch_sampler, "inner", loader.batch_sampler)


def _place_of(loader: DataLoader) -> tuple[int, int]:
    """Return the number of the process that a loader is of, and how many there are."""
    sampler = _sampler_of(loader).sampler
    return (sampler.rank, sampler.num_replicas) if isinstance(sampler, DistributedSampler) else (0, 1)


def _batches(left: Sequence[int], rank: int, share: Share) -> list[list[int]]:
    return batches_of(left, rank, share["processes"], share["batch"], drops=share["drops"])


def _left(dealt: Dealt, shares: Sequence[Share], epoch: int, key: bytes) -> list[int]:
    """Return the samples of an epoch that no process had, in their order, after some of the shares."""
    order = dealt["order"]
    left = _order(order, epoch, key)[dealt["trained"] * order["batch"] * order["processes"] :]
    for share in shares:
        if share["drops"]:
            left = _full(left, share["batch"] * share["processes"])
        # not just the beginning: near the end, some processes have a smaller batch than others
        trained = {
            sample
            for rank in range(share["processes"])
            for batch in _batches(left, rank, share)[: share["trained"]]
            for sample in batch
        }
        left = [sample for sample in left if sample not in trained]
    return left


def _full(samples: Sequence[int], count: int) -> list[int]:
    return list(samples[: len(samples) // count * count])


def batches_of(left: Sequence[int], rank: int, processes: int, size: int, *, drops: bool) -> list[list[int]]:
    """Return the batches of one of the processes, of a `size` at most; each has as many as every other."""
    if not left:
        return []
    if drops:
        left = _full(left, processes * size)
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
    return _full(order, then["batch"] * then["processes"]) if then["drops"] else order


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
        process["dealt"] = None  # it is dealt anew
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
