"""Runs and experiments with scores, made without training anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import lighter
from lighter.experiments.member_files import write_member
from lighter.experiments.trials import Member
from lighter.results.comparison import Comparison

ACCURACY, LOSS = "val/metrics/accuracy/epoch", "val/loss/epoch"
MODEL = (
    "model: {_target_: digits.Classifier, criterion: {_target_: torch.nn.CrossEntropyLoss},"
    " val_metrics: {accuracy: {_target_: torchmetrics.Accuracy}}}\n"
)
CONFIG = MODEL + "data: {train_dataloader: {_target_: DataLoader, shuffle: true}}\ntrainer: {max_epochs: 3}\n"
DATA = {"val": [{"class": "TensorDataset", "length": 300, "fingerprint": "abc"}]}
BASE, OURS = (0.80, 0.82, 0.81, 0.83, 0.79), (0.90, 0.91, 0.92, 0.93, 0.88)
CLOSE = (0.81, 0.81, 0.82, 0.82, 0.80)


def make_fit(
    folder: Path,
    accuracy: float,
    seed: int = 1,
    *,
    config: str = CONFIG,
    metrics: Mapping[str, float] | None = None,
    **facts: Any,
) -> Path:
    folder.mkdir(parents=True)
    record = {
        "id": f"{folder.parent.name}/{folder.name}",
        "stage": "fit",
        "status": "finished",
        "seed": seed,
        "seconds": 90.0,
        "host": "x",
        "hardware": {"cpu": "AMD EPYC", "cpus": 2, "memory_gb": 23.5},
        "trainer": {"devices": 1, "nodes": 1, "threads": 1},
        "code": {"digits": "1234"},
        "data": DATA,
        "progress": {"epoch": 3, "step": 114},
        "metrics": {ACCURACY: accuracy, LOSS: 1 - accuracy} if metrics is None else metrics,
    }
    (folder / "run.json").write_text(json.dumps(record | facts))
    (folder / "config.yaml").write_text(config)
    return folder


def make_fits(root: Path, name: str, accuracies: Sequence[float], hour: int = 10, first: int = 1, **facts: Any) -> str:
    """Make a fit for each value, with seeds from `first` on; return the word that means them all."""
    for index, accuracy in enumerate(accuracies):
        make_fit(root / "2026-11-22" / f"{hour}-00-{index:02}-{name}", accuracy, first + index, **facts)
    return name


def make_sweep(
    root: Path, name: str, trials: Sequence[Sequence[float | None]], *, hour: int = 14, folds: int = 0, **facts: Any
) -> Path:
    """Make an experiment with a member for each value of each trial; None is one that failed.

    With `folds`, the values are those of the folds of one seed, and then of the next.
    """
    folder = root / "experiments" / "2026-11-29" / f"{hour}-00-00-{name}"
    folder.mkdir(parents=True)
    count = len(trials[0]) // (folds or 1)
    space = (
        f"  search:\n    space: {{model::lr: {[0.1 / 10**at for at in range(len(trials))]}}}\n"
        if len(trials) > 1
        else ""
    )
    section = f"experiment:\n  objective: max {ACCURACY}\n  seeds: {count}\n{space}"
    section += f"  folds: {{kind: plain, n: {folds}}}\n" if folds else ""
    (folder / "config.yaml").write_text(f"seed: 1\n{CONFIG}{section}")
    for number, values in enumerate(trials):
        for index, value in enumerate(values):
            fold = index % folds if folds else None
            own = {"model::lr": 0.1 / 10**number}
            member = Member(number, 1 + index // (folds or 1), fold, own if len(trials) > 1 else {})
            if value is None:
                member.error = "ValueError: bad"
            else:
                member.results = {0: (value,)}
            write_member(folder, member)
            home, status = folder / member.name, "failed" if value is None else "finished"
            make_fit(folder / "aside", value or 0.0, member.seed, status=status, **facts)
            for path in (folder / "aside").iterdir():
                path.rename(home / path.name)
            (folder / "aside").rmdir()
    return folder


def add_report(run: Path, mode: str = "val", **arrays: np.ndarray) -> None:
    """Add what an evaluation recorded of its samples."""
    (run / "report").mkdir(exist_ok=True)
    np.savez(run / "report" / f"{mode}-samples.npz", **arrays)
    (run / "report" / f"{mode}.json").write_text(
        json.dumps({"format": 1, "mode": mode, "scores": f"{mode}-samples.npz"})
    )


def compared(root: Path, one: dict[str, Any], other: dict[str, Any], **options: Any) -> Comparison:
    make_fits(root, "base", one.pop("values", BASE), **one)
    make_fits(root, "ours", other.pop("values", OURS), hour=11, **other)
    return lighter.compare("base", "ours", root=root, **{"metric": "val/metrics/accuracy", **options})
