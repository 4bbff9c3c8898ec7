"""Small pictures of a batch's samples, as bytes: an image, a map of classes, or a row of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

IMAGE, TARGET_MAP, PREDICTION_MAP, TABLE = "image", "target_map", "prediction_map", "table"
MAX_SIDE = 256  # pixels
MAX_COLUMNS = 64  # of a row of numbers
Show = Callable[[Tensor], dict[str, Tensor]]


def shows(input: object, size: int, maps: tuple[Tensor, Tensor] | None = None) -> Show:
    """Return a function that takes positions in a batch and returns the content of their pictures.

    Args:
        input: that of the batch: a tensor, or several in a list or dict, of which the first image counts.
        size: the number of samples.
        maps: of a segmentation, the classes of the target's and the prediction's pixels.
    """
    tensors = [item for item in _items(input) if isinstance(item, Tensor) and item.ndim and len(item) == size]
    image = next((item for item in tensors if _is_image(item)), None)
    table = next((item for item in tensors if item.ndim == 2 and item.shape[1] <= MAX_COLUMNS), None)

    def show(positions: Tensor) -> dict[str, Tensor]:
        shown = {}
        if image is not None:
            shown[IMAGE] = as_bytes(image[positions.to(image.device)])
        elif table is not None:
            shown[TABLE] = table[positions.to(table.device)].detach()
        if maps is not None:
            target, prediction = (_map(each[positions]) for each in maps)
            shown |= {TARGET_MAP: target, PREDICTION_MAP: prediction}
        return shown

    return show


def as_bytes(images: Tensor) -> Tensor:
    """Return images as bytes of shape (N, H, W, 1 or 3): within [0, 1] or 0 to 255 as they are, others stretched."""
    images = _channels_first(images.detach())
    if images.ndim == 5:  # a volume: the slice in its middle
        images = images[:, :, images.shape[2] // 2]
    if images.shape[1] not in (1, 3):
        images = images[:, :1]
    is_byte = images.dtype == torch.uint8
    images = images.float().nan_to_num(0.0, 0.0, 0.0)
    side = max(images.shape[2:])
    if side > MAX_SIDE:
        size = [max(1, round(each * MAX_SIDE / side)) for each in images.shape[2:]]
        images = F.interpolate(images, size=size, mode="area")
    if not is_byte:
        flat = images.flatten(1)
        low, high = (each.reshape(-1, 1, 1, 1) for each in (flat.amin(1), flat.amax(1)))
        is_unit, is_of_bytes = (low >= 0) & (high <= 1), (low >= 0) & (high <= 255) & (high > 8)
        stretched = (images - low) / (high - low).clamp_min(1e-12)
        images = 255 * torch.where(is_unit, images, torch.where(is_of_bytes, images / 255, stretched))
    return images.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def is_image_like(value: object, size: int) -> bool:
    """Return whether a value is an image for each of so many samples."""
    return isinstance(value, Tensor) and value.ndim > 2 and len(value) == size and _is_image(value)


def _items(input: object) -> Sequence[Any]:
    if isinstance(input, Mapping):
        return list(input.values())
    return input if isinstance(input, (list, tuple)) else [input]


def _is_image(value: Tensor) -> bool:
    # (N, H, W), (N, C, H, W), (N, H, W, C) or (N, C, D, H, W); a matrix with a side of 1 shows nothing
    return value.ndim in (3, 4, 5) and not value.is_complex() and sum(side > 1 for side in value.shape[1:]) >= 2


def _channels_first(images: Tensor) -> Tensor:
    if images.ndim == 3:
        return images[:, None]
    is_last = images.ndim == 4 and images.shape[-1] in (1, 3) and images.shape[1] not in (1, 3)
    return images.permute(0, 3, 1, 2) if is_last else images


def _map(classes: Tensor) -> Tensor:
    """Return a map of classes as bytes, of at most `MAX_SIDE` pixels: (N, H, W)."""
    if classes.ndim == 4:
        classes = classes[:, classes.shape[1] // 2]
    if classes.ndim == 2:  # of signals
        classes = classes[:, None]
    side = max(classes.shape[1:])
    if side > MAX_SIDE:
        rows, columns = (
            torch.linspace(0, each - 1, max(1, round(each * MAX_SIDE / side)), device=classes.device).round().long()
            for each in classes.shape[1:]
        )
        classes = classes[:, rows][:, :, columns]
    return classes.clamp(0, 255).to(torch.uint8)
