"""What a training step costs on two processes: a hand-written DistributedDataParallel loop, Lightning, and Lighter.

    python benchmarks/ddp_overhead.py

Two processes (CPU, gloo) train all sides in turn, round after round, in the same process group. Prints a table and
writes it into benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter

import sides
import torch
from results import middle_half, report
from sides import Job, Outcome, Timed, fingerprint, last_epoch
from torch import distributed, multiprocessing
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

PROCESSES = 2
YARDSTICK = "hand-written loop"
COLUMNS = ("side", "µs/step", "ratio", "middle half", "at most", "weights")
BEFORE = """`python benchmarks/ddp_overhead.py`: the job of the first table on two processes (CPU, gloo), each with half
of the samples; gradients are averaged by torch's DistributedDataParallel, losses and metrics over both processes at
the end of an epoch.

- hand-written loop: DistributedDataParallel, the metrics and the sum of the losses
- Lightning, bare: measures nothing; Lightning, self.log: as its guides show it; LighterModule: in `lighter.Trainer`,
  lean alone"""
AFTER = """How to read it: as the first table. {rounds} rounds of {epochs} epochs of 29 steps; all sides in turn, in the
same two processes."""


def make_job() -> Job:
    job = sides.make_job()
    sampler = DistributedSampler(sides.digits(), shuffle=True, seed=1)
    return job._replace(loader=DataLoader(sides.digits(), batch_size=32, sampler=sampler))


def hand_written(epochs: int) -> Outcome:
    network, optimizer, metrics, loader = make_job()
    wrapped = DistributedDataParallel(network)
    distributed.barrier()
    start = perf_counter()
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        metrics.reset()
        sums = torch.zeros(2, dtype=torch.float64)
        for x, y in loader:
            optimizer.zero_grad()
            pred = wrapped(x)
            loss = cross_entropy(pred, y)
            loss.backward()
            optimizer.step()
            metrics.update(pred.detach(), y)
            sums[0] += loss.detach() * len(x)
            sums[1] += len(x)
        distributed.all_reduce(sums)
        measured = {"loss": float(sums[0] / sums[1]), **{name: float(v) for name, v in metrics.compute().items()}}
    seconds = perf_counter() - start
    return Outcome(seconds / (epochs * len(loader)), fingerprint(network), measured)


def trained(make_module: Callable[[Job], Timed], epochs: int, ours: bool) -> Outcome:
    import pytorch_lightning

    job = make_job()
    module = make_module(job)
    trainer = (sides.as_lightning if ours else pytorch_lightning.Trainer)(
        max_epochs=epochs,
        accelerator="cpu",
        strategy="ddp",
        devices=PROCESSES,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    distributed.barrier()
    trainer.fit(module, job.loader)
    steps = epochs * len(job.loader)
    return Outcome(module.seconds / steps, fingerprint(job.network), last_epoch(trainer.callback_metrics))


SIDES: dict[str, Callable[[int], Outcome]] = {
    YARDSTICK: hand_written,
    "Lightning, bare": partial(trained, sides.Bare, ours=False),
    "Lightning, self.log": partial(trained, sides.Idiom, ours=False),
    "LighterModule in lighter.Trainer": partial(trained, sides.lighter_module, ours=True),
    "bare in lighter.Trainer": partial(trained, sides.Bare, ours=True),
}


def work(rank: int, port: int, rounds: int, epochs: int, answers: multiprocessing.Queue) -> None:
    """One of the processes: trains all sides in turn. The first one answers."""
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": PROCESSES, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in ranks.items()}, MASTER_ADDR="127.0.0.1")
    sides.settle()
    sides.clock = perf_counter  # waiting for the other process counts
    distributed.init_process_group("gloo", rank=rank, world_size=PROCESSES)
    outcomes: dict[str, list[Outcome]] = {name: [] for name in SIDES}
    names = list(SIDES)
    for number in range(rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            outcome = SIDES[name](epochs)
            if number:
                outcomes[name].append(outcome)
    if rank == 0:
        answers.put({name: [tuple(outcome) for outcome in done] for name, done in outcomes.items()})
    distributed.barrier()
    distributed.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20, help="how often each side trains (default: 20)")
    parser.add_argument("--epochs", type=int, default=3, help="of 29 steps, each time (default: 3)")
    options = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    multiprocessing.spawn(work, (port, options.rounds, options.epochs, answers), nprocs=PROCESSES)
    outcomes = {name: [Outcome(*outcome) for outcome in done] for name, done in answers.get().items()}
    rows = [row(name, done, outcomes[YARDSTICK]) for name, done in outcomes.items()]
    after = AFTER.format(rounds=options.rounds, epochs=options.epochs)
    report("Two processes", COLUMNS, rows, before=BEFORE, after=after)


def row(name: str, done: list[Outcome], yardstick: list[Outcome]) -> tuple[str, ...]:
    ratios = [mine.seconds_per_step / plain.seconds_per_step for mine, plain in zip(done, yardstick, strict=True)]
    low, high = middle_half(ratios)
    same = {outcome.weights for outcome in done} == {outcome.weights for outcome in yardstick}
    return (
        name,
        f"{median(outcome.seconds_per_step for outcome in done) * 1e6:.0f}",
        f"{median(ratios):.2f}",
        f"{low:.2f} to {high:.2f}",
        "1.10" if name.startswith("LighterModule") else "",
        "same" if same else "DIFFERENT",
    )


if __name__ == "__main__":
    main()
