"""Layers that are divided over tensor ranks: what stays as it was, and inputs that do not fit a style."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

from lighter.parallel.settings import Style
from lighter.parallel.tensor_styles import divide


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[DeviceMesh]:
    """A mesh of this process alone."""
    distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


@pytest.mark.parametrize("style", ["colwise", "rowwise", "sequence", "replicate"])
def test_a_frozen_weight_stays_frozen(style: str, mesh: DeviceMesh) -> None:
    layer = nn.LayerNorm(4) if style == "sequence" else nn.Linear(4, 4)
    layer.weight.requires_grad_(False)
    divide(nn.ModuleDict({"layer": layer}), mesh, {"layer": Style(style)})
    assert isinstance(layer.weight.data, DTensor)
    assert {name: weight.requires_grad for name, weight in layer.named_parameters()} == {"weight": False, "bias": True}
