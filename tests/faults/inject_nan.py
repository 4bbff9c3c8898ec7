"""NaN and inf in a loss, a gradient, a weight, a buffer or a batch: `python -m tests.faults.inject_nan [--short]`.

50 places in one process, drawn with a fixed seed, and 8 in one of two processes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import sys
import time
import warnings
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from math import inf, nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytorch_lightning as pl
import torch
from torch.multiprocessing import start_processes

from lighter.errors import NonFiniteError
from tests.faults.spoiled import BATCHES, EPOCHS, FIRST, MODULES, Fault, fit, place_in, spoiled_files
from tests.faults.table import Results, main
from tests.forks import rank_variables

SECONDS = 120  # for two processes; they take a few
NAMES = {"batch": "`x`: ", "gradient": f"gradient of `{FIRST}`", "weight": f"`{FIRST}`", "buffer": "running_var"}
INTERVAL = 4  # of `fit`, in batches
STOPS = "stops within one step and names the batch (a buffer: by the next save or the epoch's end)"
LATER = "as on a device, read at the logging interval: stops by then and names the batch"
NAMED = "names the first loss, parameter or entry of the batch"
UNSEEN = "skip: weights and buffers are as if the batches had never been seen, bit for bit"
GOOD = "no checkpoint has weights that are not finite"
KEPT = "no earlier checkpoint is lost, and none altered"
TWO = "two processes stop at the same step, or leave out the same"


@dataclass(frozen=True)
class Case:
    """A fault, and how it is trained."""

    fault: Fault
    policy: str = "stop"
    module: str = "lighter"
    loop: str = "lean"
    accumulate: int = 1
    precision: str = "32-true"
    clip: float | None = None

    @property
    def options(self) -> dict[str, Any]:
        by_hand = self.module == "manual"
        return {
            "on_non_finite": self.policy,
            "accumulate_grad_batches": 1 if by_hand else self.accumulate,
            "gradient_clip_val": None if by_hand else self.clip,
            "precision": self.precision,
            "profiler": "simple" if self.loop == "lightning" else None,  # which the lean loop leaves to Lightning's
        }

    @property
    def window(self) -> range:
        """The batches whose gradients add up with those of the fault's."""
        together = self.options["accumulate_grad_batches"]
        start = self.fault.batch // together * together
        return range(start, min(start + together, BATCHES))

    @property
    def steps_before(self) -> int:
        """The steps of the optimizer before the one that the fault's batch is part of."""
        together = self.options["accumulate_grad_batches"]
        return self.fault.epoch * -(-BATCHES // together) + self.fault.batch // together

    @property
    def latest(self) -> int:
        """The batch at which it has to be found, all of the same epoch."""
        batch = self.fault.batch
        return {
            "batch": batch,
            "loss": batch,
            "gradient": self.window[-1],
            "weight": min(batch + 1, BATCHES - 1),  # by the next loss, or at the end of the epoch
            "buffer": BATCHES - 1,  # a loss of training does not show it: at the next save, or at the end of the epoch
        }[self.fault.what]

    @property
    def is_left_out(self) -> bool:
        """Whether it leaves out a step, rather than stop."""
        return self.policy == "skip" and self.fault.what in ("batch", "loss", "gradient")


def draw(count: int) -> list[Case]:
    """Cases of all kinds, the same at each call."""
    chance = random.Random(10)
    cases = []
    for number in range(count):
        what = ("loss", "gradient", "batch", "weight", "buffer")[number % 5]
        batch = chance.choice([0, chance.randrange(1, BATCHES - 1), BATCHES - 1])
        fault = Fault(what, chance.randrange(EPOCHS), batch, chance.choice([nan, nan, inf, -inf]))
        policy = "skip" if number % 3 == 2 else "stop"
        loop = ("lean", "lightning", "lean", "device" if policy == "stop" else "lightning")[number % 4]
        # by hand, a loss is known only after the step: it is left out by its gradients
        module = chance.choice(["lighter", "lighter", "lightning", "lighter" if policy == "skip" else "manual"])
        precision = chance.choice(["32-true", "32-true", "bf16-mixed", "64-true"])
        clip = chance.choice([None, 0.5])
        cases.append(Case(fault, policy, module, loop, chance.choice([1, 1, 3, 4]), precision, clip))
    return cases


class Watching(pl.Callback):
    """Keeps the checkpoints' hashes from before the fault, and how the fit ended, in a file for each process."""

    def __init__(self, folder: Path, fault: Fault) -> None:
        self.folder, self.fault = folder, fault

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == (self.fault.epoch, self.fault.batch) and trainer.is_global_zero:
            lines = [f"{_hash(path)} {path}" for path in sorted(self.folder.rglob("*.ckpt"))]
            (self.folder / "before.txt").write_text("\n".join(lines))

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._write(trainer, f"stopped at {trainer.global_step}\n{exception}")

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        kinds = [pl_module.network.parameters(), pl_module.network.buffers()]
        bits = [b"".join(value.detach().double().numpy().tobytes() for value in values) for values in kinds]
        hashes = "\n".join(hashlib.sha256(part).hexdigest() for part in bits)
        self._write(trainer, f"ended at {trainer.global_step}\n{hashes}")

    def _write(self, trainer: Any, text: str) -> None:
        (self.folder / f"{trainer.global_rank}.txt").write_text(text)


def train(case: Case, folder: Path, left_out: tuple[tuple[int, int], ...] = (), **options: Any) -> None:
    """Train in this process; `Watching` writes how it ended."""
    folder.mkdir(exist_ok=True)
    module = MODULES[case.module](case.fault if not left_out else Fault("none"), left_out=left_out)
    with _device(case), warnings.catch_warnings(), suppress(NonFiniteError):
        warnings.simplefilter("ignore")
        fit(module, folder, callbacks=[Watching(folder, case.fault)], **case.options, **options)


def _ended(folder: Path, rank: int = 0) -> str:
    return (folder / f"{rank}.txt").read_text()


def _device(case: Case) -> AbstractContextManager:
    """As on a device, where numbers are read at the logging interval."""
    late = patch("lighter.trainer.nonfinite.check.reads_cost_nothing", return_value=False)
    return late if case.loop == "device" else nullcontext()


def look_at(case: Case, folder: Path, results: Results) -> None:
    """Train a case in one process, and see whether everything is as promised."""
    train(case, folder / "run")
    ended = _ended(folder / "run")
    if case.is_left_out:
        unseen = tuple((case.fault.epoch, batch) for batch in case.window)
        train(case, folder / "without", left_out=unseen)
        expected = _ended(folder / "without")
        results.row(UNSEEN).add(str(case), held=ended == expected, why=f"{ended!r}, not {expected!r}")
    else:
        _look_at_stop(case, ended, results)
    _look_at_files(case, folder / "run", results)


def _look_at_stop(case: Case, ended: str, results: Results) -> None:
    stopped = ended.startswith("stopped")
    (epoch, batch), steps = (place_in(ended), int(ended.split()[2])) if stopped else ((-1, -1), 0)
    named = epoch == case.fault.epoch and case.fault.batch <= batch <= case.latest
    is_later = case.loop == "device"
    by = case.steps_before + 1 + (INTERVAL if is_later else 0)
    in_time = steps <= by or case.fault.what == "buffer"
    results.row(LATER if is_later else STOPS).add(str(case), held=named and in_time, why=ended)
    if not is_later:  # which names the batch and not what was in it
        name = "The loss" if case.fault.what == "loss" and case.module == "manual" else "The loss `loss/ce`"
        results.row(NAMED).add(str(case), held=NAMES.get(case.fault.what, name) in ended, why=ended)


def _look_at_files(case: Case, folder: Path, results: Results) -> None:
    if any(folder.rglob("*.ckpt")):  # none where the fault is in the first step
        spoiled = spoiled_files(folder)
        results.row(GOOD).add(str(case), held=not spoiled, why=str(spoiled))
    before = [line.split(" ", 1) for line in (folder / "before.txt").read_text().splitlines()]
    kept = [line for line in before if _over_itself(line[1]) or (Path(line[1]).exists() and _hash(line[1]) == line[0])]
    results.row(KEPT).add(str(case), held=kept == before, why=f"{kept} of {before}")


def _over_itself(path: str) -> bool:
    """Whether a later save may replace it; that it is finite is looked at with the others."""
    return Path(path).stem in ("newest", "last") and Path(path).exists()


def look_at_two(case: Case, folder: Path, results: Results) -> None:
    """Train a case in two processes, of which the fault is in the second."""
    arguments = (case, folder / "run", rank_variables(2))
    processes = start_processes(_be_one_of_two, arguments, 2, join=False, start_method="fork")
    end = time.monotonic() + SECONDS
    try:
        while not processes.join(timeout=1):
            if time.monotonic() > end:
                raise TimeoutError(f"the processes wait for each other: {case}")
    finally:
        for process in processes.processes:
            process.kill()
    first, second = (_ended(folder / "run", rank) for rank in range(2))
    lines = 2 if case.is_left_out else 1  # the step and the parameters; buffers are each process's own
    same = first.splitlines()[:lines] == second.splitlines()[:lines]
    held = same and first.startswith("ended" if case.is_left_out else "stopped")
    results.row(TWO).add(str(case), held=held, why=f"{first!r} and {second!r}")
    if not case.is_left_out:
        _look_at_stop(case, second, results)
    _look_at_files(case, folder / "run", results)


def _be_one_of_two(rank: int, case: Case, folder: Path, variables: list[dict[str, str]]) -> None:
    os.environ.update(variables[rank])
    train(case, folder, devices=2, strategy="ddp", batches=2 * BATCHES)


def _hash(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


PAIRS = [
    Case(Fault("loss", 1, 4, rank=1)),
    Case(Fault("batch", 0, 0, rank=1), module="lightning"),
    Case(Fault("gradient", 1, 8, inf, rank=1), accumulate=3),
    Case(Fault("loss", 2, 1, inf, rank=1), accumulate=4, loop="lightning"),
    Case(Fault("weight", 1, 2)),
    Case(Fault("batch", 1, 5, rank=1), loop="device"),
    Case(Fault("loss", 1, 4, rank=1), policy="skip"),
    Case(Fault("batch", 2, 7, inf, rank=1), policy="skip", accumulate=3),
]


def run(short: bool) -> Results:
    """Run all cases, or some of each kind."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("lighter").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    results = Results("Numbers that are not finite")
    for row in (STOPS, LATER, NAMED, UNSEEN, GOOD, KEPT, TWO):
        results.row(row)
    for case in draw(50)[: 16 if short else None]:
        with TemporaryDirectory() as folder:
            look_at(case, Path(folder), results)
    for case in PAIRS[:: 6 if short else 1]:
        with TemporaryDirectory() as folder:
            look_at_two(case, Path(folder), results)
    return results


if __name__ == "__main__":
    sys.exit(main(run))
