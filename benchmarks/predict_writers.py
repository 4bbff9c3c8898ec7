"""What writing predictions costs: Lighter's writers, a hand-written `csv.writer` loop, and Lighter 0.1.0's writers.

    python benchmarks/predict_writers.py                 a million rows; --rows 10000000 for ten
    python benchmarks/predict_writers.py --peer-python PYTHON      an environment that has Lighter 0.1.0 and pandas

Each side predicts in a process of its own, as peak memory is a process's, and all sides take turns, round after round.
Prints two tables and writes them into benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from types import ModuleType
from typing import Any, NamedTuple

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader, Dataset

RELEASE = "0.1.0"
PEER = f"Lighter {RELEASE} (PyPI)"
BATCH = 512
PEER_SHARE = 100  # it collects garbage after every batch, and would take hours
YARDSTICK = "hand-written loop"
KEYS = ["id", "label", "score"]
COLUMNS = ("side", "rows/s", "ratio", "middle half", "peak MB", "growth MB")
BEFORE = """`python benchmarks/predict_writers.py`: {rows:,} rows of text, a whole number and a float from a linear
layer, in batches of 512, on one thread. The same dataset, dataloader and network on all sides; each round runs each
side once, in a process of its own.

- hand-written loop: plain PyTorch and `csv.writer`, straight into the final file
- Lightning, hand-written: the same loop body in a callback of Lightning's, with a LightningModule
- Lightning, CsvWriter: the same LightningModule with CsvWriter
- CsvWriter, ParquetWriter: with a LighterModule
- Lighter 0.1.0: the same with that release's CsvWriter and LighterModule, on a hundredth of the rows"""
AFTER = """How to read it: a ratio of 2 means twice the processor's time of the hand-written loop in the same round;
half of the rounds lie in the middle half. Peak is the process's largest resident memory, PyTorch included; growth is by
how much that is more than in a run of a tenth of the rows. Medians of {rounds} rounds.{remark}"""
FILES_BEFORE = """The same command, by the clock: {rows:,} samples, a `.pt` file of 1,024 floats each. The loop calls
`torch.save` on a clone of each sample. FileWriter writes each file aside, sees it on the disk (fsync) and then gives it
its name; the others do not. Lighter 0.1.0 saves a view, which puts the whole batch into each file."""
FILES_COLUMNS = ("side", "files/s", "ratio", "middle half", "KB/file")


class Outcome(NamedTuple):
    """What one process measured.

    Attributes:
        seconds: for a sample, without imports; of the processor for rows, by the clock for files.
        peak: of the process's memory, in MB.
        size: of what it wrote, in bytes for a sample.
    """

    seconds: float
    peak: float
    size: float


class Rows(Dataset):
    """Rows that cost little to make: features that repeat, and an identifier."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.features = torch.rand(4096, 8, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return self.rows

    def __getitems__(self, indices: list[int]) -> tuple[list[str], torch.Tensor]:
        return [f"sample-{index:08d}" for index in indices], self.features[[index % 4096 for index in indices]]


class Network(torch.nn.Linear):
    """A linear layer; `outputs` is what every side writes."""

    def __init__(self, width: int = 0) -> None:
        torch.manual_seed(0)
        super().__init__(8, width or 4)
        self.width = width

    def outputs(self, batch: Any) -> dict[str, Any]:
        names, features = batch
        if self.width:
            return {"id": names, "pred": self(features)}
        score, label = self(features).max(dim=1)
        return {"id": names, "label": label, "score": score}


def module(width: int) -> Any:
    """The network as a LighterModule of whatever Lighter this environment has."""
    import lighter

    class Module(lighter.LighterModule):
        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            return self.network.outputs(batch)

    return Module(Network(width))


class Plain(LightningModule):
    """The network as a LightningModule."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Network()

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self.network.outputs(batch)


def loader(rows: int) -> DataLoader:
    return DataLoader(Rows(rows), batch_size=BATCH, collate_fn=lambda batch: batch)


def csv_loop(rows: int, place: Path) -> None:
    network = Network().eval()
    with open(place / "out.csv", "w", newline="", encoding="utf-8") as file, torch.inference_mode():
        writer = csv.writer(file)
        writer.writerow(KEYS)
        for batch in loader(rows):
            outputs = network.outputs(batch)
            writer.writerows(zip(outputs["id"], outputs["label"].tolist(), outputs["score"].tolist(), strict=True))


def files_loop(rows: int, place: Path) -> None:
    network = Network(1024).eval()
    (place / "out").mkdir()
    with torch.inference_mode():
        for batch in loader(rows):
            outputs = network.outputs(batch)
            for name, value in zip(outputs["id"], outputs["pred"], strict=True):
                torch.save(value.clone(), place / "out" / f"{name}.pt")


class HandWritten(Callback):
    """The loop's writing, in Lightning."""

    def __init__(self, place: Path) -> None:
        self.path = place / "out.csv"

    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        self.file = open(self.path, "w", newline="", encoding="utf-8")  # noqa: SIM115
        self.writer = csv.writer(self.file)
        self.writer.writerow(KEYS)

    def on_predict_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.writer.writerows(zip(outputs["id"], outputs["label"].tolist(), outputs["score"].tolist(), strict=True))

    def on_predict_end(self, trainer: Any, pl_module: Any) -> None:
        self.file.close()


def predict(writer: Callable[[Path], Any], width: int, rows: int, place: Path, plain: bool = False) -> None:
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        default_root_dir=place,
        callbacks=[writer(place)],
    )
    trainer.predict(Plain() if plain else module(width), loader(rows), return_predictions=False)


