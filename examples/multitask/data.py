"""scikit-learn's handwritten digits, 1,797 real images shipped with the package, with two targets each."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.utils.data import Dataset

SPLITS = {"train": (0.0, 0.7), "val": (0.7, 0.85), "test": (0.85, 1.0)}


class Digits(Dataset):
    """One split: pairs of an image, float in [0, 1] of shape (1, 8, 8), and a dict of what is to be said of it.

    `digit` is the class; `ink` the amount of ink, in pixels: the sum of the image, mostly between 14 and 25.
    """

    def __init__(self, split: str) -> None:
        digits = load_digits()
        order = np.random.default_rng(0).permutation(len(digits.target))
        start, end = (int(share * len(order)) for share in SPLITS[split])
        chosen = order[start:end]
        self.images = torch.tensor(digits.images[chosen], dtype=torch.float32).unsqueeze(1) / 16
        self.labels = torch.tensor(digits.target[chosen])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        image = self.images[index]
        return image, {"digit": self.labels[index], "ink": image.sum()}
