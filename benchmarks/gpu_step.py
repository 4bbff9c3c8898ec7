"""What a training step costs on a GPU, and how often it waits for the host: ResNet-18 and a small transformer, bf16.

    python benchmarks/gpu_step.py

A hand-written loop and `lighter.Trainer` train in turn on random data that lies in pinned memory. Counts the
synchronisations per step between two logging steps, with CUDA's own warnings (`torch.cuda.set_sync_debug_mode`).
Writes a table into benchmarks/RESULTS.md; where there is no GPU it says so and writes nothing.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import sides
import torch
from results import middle_half, report
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

import lighter

CLASSES, STEPS, LOG_EVERY = 10, 60, 1000  # no logging step among those that are counted
COLUMNS = ("job", "hand-written, ms", "lighter.Trainer", "middle half", "syncs/step")
BEFORE = """`python benchmarks/gpu_step.py`: bf16 autocast, AdamW, loss, accuracy and macro F1; random data in pinned
memory; {steps} steps a round, the clock stops when the GPU is done."""
AFTER = """How to read it: the ratio to a hand-written loop in the same round, median over {rounds} rounds; syncs/step
are those of lighter.Trainer minus those of the hand-written loop, between logging steps. {device}."""


class Block(nn.Module):
    """Two convolutions with a shortcut, of ResNet-18 (He et al., 2015)."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inside != outside:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet18() -> nn.Module:
    widths = [64, 64, 128, 256, 512]
    stages = [
        nn.Sequential(Block(inside, outside, 1 if index == 0 else 2), Block(outside, outside, 1))
        for index, (inside, outside) in enumerate(pairwise(widths))
    ]
    stem = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    return nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, CLASSES))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 4), nn.Linear(256, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).mean(1))


class Case(NamedTuple):
    network: Callable[[], nn.Module]
    shape: tuple[int, ...]


CASES = {
    "ResNet-18, 128 images 32x32": Case(resnet18, (128, 3, 32, 32)),
    "transformer, 32 x 64 tokens": Case(Transformer, (32, 64, 256)),
}


class Parts(NamedTuple):
    network: nn.Module
    optimizer: torch.optim.Optimizer
    metrics: MetricCollection
    batches: list[list[Tensor]]


def parts(case: Case, steps: int) -> Parts:
    torch.manual_seed(1)
    network = case.network().cuda()
    options: dict[str, Any] = {"num_classes": CLASSES, "validate_args": False}  # which would look at the values
    metrics = {"accuracy": MulticlassAccuracy(average="micro", **options), "f1": MulticlassF1Score(**options)}
    batch = [torch.randn(case.shape).pin_memory(), torch.randint(CLASSES, case.shape[:1]).pin_memory()]
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    return Parts(network, optimizer, MetricCollection(metrics).cuda(), [batch] * steps)


class Clock(NamedTuple):
    seconds: float
    syncs: Counter


def hand_written(case: Case, steps: int) -> Clock:
    network, optimizer, metrics, batches = parts(case, steps)
    total = torch.zeros((), device="cuda")
    watch = Watch()
    for index, batch in enumerate(batches):
        watch.before(index)
        x, y = (item.to("cuda", non_blocking=True) for item in batch)
        with torch.autocast("cuda", torch.bfloat16):
            pred = network(x)
            loss = cross_entropy(pred, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        metrics.update(pred.detach(), y)
        total += loss.detach() * len(x)
    return watch.end(steps)


class Watch:
    """Times and counts from the sixth step on, so that what happens once an epoch or run is not in it."""

    def before(self, index: int) -> None:
        if index == 5:
            torch.cuda.synchronize()
            gc.collect()
            self._caught = warnings.catch_warnings(record=True)
            self._warnings = self._caught.__enter__()
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            self._start = perf_counter()

    def end(self, steps: int) -> Clock:
        torch.cuda.set_sync_debug_mode("default")
        torch.cuda.synchronize()
        seconds = (perf_counter() - self._start) / (steps - 5)
        self._caught.__exit__(None, None, None)
        places = (f"{w.filename}:{w.lineno}" for w in self._warnings if "synchroniz" in str(w.message))
        return Clock(seconds, Counter(places))


class Watched(lighter.LighterModule):
    """Looks at the clock from its own step, as hooks of its own would add to the step."""

    watch: Watch

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.watch.before(batch_idx)
        x, y = batch
        pred = self(x)
        self.train_metrics(pred, y)
        return self.criterion(pred, y)


def by_lighter(case: Case, steps: int) -> Clock:
    network, optimizer, metrics, batches = parts(case, steps)
    module = Watched(network=network, criterion=cross_entropy, optimizer=optimizer, train_metrics=metrics)
    module.watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        trainer = lighter.Trainer(
            max_steps=steps,
            max_epochs=-1,
            accelerator="gpu",
            devices=1,
            precision="bf16-mixed",
            log_every_n_steps=LOG_EVERY,
            default_root_dir=folder,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        )
        trainer.fit(module, Repeated([*batches, batches[0]]))  # one more, so that the epoch does not end within
    return module.watch.end(steps)


class Repeated:
    """Batches that lie ready, as a loader."""

    def __init__(self, batches: list[list[Tensor]]) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def row(name: str, rounds: int) -> tuple[str, ...]:
    done = [(hand_written(CASES[name], STEPS), by_lighter(CASES[name], STEPS)) for _ in range(rounds + 1)][1:]
    ratios = [ours.seconds / plain.seconds for plain, ours in done]
    low, high = middle_half(ratios)
    plain, ours = done[-1]
    more = ours.syncs - plain.syncs
    for place, count in more.items():
        print(f"{name}: {count} synchronisations at {place}")
    return (
        name,
        f"{median(clock.seconds for clock, _ in done) * 1e3:.2f}",
        f"{median(ratios):.2f}",
        f"{low:.2f} to {high:.2f}",
        f"{sum(more.values()) / (STEPS - 5):.2f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10, help="how often each side trains (default: 10)")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("gpu_step.py: no CUDA device here, so nothing is measured")
        return
    sides.settle()
    rows = [row(name, options.rounds) for name in CASES]
    after = AFTER.format(rounds=options.rounds, device=torch.cuda.get_device_name())
    report("A GPU", COLUMNS, rows, before=BEFORE.format(steps=STEPS), after=after)


if __name__ == "__main__":
    main()
