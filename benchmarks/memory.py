"""The memory of long fits in `lighter.Trainer`: is it the same after a million steps as after the first ten thousand?

    python benchmarks/memory.py

A `LighterModule` and a plain `LightningModule` that logs with `self.log`, on the data, metrics and logger of
`step_overhead.py`. Prints a table and writes it into benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import gc
from pathlib import Path
from typing import Any

import sides
import torch
from pytorch_lightning import Callback
from results import report
from sides import Shape

import lighter

COLUMNS = ("module", "steps", "MiB after 10,000 steps", "MiB at the end", "grown by, MiB", "tensors grown by")
BEFORE = """`python benchmarks/memory.py`: the job of the first table, in `lighter.Trainer` as it comes, epochs of 562
steps. MiB are of resident memory."""
AFTER = "How to read it: memory and the number of tensors alive are noted after 10,000 steps, and at the end."


class Memory(Callback):
    """Notes memory and tensors after some steps and at the end."""

    def __init__(self, after: int) -> None:
        self.after, self.noted = after, list[tuple[int, float, int]]()

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        if not self.noted and trainer.global_step >= self.after:
            self.note(trainer.global_step)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        self.note(trainer.global_step)

    def note(self, step: int) -> None:
        gc.collect()
        alive = sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())
        self.noted.append((step, resident(), alive))


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10, help="of 100,000 steps of each module (default: 10)")
    steps = parser.parse_args().rounds * 100_000
    sides.settle()
    modules = {"LighterModule": sides.lighter_module, "LightningModule, self.log": sides.Idiom}
    rows = [row(name, make, steps) for name, make in modules.items()]
    report("Memory of long fits", COLUMNS, rows, before=BEFORE, after=AFTER)


def row(name: str, make: Any, steps: int) -> tuple[str, ...]:
    memory = Memory(min(10_000, steps // 10))
    sides.lightning(
        make,
        -1,
        trainer_class=lambda **arguments: lighter.Trainer(**arguments, max_steps=steps, callbacks=[memory]),
        shape=Shape(samples=17970),
    )
    (_, before, few), (step, after, many) = memory.noted
    return name, f"{step:,}", f"{before:.0f}", f"{after:.0f}", f"{after - before:+.1f}", f"{many - few:+d}"


if __name__ == "__main__":
    main()
