"""Folders of shards, written and read in one process: whole or not at all, verified, and nothing in them is run."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric.strategies.fsdp import _is_sharded_checkpoint
from torch import distributed
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from lighter.errors import CheckpointError, DamagedCheckpointError, RefusedCheckpointError, StorageError
from lighter.files import folders
from lighter.files.integrity import verify
from lighter.files.manifest import IN_FOLDER, read_manifest
from lighter.files.partials import partial_of
from lighter.files.run_folder import RunFolder
from lighter.parts.weights.initial_weights import InitialWeights
from lighter.runs import find_checkpoint
from lighter.runs.checkpoint_files import Checkpoints
from lighter.trainer.checkpointing.fallback import refuse_damaged
from lighter.trainer.checkpointing.io import CheckpointFiles
from lighter.trainer.checkpointing.sharded_reading import read_outline, read_whole, refuse_pickles

FILES = (".metadata", "__0_0.distcp", "lighter.manifest", "meta.pt")


@pytest.fixture(autouse=True)
def group(tmp_path_factory: pytest.TempPathFactory, own_place: Path) -> Iterator[None]:
    store = tmp_path_factory.mktemp("store") / "store"
    distributed.init_process_group("gloo", f"file://{store}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def checkpoint(step: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "epoch": 0,
        "global_step": step,
        "pytorch-lightning_version": "2.6.6",
        "loops": {},
        "state_dict": {"layer.weight": torch.full((4, 3), float(step)), "layer.bias": torch.arange(4.0)},
        "optimizer_states": [{"state": {"layer.weight": {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]}],
        **more,
    }


def saved(name: str = "checkpoints/last.ckpt", step: int = 1, **more: Any) -> Path:
    CheckpointFiles().save_folder(checkpoint(step, **more), name)
    return Path(name)


def test_a_folder_is_what_was_saved() -> None:
    path = saved()
    assert sorted(file.name for file in path.iterdir()) == sorted(FILES)
    manifest = verify(path)
    assert manifest is not None
    assert (manifest.step, manifest.epoch, manifest.complete) == (1, 0, True)
    assert manifest.size == sum((path / name).stat().st_size for name in FILES if name != IN_FOLDER)
    read, expected = read_whole(path), checkpoint()
    assert torch.equal(read["state_dict"].pop("layer.weight"), expected["state_dict"].pop("layer.weight"))
    assert torch.equal(read["state_dict"].pop("layer.bias"), expected["state_dict"].pop("layer.bias"))
    assert read == expected
    assert {name: one.device.type for name, one in read_outline(path)["state_dict"].items()} == {
        "layer.weight": "meta",
        "layer.bias": "meta",
    }


def test_lightning_and_torch_read_it() -> None:
    path = saved()
    assert _is_sharded_checkpoint(path)
    dcp_to_torch_save(path, "one.pt")
    assert torch.equal(torch.load("one.pt", weights_only=True)["state_dict"]["layer.bias"], torch.arange(4.0))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["a bit", "cut", "missing"])
def test_damage_is_found(name: str, damage: str) -> None:
    good, path = saved("checkpoints/good.ckpt"), saved()
    file = path / name
    content = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
        if name == IN_FOLDER:
            assert verify(path) is None  # that of another program, which torch can read
            return
    else:
        content[len(content) // 2] ^= 8
        file.write_bytes(content if damage == "a bit" else content[:-5])
    with pytest.raises(DamagedCheckpointError, match=name.replace(".", r"\.")):
        verify(path)
    with pytest.raises(DamagedCheckpointError, match=f"The newest good one beside it is {good}"):
        refuse_damaged(str(path), verify)


def test_a_folder_of_another_program_that_was_torn_is_found() -> None:
    path = saved()
    for name in (IN_FOLDER, ".metadata"):
        (path / name).unlink()
    with pytest.raises(DamagedCheckpointError, match=r"it has no \.metadata, which is written last"):
        find_checkpoint.verify(str(path), weights_only=True)


def test_a_newer_one_takes_its_place_and_another_kind_too() -> None:
    path = saved()
    saved(step=2)
    assert read_whole(path)["global_step"] == 2
    CheckpointFiles().save_checkpoint(checkpoint(3), path)
    assert torch.load(path, weights_only=True)["global_step"] == 3
    saved(step=4)
    assert read_whole(path)["global_step"] == 4
    assert os.listdir("checkpoints") == ["last.ckpt"]
    CheckpointFiles().remove_checkpoint(path)
    assert os.listdir("checkpoints") == []


def test_after_a_kill_while_one_is_replaced_the_earlier_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    saved()
    rename, killed = os.rename, KeyboardInterrupt

    def until_moved(old: Any, new: Any) -> None:
        if Path(new).name == "last.ckpt":
            raise killed
        rename(old, new)

    aside = saved_aside(2)
    with monkeypatch.context() as patch:
        patch.setattr(folders.os, "rename", until_moved)
        with pytest.raises(killed):  # a killed process moves nothing back either
            folders.publish(aside, Path("checkpoints/last.ckpt"))
    [left] = Checkpoints(RunFolder(Path.cwd()), {}).newest
    assert (left.path.name, left.step) == ("last.replaced.ckpt", 1)
    assert verify(left.path)
    saved(step=3)
    assert [name for name in os.listdir("checkpoints") if not name.startswith(".")] == ["last.ckpt"]


def saved_aside(step: int) -> Path:
    path = saved("checkpoints/aside.ckpt", step)
    partial = partial_of(Path("checkpoints/last.ckpt"))
    os.rename(path, partial)
    return partial


def test_what_killed_processes_left_is_removed() -> None:
    path = saved()
    shutil.copytree(path, folders.replaced(path))
    dead = path.with_name(partial_of(path).name.replace(str(os.getpid()), "1"))
    shutil.copytree(path, dead)
    folders.clean(Path("checkpoints"))
    assert os.listdir("checkpoints") == ["last.ckpt"]


def test_a_full_disk_leaves_the_earlier_one(monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved()

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    message = r"last\.ckpt cannot be written: No space left on device.*Kept as before"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=message):
            saved(step=2)
    assert os.listdir("checkpoints") == ["last.ckpt"]
    assert verify(path) == read_manifest(path)
    assert read_whole(path)["global_step"] == 1


class Planted:
    """Makes a folder when it is loaded."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("planted",)


