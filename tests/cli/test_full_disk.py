"""A full disk, as the one sees it who typed the command."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from pytorch_lightning import Callback

from lighter.cli import cli
from lighter.config.yaml import dump
from tests.trainer.checkpointing.jobs import Disk, disk

__all__ = ["disk"]


class Logs(Callback):
    """What another's logger does on a full disk."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "their.log")


def fit(config: dict[str, Any], *words: str) -> Result:
    Path("digits.yaml").write_text(dump(config))
    return CliRunner().invoke(cli, ["fit", "digits.yaml", "trainer::logger=false", *words])


def test_a_checkpoint_that_cannot_be_written(config: dict[str, Any], disk: Disk) -> None:
    disk.error = errno.EDQUOT
    found = fit(config)
    assert found.exit_code == 1
    [folder] = Path("outputs").glob("*/*")
    assert re.search(
        rf"\nThe disk cannot be written to\.\n\n{folder.absolute()}/checkpoints/best\.ckpt cannot be written:"
        r" Disk quota exceeded \(it takes [\d.]+ kB\)\. There is no earlier checkpoint\. Make room, then lighter"
        r" resume, or start again; or train without it: trainer::on_save_error=continue\n$",
        found.stderr,
    )
    assert "Traceback" not in found.output


def test_going_on_without(config: dict[str, Any], disk: Disk) -> None:
    disk.error = errno.EROFS
    found = fit(config, "trainer::on_save_error=continue")
    assert found.exit_code == 0
    assert found.output.count("cannot be written: Read-only file system. There is no earlier checkpoint.") == 1
    assert "5 saves of checkpoints failed in this fit" in found.output


def test_another_writer(config: dict[str, Any]) -> None:
    config["trainer"]["callbacks"] = [{"_target_": "tests.cli.test_full_disk.Logs"}]
    found = fit(config)
    assert found.exit_code == 1
    assert found.stderr.endswith(
        "The disk cannot be written to.\n\ntheir.log cannot be written: No space left on device\n\n"
        "(--traceback shows by whom.)\n"
    )
    assert "on_train_epoch_end" in fit(config, "--traceback").stderr
