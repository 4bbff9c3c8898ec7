"""Contracts of the private names of sharded checkpoints; see `contracts.py`."""

from __future__ import annotations

import inspect
import pickle
import pickletools
import tempfile
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.strategies import ModelParallelStrategy
from torch.distributed.checkpoint.default_planner import _EmptyStateDictLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemWriter, _StorageInfo
from torch.distributed.checkpoint.metadata import _MEM_FORMAT_ENCODING, TensorProperties
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor, Shard

from lighter._lightning.live_bytes import fake_mesh
from lighter._lightning.sharded import load_whole
from tests._lightning.contract import Contract

STATE: dict[str, Any] = {"state_dict": {"a.b": torch.arange(3.0)}, "optimizer_0": {"param_groups": [{"lr": 0.1}]}}


def saved_and_loaded() -> Any:
    """What a folder of one process has, by the metadata that the installed torch writes."""
    with tempfile.TemporaryDirectory() as folder:
        save(STATE, storage_writer=FileSystemWriter(folder), no_dist=True)
        return load_whole(Path(folder), weights_only=True)


def names_in(value: Any) -> set[str]:
    """The names that a pickle of a value has."""
    found = pickletools.genops(pickle.dumps(value))
    return {str(argument) for operation, argument, _ in found if "UNICODE" in operation.name}


def is_loaded() -> bool:
    loaded = saved_and_loaded()
    return torch.equal(loaded["state_dict"]["a.b"], torch.arange(3.0)) and loaded["optimizer_0"] == STATE["optimizer_0"]


def has_its_own_mesh() -> bool:
    """Whether what is computed on a mesh is on that mesh, after the same computation on an equal one that is gone."""
    for _ in range(2):
        with fake_mesh(2, 1) as both:
            mesh = both["data_parallel"]
            computed = DTensor.from_local(torch.ones(2), mesh, [Shard(0)]) + 1
    return computed.device_mesh is mesh


SHARDED: dict[str, Contract] = {
    "_save_distributed_checkpoint": Contract(
        "whether a strategy saves folders",
        lambda facts: (
            ModelParallelStrategy()._save_distributed_checkpoint
            and not ModelParallelStrategy(save_distributed_checkpoint=False)._save_distributed_checkpoint
        ),
    ),
    "_EmptyStateDictLoadPlanner": Contract(
        "sharded checkpoints in one process",
        lambda facts: "load_bytes" not in vars(_EmptyStateDictLoadPlanner) and is_loaded(),
    ),
    "_load_state_dict": Contract(
        "sharded checkpoints in one process",
        lambda facts: (
            {"state_dict", "storage_reader", "planner", "no_dist"} <= {*inspect.signature(_load_state_dict).parameters}
        ),
    ),
    "_MEM_FORMAT_ENCODING": Contract(
        "metadata without other names", lambda facts: _MEM_FORMAT_ENCODING.__name__ in names_in(TensorProperties())
    ),
    "_StorageInfo": Contract(
        "metadata that leads to no other file",
        lambda facts: vars(_StorageInfo("__0_0.distcp", 0, 1))["relative_path"] == "__0_0.distcp",
    ),
    "_get_layout": Contract(
        "metadata without other names", lambda facts: "_get_layout" in names_in(TensorProperties())
    ),
    "_clear_sharding_prop_cache": Contract(
        "a mesh of absent processes that leaves nothing to real ones", lambda facts: has_its_own_mesh()
    ),
}
