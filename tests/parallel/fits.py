"""Fits of one config on several processes: forks of the test's own process (`tests/forks.py`)."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch._dynamo  # noqa: F401  of FSDP2: here, once for all forks

import lighter.parallel.strategy  # noqa: F401
from lighter import Runner
from tests.forks import launch
from tests.parallel.jobs import PLAN

KINDS: dict[str, dict[str, Any]] = {
    "one": {"trainer": {"devices": 1}},
    "ddp": {"trainer": {"devices": 2, "strategy": "ddp"}},
    "fsdp": {"parallel": {"data": 2}},
    "tensor": {"parallel": {"data": 1, "tensor": 2, "plan": PLAN}},
    "both": {"parallel": {"data": 2, "tensor": 2, "plan": PLAN}},
}
"""What a kind of parallelism adds to a config."""
PROCESSES = {"one": 1, "ddp": 2, "fsdp": 2, "tensor": 2, "both": 4}
BATCH = 8
SAMPLER = "torch.utils.data.DistributedSampler"


def config(kind: str = "one", *, steps: int = 10, **model: Any) -> dict[str, Any]:
    """The config of a fit, with the same batches in all: a process's share is one of them."""
    shares = {"one": 1, "tensor": 1}.get(kind, 2)
    added = copy.deepcopy(KINDS[kind])
    # Lightning shuffles by this sampler where there are several processes
    order = {"_target_": SAMPLER, "dataset": "@data::train_dataloader::dataset", "seed": 5}
    sampler = {**order, "num_replicas": 1, "rank": 0} if kind == "one" else None
    return {
        "seed": 5,
        "model": {
            "_target_": "tests.parallel.jobs.Model",
            "network": {"_target_": "tests.parallel.jobs.Tiny"},
            "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.01},
            **model,
        },
        "data": {
            "_target_": "lighter.LighterDataModule",
            **{
                f"{mode}_dataloader": {
                    "_target_": "torch.utils.data.DataLoader",
                    "dataset": {"_target_": "tests.parallel.jobs.tokens", "samples": samples, "seed": seed},
                    "batch_size": BATCH // shares,
                    **({"sampler": sampler} if mode == "train" and sampler else {}),
                }
                for mode, samples, seed in (("train", 160, 0), ("val", 16, 1), ("predict", 32, 2))
            },
        },
        "trainer": {
            "accelerator": "cpu",
            "max_steps": steps,
            "num_sanity_val_steps": 0,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "callbacks": [{"_target_": "tests.parallel.jobs.Watch"}],
            **added.get("trainer", {}),
        },
        **({"parallel": added["parallel"]} if "parallel" in added else {}),
    }


def run(kind: str, given: dict[str, Any], stage: str = "fit", *, failing: bool = False, **arguments: Any) -> list[Any]:
    """Run a stage on the processes of a kind; returns what each of them saw, by rank."""
    launch(lambda: Runner().run(stage, given, **arguments), PROCESSES[kind], None, failing=failing)
    return [json.loads(path.read_text()) for path in sorted(Path().glob("watch-*.json"))]
