"""Fits of one config on several processes: forks of the test's own process (`tests/forks.py`)."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch._dynamo  # of FSDP2, and the next of saves: here, once for all forks
import torch.distributed.checkpoint  # noqa: F401

import lighter.parallel.strategy  # noqa: F401
from lighter import Runner
from lighter.errors import LighterError
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


def run(kind: str, given: dict[str, Any], stage: str = "fit", **arguments: Any) -> list[Any]:
    """Run a stage on the processes of a kind; returns what each of them saw, by rank."""
    return run_in_turn(PROCESSES[kind], {"": lambda: Runner().run(stage, given, **arguments)})[""]


def run_in_turn(processes: int, fits: Mapping[str, Callable[[], object]]) -> dict[str, list[Any]]:
    """Run fits one after another in the same processes: to begin these takes longer than most of the fits.

    Returns:
        what each process saw of each fit, by name and rank.
    """

    def job() -> None:
        rank = os.environ.get("LOCAL_RANK", "0")
        for number, fit in enumerate(fits.values()):
            with patch.dict(os.environ):  # a fit leaves there what its own child processes need
                fit()
            if Path(f"watch-{rank}.json").exists():
                Path(f"watch-{rank}.json").rename(f"seen-{number}-{rank}.json")

    launch(job, processes, None)
    return {name: [_read(path) for path in sorted(Path().glob(f"seen-{n}-*.json"))] for n, name in enumerate(fits)}


def _read(path: Path) -> Any:
    seen = json.loads(path.read_text())
    path.unlink()  # the next fits may be on fewer processes
    return seen


def refused(given: dict[str, Any]) -> Callable[[], None]:
    """Return a fit that is refused; what each process saw of it is the message."""

    def fit() -> None:
        try:
            Runner().run("fit", given)
        except LighterError as error:
            Path(f"watch-{os.environ['LOCAL_RANK']}.json").write_text(json.dumps(str(error)))
        else:
            raise AssertionError("it is not refused")

    return fit
