from __future__ import annotations

import os
import resource
import signal
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from lighter.files.integrity import verify
from lighter.trainer.checkpointing import writing
from lighter.trainer.checkpointing.writing import write


def a_checkpoint(**more: Any) -> dict[str, Any]:
    weights = {"large": torch.randn(600, 600), "small": torch.randn(7), "empty": torch.empty(0), "one": torch.tensor(3)}
    return {"state_dict": weights, "epoch": 2, "global_step": 7, **more}


@pytest.mark.parametrize("name", ["last.ckpt", "sub/folders/é 日本.ckpt", "a" * 251 + ".pt"])
def test_everyone_reads_it(name: str) -> None:
    path, checkpoint = Path(name), a_checkpoint()
    assert write(checkpoint, path) == []
    assert [entry.name for entry in path.parent.iterdir() if entry.is_file()] == [path.name]
    for arguments in ({}, {"mmap": True}, {"weights_only": True}, {"weights_only": False}):
        found = torch.load(path, **arguments)
        assert all(torch.equal(value, checkpoint["state_dict"][key]) for key, value in found["state_dict"].items())
        assert (found["epoch"], found["global_step"], len(found["state_dict"])) == (2, 7, 4)
    assert TorchCheckpointIO().load_checkpoint(path)["global_step"] == 7
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"lighter checkpoint manifest\n")


@pytest.mark.parametrize("large", [23, 64, 100, 1000, 5000])
def test_in_whatever_pieces_it_comes(large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_BUFFER", large)
    for number in range(20):
        write({"state_dict": {str(size): torch.ones(size) for size in range(number)}}, Path(f"{number}.ckpt"))
        assert verify(f"{number}.ckpt") is not None
        assert len(torch.load(f"{number}.ckpt")["state_dict"]) == number


@pytest.mark.parametrize("checkpoint", [{}, torch.zeros(3), {"w": torch.zeros(3)}, {"lighter": 3, "epoch": "x"}, None])
def test_whatever_is_saved(checkpoint: Any) -> None:
    write(checkpoint, Path("any.ckpt"))
    manifest = verify("any.ckpt")
    assert manifest is not None
    assert (manifest.step, manifest.epoch, manifest.config) == (None, None, None)
    torch.load("any.ckpt")


def test_what_it_says_of_itself() -> None:
    write(a_checkpoint(lighter={"config": {"seed": 3}}), Path("last.ckpt"))
    manifest = verify("last.ckpt")
    assert manifest is not None
    with zipfile.ZipFile("last.ckpt") as archive:
        assert manifest.size == Path("last.ckpt").stat().st_size - len(archive.comment)
    assert (manifest.step, manifest.epoch) == (7, 2)
    assert set(manifest.versions or ()) == {"lighter", "torch", "pytorch-lightning"}
    assert (manifest.versions or {})["torch"] == version("torch")
    assert (manifest.saved or "").endswith("+00:00")
    write(a_checkpoint(lighter={"config": {"seed": 4}}), Path("other.ckpt"))
    other = verify("other.ckpt")
    assert other is not None
    assert len(manifest.config or "") == 64
    assert manifest.config != other.config


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """What a full disk is to a process."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [0, 100, 1_000_000, 1_442_500])
def test_a_write_that_fails_leaves_what_was_there(size: int, own_place: Path) -> None:
    write(a_checkpoint(), Path("last.ckpt"))
    assert Path("last.ckpt").stat().st_size > size
    before = Path("last.ckpt").read_bytes()
    with files_of_at_most(size), pytest.raises(OSError, match="File too large"):
        write(a_checkpoint(), Path("last.ckpt"))
    assert [path.name for path in own_place.iterdir()] == ["last.ckpt"]
    assert Path("last.ckpt").read_bytes() == before


def test_so_does_one_of_what_cannot_be_pickled(own_place: Path) -> None:
    write(a_checkpoint(), Path("last.ckpt"))
    with pytest.raises(Exception, match="pickle"):
        write(a_checkpoint(function=lambda: 3), Path("last.ckpt"))
    assert [path.name for path in own_place.iterdir()] == ["last.ckpt"]
    verify("last.ckpt")


def test_it_is_synced_before_it_has_its_name_and_its_folder_after(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append(Path(os.readlink(f"/proc/self/fd/{fd}"))), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda old, new: (done.append(Path(new)), replace(old, new)))
    write(a_checkpoint(), Path("new/last.ckpt"))
    here = Path.cwd()
    assert done[0] == here
    assert done[1].name.startswith(".last.ckpt.partial-")
    assert done[2:] == [Path("new/last.ckpt"), here / "new"]


def test_tensors_are_not_copied() -> None:
    checkpoint = {"state_dict": {str(number): torch.zeros(1 << 20) for number in range(8)}}
    write(checkpoint, Path("first.ckpt"))
    tracemalloc.start()
    write(checkpoint, Path("last.ckpt"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert Path("last.ckpt").stat().st_size > 32 << 20
    assert peak < 4 << 20
