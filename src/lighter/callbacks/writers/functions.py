"""The functions with which a `FileWriter` writes a value to a path, by name.

The path has no suffix; a function adds one that suits: `path.with_suffix(".pt")`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from lighter.config.problems import nearest
from lighter.errors import ModuleValueError, PredictionError
from lighter.parts.describe import describe
from lighter.parts.plain_tensors import plain_tensor

WriterFunction = Callable[[Path, Any], Any]
_CHANNELS = (1, 2, 3, 4)


class WriterRegistry:
    """The functions that `writer_fn` can name."""

    def __init__(self) -> None:
        self._functions: dict[str, WriterFunction] = {}

    def register(self, name: str) -> Callable[[WriterFunction], WriterFunction]:
        """Add a function under a name: `@writer_registry.register("npy")`.

        Raises:
            ModuleValueError: the name is taken.
        """
        if name in self._functions:
            raise ModuleValueError(f"there is a writer function `{name}` already: choose another name")

        def decorate(function: WriterFunction) -> WriterFunction:
            self._functions[name] = function
            return function

        return decorate

    def get(self, name: str) -> WriterFunction:
        """Return the function of a name."""
        if name not in self._functions:
            message = f"there is no writer function `{name}`. {nearest(name, self._functions)}"
            raise ModuleValueError(message, "writer_fn")
        return self._functions[name]


writer_registry = WriterRegistry()


@writer_registry.register("tensor")
def write_tensor(path: Path, value: object) -> None:
    """Write a tensor, or anything else that `torch.save` takes, as `.pt`; tensors of a subclass become plain ones."""
    torch.save(tree_map_only(Tensor, plain_tensor, value), path.with_suffix(".pt"))


@writer_registry.register("text")
def write_text(path: Path, value: object) -> None:
    """Write the value as text, in UTF-8, as `.txt`."""
    value = value.tolist() if isinstance(value, (Tensor, np.ndarray)) else value
    path.with_suffix(".txt").write_bytes(str(value).encode("utf-8", "surrogatepass"))


@writer_registry.register("image_2d")
def write_image_2d(path: Path, value: object) -> None:
    """Write a tensor of shape (C, H, W) in [0, 1] as `.png`; C is 1 (grey), 3 (RGB), or 2 or 4 with alpha."""
    _save_png(path, _pixels(value, "CHW", _CHANNELS))


@writer_registry.register("image_3d")
def write_image_3d(path: Path, value: object) -> None:
    """Write a tensor of shape (C, D, H, W) in [0, 1] as `.png`: the D slices, the first on top."""
    pixels = _pixels(value, "CDHW", _CHANNELS)
    _save_png(path, pixels.reshape(-1, *pixels.shape[2:]))


@writer_registry.register("video")
def write_video(path: Path, value: object, *, fps: int = 24) -> None:
    """Write a tensor of shape (C, T, H, W) in [0, 1] as `.mp4` (H.264); C is 1 or 3."""
    try:
        import av
    except ImportError as error:
        raise PredictionError("writing videos needs PyAV: pip install av") from error
    pixels = _pixels(value, "CTHW", (1, 3))
    even = pixels.shape[1] % 2 == 0 and pixels.shape[2] % 2 == 0
    with av.open(str(path.with_suffix(".mp4")), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = pixels.shape[1:3]
        stream.pix_fmt = "yuv420p" if even else "yuv444p"  # the first shares colours between pairs of pixels
        stream.codec_context.thread_count = 1
        for frame in np.broadcast_to(pixels, (*pixels.shape[:-1], 3)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


def _pixels(value: object, dimensions: str, channels: Sequence[int]) -> np.ndarray:
    """Convert a tensor to bytes, with the channels last.

    Raises:
        PredictionError: it has other dimensions, or values that are not in [0, 1].
    """
    shape = ", ".join(dimensions)
    if not isinstance(value, (Tensor, np.ndarray)) or value.ndim != len(dimensions) or value.shape[0] not in channels:
        *most, last = map(str, channels)
        raise PredictionError(
            f"this is written from a tensor of shape ({shape}) with {', '.join(most)} or {last} channels; found"
            f" {describe(value)}"
        )
    tensor = torch.as_tensor(value)
    if tensor.is_floating_point():
        if tensor.isnan().any():
            raise PredictionError(f"a picture is written from numbers in [0, 1]; found NaN in {describe(value)}")
        tensor = tensor.clamp(0, 1)  # what a network gives lies a little outside
    elif tensor.numel() and (tensor.max() > 1 or tensor.min() < 0):
        raise PredictionError(
            f"a picture is written from numbers in [0, 1]; found {tensor.min()} to {tensor.max()} in {describe(value)}."
            " Divide them by the largest there can be"
        )
    return (tensor.double() * 255).round().to(torch.uint8).movedim(0, -1).contiguous().numpy()


def _save_png(path: Path, pixels: np.ndarray) -> None:
    try:
        from PIL import Image
    except ImportError as error:
        raise PredictionError("writing images needs Pillow: pip install pillow") from error
    is_grey = pixels.shape[-1] == 1
    Image.fromarray(pixels[..., 0] if is_grey else pixels).save(path.with_suffix(".png"))
