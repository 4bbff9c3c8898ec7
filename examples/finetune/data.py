"""Some of scikit-learn's handwritten digits: real images of 8x8 pixels, shipped with the package."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.utils.data import Dataset

SPLITS = {"train": (0.0, 0.7), "val": (0.7, 0.85), "test": (0.85, 1.0)}


class Digits(Dataset):
    """One split of the images of some digits.

    Each sample has `image`, float in [0, 1] of shape (1, 8, 8); `label`, the place of its digit among `digits`; and
    `index`, its place in scikit-learn's data.
    """

    def __init__(self, split: str, digits: list[int]) -> None:
        data = load_digits()
        wanted = np.flatnonzero(np.isin(data.target, digits))
        order = np.random.default_rng(0).permutation(wanted)
        start, end = (int(share * len(order)) for share in SPLITS[split])
        self.digits, self.indices = digits, order[start:end]
        self.images = torch.tensor(data.images[self.indices], dtype=torch.float32).unsqueeze(1) / 16
        self.labels = [digits.index(digit) for digit in data.target[self.indices]]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> dict:
        return {"image": self.images[place], "label": self.labels[place], "index": int(self.indices[place])}
