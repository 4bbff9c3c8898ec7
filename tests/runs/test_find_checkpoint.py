"""Files that are not the checkpoint that was meant: the message says what they are, and what to name instead."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from lighter.errors import CheckpointError, DamagedCheckpointError
from lighter.files.run_folder import RunFolder
from lighter.runs.find_checkpoint import find, verify

WEIGHTS = {"w": torch.zeros(2)}
MODEL = {"state_dict": WEIGHTS, "pytorch-lightning_version": "2.6.6"}
WHOLE = {**MODEL, "optimizer_states": [], "loops": {}}


def saved(content: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path)


def text(path: Path) -> None:
    path.write_text("hello world\n")


def run(path: Path) -> None:
    (path / "checkpoints").mkdir(parents=True)
    torch.save(WHOLE, path / "checkpoints" / "last.ckpt")


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "weights.ckpt": (
        saved(WEIGHTS),
        r"is no checkpoint: it has no `state_dict`\. A fit starts with its weights: model::ckpt_path=weights\.ckpt$",
    ),
    "nested.ckpt": (saved({"state_dict": WEIGHTS}), "is no checkpoint: it has no `pytorch-lightning_version`"),
    "list.ckpt": (saved([1, 2]), "is no checkpoint: it has no `state_dict`"),
    "model.ckpt": (saved(MODEL), "holds only weights, from which no training resumes: it has no `optimizer_states`"),
    "object.ckpt": (
        saved({**WHOLE, "hyper_parameters": {"path": Path("x")}}),
        r"holds more than weights and plain data \(pathlib\.\w+\), and loading that can run code\."
        " If you trust its origin, add --no-weights_only$",
    ),
    "text.ckpt": (text, "is no checkpoint: torch.save writes no such file"),
    "weights.safetensors": (text, "holds weights, and --ckpt_path takes checkpoints. .*::ckpt_path=weights.safeten"),
    "folder": (Path.mkdir, "is a folder, and no checkpoint; there is none in it$"),
    "run": (run, "is a folder, and no checkpoint; in it there is: run/checkpoints/last.ckpt$"),
    "": (lambda path: None, "^--ckpt_path is empty; it is a path, `last` or `best`$"),
    "link.ckpt": (lambda path: os.symlink("nothing", path), r"^there is no checkpoint link.ckpt\.$"),
}


def asked_for(path: str) -> str:
    nothing = RunFolder(Path("outputs/2026-01-01/none"))
    return find(path, Path("outputs"), "run", besides=nothing, check=lambda p: verify(p, weights_only=True, fits=True))


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_checkpoint(name: str, own_place: Path) -> None:
    make, message = WRONG[name]
    make(Path(name))
    with pytest.raises(CheckpointError, match=message):
        asked_for(name)


def test_only_a_fit_needs_more_than_the_model(own_place: Path) -> None:
    torch.save(MODEL, "model.ckpt")
    verify("model.ckpt", weights_only=True)


def test_a_damaged_one_is_named_whatever_lies_beside_it(own_place: Path) -> None:
    Path("empty.ckpt").touch()
    torch.save({**WHOLE, "hyper_parameters": {"path": Path("x")}}, "object.ckpt")
    with pytest.raises(DamagedCheckpointError, match=r"^empty.ckpt is damaged: .* There is no good one beside it$"):
        asked_for("empty.ckpt")


def test_last_of_the_runs_that_are_meant(own_place: Path) -> None:
    """Of a member of an experiment its own, and not that of the newest run with its name."""
    ordinary, member = (
        Path("outputs/2026-01-02/10-00-00-run"),
        Path("outputs/experiments/2026-01-01/x/trial-0000-seed-1"),
    )
    for folder in (ordinary, member):
        run(folder)
    nothing, check = RunFolder(Path("outputs/2026-01-01/none")), partial(verify, weights_only=True)
    found = partial(find, "last", Path("outputs"), "run", besides=nothing, check=check)
    assert Path(found()) == ordinary / "checkpoints/last.ckpt"
    assert Path(found(among=[RunFolder(member)])) == member / "checkpoints/last.ckpt"
    with pytest.raises(CheckpointError, match="there is no last checkpoint"):
        found(among=[])
