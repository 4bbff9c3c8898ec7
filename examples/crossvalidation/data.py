"""scikit-learn's breast cancer data: 569 real patients, shipped with the package.

Thirty measurements of cell nuclei (radius, texture, smoothness, ...) are to say whether a tumour is malignant (1) or
benign (0). A fifth of the patients is left out of all folds, to test the result on.
"""

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from torch.utils.data import TensorDataset

TEST = 114


def patients(part: str) -> TensorDataset:
    """Pairs of thirty measurements and a label: `development` to cut into folds, or `test`."""
    table = load_breast_cancer()
    order = np.random.default_rng(0).permutation(len(table.target))
    rows = order[:-TEST] if part == "development" else order[-TEST:]
    features = torch.tensor(table.data[rows], dtype=torch.float32)
    return TensorDataset(features, torch.tensor(table.target[rows] == 0, dtype=torch.float32))
