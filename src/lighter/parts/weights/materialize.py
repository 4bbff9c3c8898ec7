"""Networks that are made on the meta device, where tensors have shapes and no memory, get their weights once."""

from __future__ import annotations

import torch
from torch import nn

from lighter.errors import ModuleValueError


def materialize(module: nn.Module, device: torch.device) -> None:
    """Give each submodule on the meta device its weights, by its `reset_parameters`.

    Weights that two submodules share are no longer shared afterwards: tie them in `configure_model`.
    """
    empty = {name: part for name, part in module.named_modules() if _is_meta(part)}
    # all of them, before anything is refused: Lightning moves a module that failed to the CPU
    for part in empty.values():
        part.to_empty(device=device, recurse=False)
    unable = [name for name, part in empty.items() if not callable(getattr(part, "reset_parameters", None))]
    if unable:
        raise ModuleValueError(
            f"{', '.join(f'`{name}` ({type(empty[name]).__name__})' for name in unable)} cannot be made on the meta"
            " device: there is no method `reset_parameters` to give the weights their values. Write it, as torch's own"
            " layers have it, or make this part on a real device."
        )
    for part in empty.values():
        part.reset_parameters()


def has_no_weights(module: nn.Module) -> bool:
    return any(map(_is_meta, module.modules()))


def _is_meta(part: nn.Module) -> bool:
    return any(item.is_meta for item in [*part.parameters(recurse=False), *part.buffers(recurse=False)])
