"""The data of all sides: scikit-learn's handwritten digits, 1,347 to train and 450 to validate."""

import torch
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

TRAINED = 1347


def digits(train: bool = True) -> TensorDataset:
    data = load_digits()
    part = slice(TRAINED) if train else slice(TRAINED, None)
    return TensorDataset(torch.tensor(data.data[part], dtype=torch.float32) / 16, torch.tensor(data.target[part]))
