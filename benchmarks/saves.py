"""What it costs to save a checkpoint in `lighter.Trainer`, which syncs and verifies its files, beside Lightning's.

    python benchmarks/saves.py

Both trainers save in turn, a module with a single weight. Prints a table and writes it into benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

import pytorch_lightning as pl
import sides
import torch
from pytorch_lightning import Callback, LightningModule
from results import middle_half, report
from torch.utils.data import DataLoader, TensorDataset

import lighter

MIB = 64
TRAINERS: dict[str, Callable[..., pl.Trainer]] = {
    "Lightning": pl.Trainer,
    "lighter.Trainer": lighter.Trainer,
    "lighter.Trainer, async_save": partial(lighter.Trainer, async_save=True),
}
COLUMNS = ("trainer", "wall, s", "middle half", "processor, s", "additional memory, MiB")
BEFORE = f"""`python benchmarks/saves.py`: one `save_checkpoint` of {MIB} MiB of weights at the end of a fit of a
step. With `async_save` the time is that by which a callback's save delays training."""
AFTER = """How to read it: medians of {rounds} saves of each, in turn; half of the times lie in the middle half.
Lightning does not sync its files. The additional memory is the growth of the process's peak by the first save, in a
process of its own."""


class Cost(NamedTuple):
    wall: float
    processor: float
    memory: float


class Weight(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(MIB * 2**18))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.weight[:1].sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


class Save(Callback):
    """Saves once, and knows what that cost."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / "weights.ckpt"

    def on_train_end(self, trainer: pl.Trainer, module: LightningModule) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        before, start, used = peak_memory(), perf_counter(), process_time()
        if getattr(trainer, "async_save", False):  # a script's own save is complete when it returns
            trainer.strategy.checkpoint_io.save_checkpoint({"state_dict": module.state_dict()}, self.path)
        else:
            trainer.save_checkpoint(self.path)
        self.cost = Cost(perf_counter() - start, process_time() - used, peak_memory() - before)


def peak_memory() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def cost_of(trainer: str) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        save = Save(folder)
        TRAINERS[trainer](
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False,
            enable_progress_bar=False, default_root_dir=folder, callbacks=[save],
        ).fit(Weight(), DataLoader(TensorDataset(torch.zeros(1))))  # fmt: skip
    return save.cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=21, help="how often each saves (default: 21)")
    parser.add_argument("--memory-of", choices=TRAINERS, help="only print the memory of one save")
    options = parser.parse_args()
    sides.settle()
    if options.memory_of:
        print(cost_of(options.memory_of).memory)
        return
    costs: dict[str, list[Cost]] = {name: [] for name in TRAINERS}
    for number in range(options.rounds + 1):
        for name in costs:
            cost = cost_of(name)
            if number:
                costs[name].append(cost)
    rows = [row(name, done) for name, done in costs.items()]
    report("Saving a checkpoint", COLUMNS, rows, before=BEFORE, after=AFTER.format(rounds=options.rounds))


def row(name: str, done: list[Cost]) -> tuple[str, ...]:
    walls = [cost.wall for cost in done]
    low, high = middle_half(walls)
    command = [sys.executable, __file__, "--memory-of", name]
    memory = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
    return (
        name,
        f"{median(walls):.2f}",
        f"{low:.2f} to {high:.2f}",
        f"{median(cost.processor for cost in done):.2f}",
        f"{memory:.1f}",
    )


if __name__ == "__main__":
    main()
