"""Checkpoints of a fit with `parallel`: folders of shards, which any number of processes resumes and others read."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import lighter
from lighter.exporting.weights import export_weights
from lighter.files.run_folder import RunFolder
from tests.parallel.fits import BATCH, PROCESSES, config, run

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore:FSDP2-wrapped module")]
SAMPLES = 6 * BATCH
SAVES = {"_target_": "pytorch_lightning.callbacks.ModelCheckpoint", "every_n_train_steps": 2, "save_top_k": -1}


def numbered(kind: str, steps: int, name: str) -> dict[str, Any]:
    """A fit of an epoch of 6 steps, whose samples are known."""
    given = config(kind, steps=steps)
    given["model"]["network"]["dropout"] = 0.2
    given["data"]["train_dataloader"]["dataset"] |= {"samples": SAMPLES, "numbered": True}
    given["trainer"]["callbacks"].append(copy.deepcopy(SAVES))
    return {**given, "run": {"name": name}}


def forget(place: Path) -> None:
    for watched in place.glob("watch-*"):
        watched.unlink()


def samples(of_processes: list[Any], *, since: int = 0, until: int | None = None) -> list[int]:
    """The samples of some steps, of which the first are those of the checkpoint; tensor ranks have the same."""
    shares = {json.dumps(each["batches"][since:until]) for each in of_processes}
    return sorted(sample for share in shares for batch in json.loads(share) for sample in batch)


def test_a_fit_on_four_processes_is_resumed_by_four_two_and_one_and_read_without_any(own_place: Path) -> None:
    whole = run("both", numbered("both", 4, "whole"))
    [folder] = own_place.glob("outputs/*/*-whole")
    assert "whole network first" not in (folder / "run.log").read_text()
    half, last = (next(folder.glob(f"checkpoints/*step={step}.ckpt")) for step in (2, 4))
    assert len([*half.glob("*.distcp")]) == PROCESSES["both"]

    again = run("both", numbered("both", 4, "again"), ckpt_path=str(half))
    assert [each["losses"] for each in again] == [each["losses"] for each in whole]  # bits
    assert again[0]["weights"] == whole[0]["weights"]

    before = samples(whole, until=2)
    forget(own_place)
    two = run("fsdp", numbered("fsdp", 6, "two"), ckpt_path=str(half))
    [log] = own_place.glob("outputs/*/*-two/run.log")
    assert "resume: exact in its samples (2 processes now, 4 then)" in log.read_text()
    assert sorted(before + samples(two, since=2)) == list(range(SAMPLES))
    losses = [*whole[0]["losses"][:2], *two[0]["losses"][-4:]]
    # each data rank has what the one of its number had added up
    assert two[0]["metrics"]["train/loss/epoch"] == pytest.approx(sum(losses) / len(losses), abs=1e-5)

    forget(own_place)
    [one] = run("one", numbered("one", 6, "one"), ckpt_path=str(half))
    [log] = own_place.glob("outputs/*/*-one/run.log")
    assert "resume: exact in its samples (1 processes now, 4 then)" in log.read_text()
    assert sorted(before + samples([one], since=2)) == list(range(SAMPLES))

    expected = whole[0]["weights"]  # gathered by all processes
    for source in (last, folder):
        module = lighter.load(source)
        assert {name: parameter.tolist() for name, parameter in module.named_parameters()} == expected
    exported = export_weights(RunFolder(folder))
    assert {name: weight.tolist() for name, weight in load_file(exported.path).items()} == expected
    with pytest.warns(UserWarning, match="callbacks used to create the checkpoint"):
        assert lighter.Runner().run("validate", config("one"), ckpt_path=str(last))
