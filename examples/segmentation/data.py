"""Greek coins on a dark ground: a real photograph, 303x384 pixels, shipped with scikit-image.

The masks are made from it by a classical method, a watershed on the edges, which is right here but slow, and lost where
ground and coins are less apart. A network learns to do the same from the top two rows of coins.
"""

import torch
from scipy import ndimage
from skimage import data, filters, segmentation
from torch.utils.data import Dataset

ROWS = {"train": (0, 150), "val": (150, 226), "test": (226, 303)}  # of pixels: no coin is cut


def photograph(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A part of the photograph, floats in [0, 1] of shape (1, height, 384), and its mask, 0 or 1 of the same shape."""
    pixels = data.coins()
    seeds = (pixels < 30) + 2 * (pixels > 150)  # certainly ground, certainly coin
    mask = ndimage.binary_fill_holes(segmentation.watershed(filters.sobel(pixels), seeds) == 2)
    mask = ndimage.binary_opening(mask, iterations=3)
    rows = slice(*ROWS[split])
    image = torch.tensor(pixels[rows], dtype=torch.float32) / 255
    return image[None], torch.tensor(mask[rows], dtype=torch.float32)[None]


class Crops(Dataset):
    """Random square crops of a part, flipped and dimmed at random: what the network trains on."""

    def __init__(self, split: str, size: int, samples: int) -> None:
        self.image, self.mask = photograph(split)
        self.size, self.samples = size, samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> dict:
        top, left = (int(torch.randint(side - self.size + 1, ())) for side in self.image.shape[1:])
        flipped = [axis for axis in (1, 2) if torch.rand(()) < 0.5]
        image, mask = (
            whole[:, top : top + self.size, left : left + self.size].flip(flipped) for whole in (self.image, self.mask)
        )
        return {"image": image * (0.7 + 0.6 * torch.rand(())), "mask": mask, "name": f"crop-{index}"}


class Wholes(Dataset):
    """A part as one image, larger than the network's window."""

    def __init__(self, split: str) -> None:
        self.split = split
        self.image, self.mask = photograph(split)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> dict:
        return {"image": self.image, "mask": self.mask, "name": f"coins-{self.split}"}
