"""Runs and experiments for pages, made without running anything."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lighter.experiments.member_files import write_member
from lighter.experiments.trials import Member
from tests.runs.jobs import make_run

DAY = "2026-11-29"
CONFIG = """\
seed: {seed}
model:
  _target_: project.Classifier
  optimizer: {{_target_: torch.optim.Adam, lr: {lr}}}
data:
  train_dataloader: {{dataset: {{_target_: project.data.digits}}}}
"""
EXPERIMENT = """\
seed: 1
trainer: {{max_epochs: 9}}
model: {{_target_: project.Classifier}}
experiment:
  seeds: {seeds}
  objective: min val/loss/epoch
  search:
    space: {{model::lr: {{from: 1e-4, to: 1e-1, scale: log}}, model::kind: [a, b]}}
    trials: {trials}
"""
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


def make_fit(root: Path, number: int = 0, *, seed: int = 1, lr: float = 0.1, points: int = 5, **facts: Any) -> Path:
    """A fit whose loss falls over so many points; the smaller the learning rate, the worse."""
    identity = facts.pop("identity", f"{DAY}/10-{number // 60:02}-{number % 60:02}-digits")
    last = round(0.1 + 0.01 * seed - math.log10(lr) / 10 + 0.003 * math.sin(7 * number), 6)
    given = {
        "seed": seed,
        "started": f"{DAY}T10:{number // 60:02}:{number % 60:02}+00:00",
        "ended": f"{DAY}T11:{number // 60:02}:{number % 60:02}+00:00",
        "metrics": {"val/loss/epoch": last, "val/accuracy/epoch": 1 - last, "train/optimizer/Adam/lr/epoch": lr},
        "data": {"train": [{"class": "Digits", "length": 1200, "fingerprint": "a"}]},
        "hardware": {"cpus": 2, "machine": "x86_64", "gpus": ["NVIDIA H200", "NVIDIA H200"]},
        "trainer": {"accelerator": "CUDAAccelerator", "devices": 2, "precision": "bf16-mixed"},
    }
    folder = make_run(root, identity, **{**given, **facts})
    (folder / "config.yaml").write_text(CONFIG.format(seed=seed, lr=lr))
    write_metrics(folder, points, last, seed)
    return folder


def write_metrics(folder: Path, points: int, last: float, seed: int = 0) -> None:
    noise = np.random.default_rng(seed).normal(scale=0.02, size=points)
    steps = range(9, 10 * points, 10)
    rows = [
        f"{index},{step},{last + 2 * math.exp(-4 * index / points) + noise[index]:.9f},{noise[index]:.9f}"
        for index, step in enumerate(steps)
    ]
    (folder / "metrics.csv").write_text("\n".join(["epoch,step,val/loss/epoch,train/loss/step", *rows]) + "\n")


def make_search(root: Path, *, trials: int = 12, best: int = 3, seeds: int = 1) -> Path:
    """An experiment whose trial `best` is the best; the loss has its minimum in the middle of the learning rates."""
    noise = np.random.default_rng(0).normal(scale=0.01, size=(trials, seeds))
    folder = root / "experiments" / DAY / "12-00-00-sweep"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(EXPERIMENT.format(trials=trials, seeds=seeds))
    for number in range(trials):
        lr = 10 ** (-4 + 3 * number / max(trials - 1, 1))
        for seed in range(1, seeds + 1):
            loss = 0.1 + 0.05 * abs(number - best) + (float(noise[number, seed - 1]) if seeds > 1 else 0)
            values = {"model::lr": lr, "model::kind": "ab"[number % 2]}
            member = Member(number, seed, None, values, results={0: (loss,)}, status="finished")
            facts = {"metrics": {"val/loss/epoch": loss}, "seed": seed, "progress": {"epoch": 9, "step": 90}}
            run = make_fit(folder, number, lr=lr, identity=member.name, **facts)
            config = f"seed: {seed}\nmodel: {{_target_: project.Classifier, lr: {lr}, kind: {'ab'[number % 2]}}}\n"
            (run / "config.yaml").write_text(config)
            write_member(folder, member)
    return folder


def evaluation(task: str = "classification", **facts: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "mode": "val",
        "epoch": 3,
        "step": 120,
        "task": task,
        "classes": ["cat", "dog"],
        "samples": 30,
        "metrics": {"accuracy": 0.9},
        "confusion": [[14, 1], [2, 13]],
        "per_class": {"precision": [0.875, 0.93], "recall": [0.93, 0.87], "support": [15, 15]},
        "roc": [{"class": "dog", "fpr": [0, 0.1, 1], "tpr": [0, 0.9, 1], "auc": 0.95}],
        "calibration": {"confidence": [0.5, 0.9], "accuracy": [0.6, 0.9], "count": [10, 20], "ece": 0.03},
        "sheets": [
            {"name": "worst", "file": "val-worst.png", "samples": [{"index": 4, "score": -2.5, "target": "cat"}]}
        ],
        **facts,
    }


def write_evaluation(run: Path, data: Mapping[str, Any], image: bytes = PNG, scores: Any = None) -> None:
    folder = run / "report"
    folder.mkdir(exist_ok=True)
    (folder / "val.json").write_text(json.dumps(data))
    (folder / "val-worst.png").write_bytes(image)
    if scores is not None:
        np.savez(folder / "val-samples.npz", index=np.arange(len(scores)), score=np.asarray(scores, float))


def write_picture(run: Path, step: int) -> None:
    folder = run / "pictures"
    folder.mkdir(exist_ok=True)
    facts = {"mode": "val", "epoch": 1, "step": step, "rows": [{"index": 0, "target": "cat", "prediction": "dog"}]}
    (folder / f"val-epoch1-step{step}.json").write_text(json.dumps(facts))
    (folder / f"val-epoch1-step{step}.png").write_bytes(PNG)


def data_in(page: str) -> dict[str, Any]:
    """The data of a page, as a program reads it."""
    text = page.partition('id="lighter-report">')[2].partition("</script>")[0]
    return dict(json.loads(text))


def write_arrays(run: Path, step: int, **arrays: Any) -> None:
    folder = run / "arrays"
    folder.mkdir(exist_ok=True)
    np.savez(folder / f"val-epoch1-step{step}.npz", **arrays)
