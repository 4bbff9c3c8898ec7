"""The data of both sides: scikit-learn's handwritten digits."""

import torch
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset


def digits() -> TensorDataset:
    data = load_digits()
    return TensorDataset(torch.tensor(data.data, dtype=torch.float32) / 16, torch.tensor(data.target))
