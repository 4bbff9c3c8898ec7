"""scikit-learn's handwritten digits: 1,797 real images of 8x8 pixels, shipped with the package."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.utils.data import Dataset

SPLITS = {"train": (0.0, 0.7), "val": (0.7, 0.85), "test": (0.85, 1.0)}


class Digits(Dataset):
    """One split of the digits: pairs of an image, float in [0, 1] of shape (1, 8, 8), and its digit."""

    def __init__(self, split: str) -> None:
        digits = load_digits()
        order = np.random.default_rng(0).permutation(len(digits.target))
        start, end = (int(share * len(order)) for share in SPLITS[split])
        chosen = order[start:end]
        self.images = torch.tensor(digits.images[chosen], dtype=torch.float32).unsqueeze(1) / 16
        self.labels = torch.tensor(digits.target[chosen])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.images[index], self.labels[index]
