"""Draw sheets of samples as PNG files, by Pillow: tiles with captions, and the outlines of segmentations."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

NEEDS_PILLOW = 'pictures need Pillow, which is not installed: pip install "lighter[images]"'
TARGET_COLOR, PREDICTION_COLOR = (0, 158, 255), (255, 140, 0)  # blue and orange, which everybody tells apart
LEGEND = "blue: target, orange: prediction"
_SIDE = 128  # pixels that an image is enlarged to at least
_LINE, _MARGIN, _LETTER = 13, 6, 6.2
_COLUMNS = 8


@dataclass(frozen=True)
class Tile:
    """A sample's picture: images beside each other, (H, W, 1 or 3) bytes each, and lines of text below."""

    images: Sequence[np.ndarray]
    caption: Sequence[str]


def can_draw() -> bool:
    return find_spec("PIL") is not None


def overlaid(image: np.ndarray, target: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return an image with the outlines of the target's and the prediction's classes."""
    image = enlarged(image, target.shape)
    drawn = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image.copy()
    for classes, color in ((target, TARGET_COLOR), (prediction, PREDICTION_COLOR)):
        drawn[_outline(enlarged(classes[..., None], drawn.shape[:2])[..., 0])] = color
    return drawn


def _outline(classes: np.ndarray) -> np.ndarray:
    """Return the pixels of a class, but the background, beside one of another class."""
    padded = np.pad(classes, 1, mode="edge")
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    is_edge = np.logical_or.reduce([classes != each for each in neighbours])
    return np.asarray(is_edge & (classes != 0))


def enlarged(image: np.ndarray, size: tuple[int, ...] = ()) -> np.ndarray:
    """Return an image of at least `_SIDE` pixels, its own pixels repeated; or of the shape of another."""
    if size and image.shape[:2] != tuple(size[:2]) and max(size[:2]) > max(image.shape[:2]):
        rows, columns = (np.arange(now) * was // now for was, now in zip(image.shape[:2], size[:2], strict=True))
        image = image[rows][:, columns]
    times = max(1, _SIDE // max(image.shape[:2]))
    return image.repeat(times, axis=0).repeat(times, axis=1)


def sheet(tiles: Sequence[Tile], title: str = "") -> np.ndarray:
    """Return the pixels of a sheet: (H, W, 3) bytes. The same tiles give the same pixels."""
    from PIL import Image, ImageDraw

    pictures = [_beside([enlarged(image) for image in tile.images]) for tile in tiles]
    width = max(picture.shape[1] for picture in pictures)
    height = max(picture.shape[0] for picture in pictures)
    lines = max(len(tile.caption) for tile in tiles)
    columns = max(1, min(_COLUMNS, len(tiles), 1400 // (width + _MARGIN)))
    rows, top = -(-len(tiles) // columns), (_LINE + _MARGIN if title else _MARGIN)
    step = (width + _MARGIN, height + lines * _LINE + _MARGIN)
    whole = Image.new("RGB", (columns * step[0] + _MARGIN, rows * step[1] + top), "white")
    draw = ImageDraw.Draw(whole)
    draw.text((_MARGIN, 3), title, fill="black")
    for number, (tile, picture) in enumerate(zip(tiles, pictures, strict=True)):
        x, y = _MARGIN + number % columns * step[0], top + number // columns * step[1]
        whole.paste(Image.fromarray(picture), (x, y))
        for line, text in enumerate(tile.caption):
            draw.text((x, y + picture.shape[0] + 1 + line * _LINE), _cut(text, width), fill="black")
    return np.asarray(whole)


def png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png", compress_level=3)
    return content.getvalue()


def _beside(images: Sequence[np.ndarray]) -> Any:
    height = max(image.shape[0] for image in images)
    colored = [np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image for image in images]
    padded = [np.pad(image, ((0, height - len(image)), (0, 2), (0, 0)), constant_values=255) for image in colored]
    return np.concatenate(padded, axis=1)[:, :-2]


def _cut(text: str, width: int) -> str:
    # letters that the font does not have would be boxes
    most = max(4, int(width / _LETTER))
    printable = "".join(letter if letter.isprintable() and ord(letter) < 0x250 else "?" for letter in text)
    return printable if len(printable) <= most else printable[: most - 2] + ".."
