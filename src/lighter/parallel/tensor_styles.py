"""Styles of tensor parallelism: which layers each can divide, and the layers that are whole on each tensor rank."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from lighter._lightning.mesh import Whole
from lighter.parallel.same_inputs import check_inputs
from lighter.parallel.settings import REPLICATE, Layout, Style

_DIVIDES: Mapping[str, tuple[type[nn.Module], ...]] = {
    "colwise": (nn.Linear, nn.Embedding),
    "rowwise": (nn.Linear, nn.Embedding),
    "sequence": (nn.LayerNorm, nn.RMSNorm, nn.Dropout),
}


def misfit(style: Style, module: nn.Module) -> str:
    """Return what is wrong with a style for a module; nothing if it fits."""
    kinds = _DIVIDES.get(style.kind, (nn.Module,))
    if isinstance(module, kinds):
        return ""
    names = ", ".join(kind.__name__ for kind in kinds)
    return f"the style `{style.kind}` divides {names}; this is a {type(module).__name__}"


def divide(module: nn.Module, mesh: DeviceMesh, styles: Mapping[str, Style], prefix: str = "") -> None:
    """Divide the modules of these names over the tensor ranks; all others with weights are whole on each.

    The weights of these are DTensors too: optimizers and the norm of all gradients take no mixture of tensors.

    Args:
        prefix: the name of the module, for messages.

    Raises:
        ValueError: a module has weights of its own and modules in it that are divided.
    """
    for name, part in module.named_modules():
        own = [key for key, weight in part.named_parameters(recurse=False) if not isinstance(weight.data, DTensor)]
        if name in styles or not own:
            continue
        if any(True for _ in part.children()):
            raise ValueError(_not_a_layer(f"{name}.{own[0]}".lstrip(".")))
        styles = {**styles, name: Style(REPLICATE)}
    tied = _tied(module)
    for name, style in styles.items():
        layer = module.get_submodule(name)
        check_inputs(layer, f"{prefix}.{name}".strip("."), style, mesh.get_group())  # before torch changes them
        _apply(_made(style), layer, mesh)
    for places in tied:
        weights = [part.get_parameter(key) for part, key in places]
        # torch makes a new parameter for each place
        if len({weight.data.placements for weight in weights if isinstance(weight.data, DTensor)}) == 1:
            for part, key in places:
                part.register_parameter(key, weights[0])


def _tied(module: nn.Module) -> list[list[tuple[nn.Module, str]]]:
    """Return the places of each parameter that has several."""
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for part in module.modules():
        for key, weight in part.named_parameters(recurse=False, remove_duplicate=False):
            places.setdefault(id(weight), []).append((part, key))
    return [several for several in places.values() if len(several) > 1]


def _apply(style: ParallelStyle, layer: nn.Module, mesh: DeviceMesh) -> None:
    trains = {name: parameter.requires_grad for name, parameter in layer.named_parameters(remove_duplicate=False)}
    parallelize_module(layer, mesh, style)
    # torch's SequenceParallel makes new parameters, which all train
    for name, parameter in layer.named_parameters(remove_duplicate=False):
        parameter.requires_grad_(trains[name])


def _not_a_layer(name: str) -> str:
    return (
        f"`{name}` is a parameter of a module with modules in it, which tensor parallelism cannot keep whole: put it"
        " into a module of its own (an `nn.Embedding`, say), or use `tensor: 1`"
    )


def _made(style: Style) -> ParallelStyle:
    if style.kind == "sequence":
        return SequenceParallel(sequence_dim=style.positions, use_local_output=True)
    if style.kind == REPLICATE:
        return Whole()
    kind: Callable[..., ParallelStyle] = ColwiseParallel if style.kind == "colwise" else RowwiseParallel
    return kind(input_layouts=_placement(style.input), output_layouts=_placement(style.output))


def _placement(layout: Layout) -> Placement | None:
    if layout is None:
        return None
    return Shard(layout) if isinstance(layout, int) else Replicate()
