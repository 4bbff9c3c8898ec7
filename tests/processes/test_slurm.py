"""SLURM's commands on the PATH: Lightning's hint is for jobs of SLURM's only."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from pytorch_lightning.demos.boring_classes import BoringModel

import lighter
from lighter.processes.slurm import no_srun_hint

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
HINT = "`srun` command is available"


@pytest.fixture
def srun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A login node, where warnings are shown."""
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with warnings.catch_warnings():
        warnings.resetwarnings()
        yield


def hints(caught: list[warnings.WarningMessage]) -> int:
    return sum(HINT in str(one.message) for one in caught)


@pytest.mark.parametrize("trainer", ["lighter.Trainer", "pytorch_lightning.Trainer"])
def test_a_run_on_a_login_node_has_no_hint(
    trainer: str, config: dict[str, Any], srun: None, recwarn: pytest.WarningsRecorder
) -> None:
    config["trainer"] |= {"_target_": trainer, "max_steps": 1, **QUIET}
    lighter.Runner().run("fit", [config])
    assert hints(recwarn.list) == 0


def test_a_script_on_a_login_node_has_no_hint(srun: None, recwarn: pytest.WarningsRecorder) -> None:
    pl.Trainer(accelerator="cpu", **QUIET)
    assert hints(recwarn.list) == 1  # Lightning's, as it is
    trainer = lighter.Trainer(accelerator="cpu", max_steps=1, **QUIET)
    trainer.fit(BoringModel())
    trainer.validate(BoringModel(), verbose=False)
    assert hints(recwarn.list) == 1


def test_a_job_of_slurms_has_the_hint(
    srun: None, recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    lighter.Trainer(accelerator="cpu", **QUIET)
    assert hints(recwarn.list) == 1


def test_filters_that_are_set_meanwhile_stay() -> None:
    with warnings.catch_warnings():
        before = list(warnings.filters)
        with no_srun_hint():
            warnings.filterwarnings("ignore", "something of the user's")
            with no_srun_hint():
                pass
        assert warnings.filters[1:] == before
        assert warnings.filters[0][1].pattern == "something of the user's"