def in_metadata(path: Path) -> None:
    (path / ".metadata").write_bytes(pickle.dumps(Planted()))


def in_rest(path: Path) -> None:
    torch.save({**torch.load(path / "meta.pt"), "planted": Planted()}, path / "meta.pt")


def in_shard(path: Path) -> None:
    shutil.rmtree(path)
    saved(optimizer_states=[{"state": {}, "param_groups": [{"lr": Planted()}]}])


@pytest.mark.parametrize("plant", [in_metadata, in_rest, in_shard])
def test_nothing_that_is_planted_runs(plant: Callable[[Path], None]) -> None:
    path = saved()
    plant(path)
    shutil.rmtree("planted", ignore_errors=True)
    (path / IN_FOLDER).unlink()
    if plant is not in_shard:
        with pytest.raises(RefusedCheckpointError, match="loading that can run code"):
            find_checkpoint.verify(str(path), weights_only=True)
    for read in (read_whole, refuse_pickles):
        with pytest.raises((pickle.UnpicklingError, CheckpointError)):
            read(path)
    assert not Path("planted").exists()
    if plant is not in_metadata:  # it holds nothing else
        read_whole(path, weights_only=False)
        assert Path("planted").exists()


def test_plain_data_is_not_refused() -> None:
    refuse_pickles(saved())


def test_metadata_that_leads_elsewhere_is_refused() -> None:
    path = saved()
    metadata = pickle.loads((path / ".metadata").read_bytes())
    for info in metadata.storage_data.values():
        info.relative_path = "../last.ckpt/__0_0.distcp"
    (path / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(pickle.UnpicklingError, match="outside of its folder"):
        read_outline(path)


def test_its_weights_are_initial_weights() -> None:
    path = saved(step=7)
    layer = torch.nn.ModuleDict({"layer": torch.nn.Linear(3, 4)})
    for given in (path, "checkpoints/*.ckpt"):
        [report] = InitialWeights(str(given)).load(layer.state_dict(), ())
        assert report.share == 1.0
        assert layer["layer"].weight[0, 0] == 7
        layer["layer"].weight.data.zero_()
    saved_object = saved("objects.ckpt", state_dict={"layer.weight": Path("x")})
    with pytest.raises(CheckpointError, match="holds more than weights and plain data"):
        InitialWeights(str(saved_object)).load(layer.state_dict(), ())
