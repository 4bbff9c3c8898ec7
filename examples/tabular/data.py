"""scikit-learn's diabetes data: 442 real patients, shipped with the package.

Ten measurements of each (age, sex, body mass index, blood pressure, six blood values) are to say how far the disease
has come a year later, a number between 25 and 346.
"""

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from torch.utils.data import Dataset

SPLITS = {"train": (0, 300), "val": (300, 370), "test": (370, 442)}

_data = load_diabetes(scaled=False)
_order = np.random.default_rng(0).permutation(len(_data.target))
_train = _order[: SPLITS["train"][1]]
MEAN, STD = _data.data[_train].mean(axis=0), _data.data[_train].std(axis=0)
TARGET_MEAN, TARGET_STD = float(_data.target[_train].mean()), float(_data.target[_train].std())


class Patients(Dataset):
    """One split: dicts of `features`, ten standardised floats; `progression`, in the data's unit; and `patient`."""

    def __init__(self, split: str) -> None:
        start, end = SPLITS[split]
        self.rows = _order[start:end]
        self.features = torch.tensor((_data.data[self.rows] - MEAN) / STD, dtype=torch.float32)
        self.progression = torch.tensor(_data.target[self.rows], dtype=torch.float32)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        return {
            "features": self.features[index],
            "progression": self.progression[index],
            "patient": f"patient-{self.rows[index]:03d}",
        }


def standardised(progression: torch.Tensor) -> torch.Tensor:
    """From the data's unit to what the network predicts."""
    return (progression - TARGET_MEAN) / TARGET_STD


def in_units(pred: torch.Tensor) -> torch.Tensor:
    """From what the network predicts to the data's unit."""
    return pred * TARGET_STD + TARGET_MEAN
