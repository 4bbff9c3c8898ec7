"""Runs to export, made of a module's weights as they are at the beginning: nothing is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from click.testing import CliRunner, Result
from pytorch_lightning import seed_everything

import lighter
from lighter.cli import cli
from lighter.files.run_folder import RunFolder
from tests.runs.jobs import make_run

RUN = "2026-01-02/10-00-00-digits"


def loader(start: int, end: int, batch_size: int = 16) -> dict[str, Any]:
    return {"_target_": "tests.jobs.loader", "start": start, "end": end, "batch_size": batch_size}


def config_of(network: Any, module: str = "tests.exporting.faults.Digits", **model: Any) -> dict[str, Any]:
    return {
        "seed": 1,
        "model": {"_target_": module, "network": network, **model},
        "data": {"_target_": "lighter.LighterDataModule", "val_dataloader": loader(0, 32)},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }


def holder(fault: str) -> dict[str, Any]:
    fault = {"_target_": f"tests.exporting.faults.{fault}"}
    return {"_target_": "tests.exporting.faults.Holder", "fault": fault}


def made(place: Path, config: dict[str, Any], identity: str = RUN, **facts: Any) -> RunFolder:
    """Make the folder of a finished run, with a checkpoint of the config's module."""
    seed_everything(1, verbose=False)
    module = lighter.build(config, "validate").module
    folder = RunFolder(make_run(place / "outputs", identity, **{"metrics": {}, **facts}))
    folder.checkpoints.mkdir()
    content = {
        "state_dict": module.state_dict(),
        "epoch": 0,
        "global_step": 10,
        "pytorch-lightning_version": "2.5.0",
        "lighter": {"config": config},
    }
    torch.save(content, folder.checkpoints / "last.ckpt")
    return folder


def export(kind: str, *words: str, run: str = "last") -> Result:
    return CliRunner().invoke(cli, ["export", kind, run, *words])