def with_writer(name: str, *arguments: Any) -> Callable[[Path], Any]:
    """A writer of whatever Lighter this environment has."""

    def make(place: Path) -> Any:
        import lighter.callbacks

        first, *others = arguments
        return getattr(lighter.callbacks, name)(place / first, *others)

    return make


SIDES: dict[str, Callable[[int, Path], None]] = {
    YARDSTICK: csv_loop,
    "Lightning, hand-written": lambda *job: predict(HandWritten, 0, *job, plain=True),
    "Lightning, CsvWriter": lambda *job: predict(with_writer("CsvWriter", "out.csv", KEYS), 0, *job, plain=True),
    "CsvWriter": lambda *job: predict(with_writer("CsvWriter", "out.csv", KEYS), 0, *job),
    "ParquetWriter": lambda *job: predict(with_writer("ParquetWriter", "out.parquet", KEYS), 0, *job),
    PEER: lambda *job: predict(with_writer("CsvWriter", "out.csv", KEYS), 0, *job),
}
FILES: dict[str, Callable[[int, Path], None]] = {
    YARDSTICK: files_loop,
    "FileWriter": lambda *job: predict(with_writer("FileWriter", "out", "pred", "tensor", "id"), 1024, *job),
    PEER: lambda *job: predict(with_writer("FileWriter", "out", "pred", "tensor", "id"), 1024, *job),
}


def main() -> None:
    options = parse_arguments()
    if options.side:
        clock = perf_counter if options.files else process_time
        print(json.dumps(measure((FILES if options.files else SIDES)[options.side], options.rows, clock)))
        return
    remark = ""
    if options.peer_python is None:
        remark = f"\n{PEER} was left out: no --peer-python."
        SIDES.pop(PEER), FILES.pop(PEER)
    compare(options, remark)
    compare_files(options)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each side predicts (default: 5)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the table (default: a million)")
    parser.add_argument("--peer-python", type=Path, help=f"the interpreter of an environment with {PEER} and pandas")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--files", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def compare(options: argparse.Namespace, remark: str) -> None:
    from results import report

    outcomes = in_turn(options, SIDES, options.rows, options.rounds)
    tenth = in_turn(options, {name: side for name, side in SIDES.items() if name != PEER}, options.rows // 10, 1)
    rows = [(*row(name, done, outcomes[YARDSTICK]), *memory(name, done, tenth)) for name, done in outcomes.items()]
    report(
        f"Writing predictions, {options.rows:,} rows",
        COLUMNS,
        rows,
        before=BEFORE.format(rows=options.rows),
        after=AFTER.format(rounds=options.rounds, remark=remark),
    )


def compare_files(options: argparse.Namespace) -> None:
    from results import report

    count = 5 * BATCH
    outcomes = in_turn(options, FILES, count, options.rounds)
    rows = [(*row(name, done, outcomes[YARDSTICK]), f"{done[0].size / 1024:.0f}") for name, done in outcomes.items()]
    after = f"Read as the table above. Medians of {options.rounds} rounds."
    report("Writing predictions, a file each", FILES_COLUMNS, rows, before=FILES_BEFORE.format(rows=count), after=after)


def in_turn(options: argparse.Namespace, sides: Any, rows: int, rounds: int) -> dict[str, list[Outcome]]:
    """The outcomes of each side by round; each round begins with another side."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in sides}
    for number in range(rounds):
        first = number % len(outcomes)
        names = list(outcomes)
        for name in names[first:] + names[:first]:
            python = options.peer_python if name == PEER else sys.executable
            count = rows // PEER_SHARE if name == PEER and sides is SIDES else rows
            command = [python, "-E", __file__, "--side", name, "--rows", str(count)]
            done = subprocess.run(
                command + ["--files"] * (sides is FILES), stdout=subprocess.PIPE, text=True, check=True
            )
            outcomes[name].append(Outcome(*json.loads(done.stdout.splitlines()[-1])))
    return outcomes


def measure(side: Callable[[int, Path], None], rows: int, clock: Callable[[], float]) -> Outcome:
    """Predict once, in this process."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Lighter 0.1.0 imports torchvision, which nothing measured here uses and which not every torch build has
    sys.modules.setdefault("torchvision", ModuleType("torchvision"))
    with tempfile.TemporaryDirectory() as place:
        side(BATCH, Path(place))  # what is imported or set up once
    with tempfile.TemporaryDirectory() as place:
        begin = clock()
        side(rows, Path(place))
        seconds = clock() - begin
        size = sum(path.stat().st_size for path in Path(place).rglob("*") if path.is_file())
    return Outcome(seconds / rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, size / rows)


def row(name: str, done: list[Outcome], yardstick: list[Outcome]) -> tuple[str, ...]:
    from results import middle_half

    ratios = [mine.seconds / plain.seconds for mine, plain in zip(done, yardstick, strict=True)]
    low, high = middle_half(ratios)
    speed = 1 / median(outcome.seconds for outcome in done)
    return name, f"{speed:,.0f}", f"{median(ratios):.2f}", f"{low:.2f} to {high:.2f}"


def memory(name: str, done: list[Outcome], tenth: dict[str, list[Outcome]]) -> tuple[str, str]:
    if name == PEER:
        return "-", "-"
    peak = median(outcome.peak for outcome in done)
    return f"{peak:.0f}", f"{peak - median(outcome.peak for outcome in tenth[name]):+.0f}"


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main()
