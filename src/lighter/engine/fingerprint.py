"""Fingerprints of datasets, where one can be had without drawing a sample: that could change what follows."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils._pytree import tree_leaves
from torch.utils.data import ConcatDataset, Subset, TensorDataset

if TYPE_CHECKING:
    from hashlib import _Hash

MOST = 256 * 2**20  # bytes of a tensor that is hashed
MOST_ITEMS = 5_000_000


def fingerprint(loaders: object) -> list[dict[str, Any]]:
    """Return, for each loader, class and length of its dataset, and a `fingerprint` if its content can be known."""
    return [_of_dataset(getattr(loader, "dataset", loader)) for loader in tree_leaves(loaders)]


def _of_dataset(dataset: Any) -> dict[str, Any]:
    kind = type(dataset)
    facts: dict[str, Any] = {"class": f"{kind.__module__}.{kind.__qualname__}"}
    try:
        facts["length"] = len(dataset)
    except (TypeError, NotImplementedError):
        facts["length"] = None
    digest = hashlib.sha256()
    if _add(digest, dataset):
        facts["fingerprint"] = digest.hexdigest()[:32]
    return facts


def _add(digest: _Hash, dataset: object) -> bool:
    """Add the content of a dataset to a hash; False where that is not known."""
    # Hugging Face calls it so.
    told = getattr(dataset, "fingerprint", None) or getattr(dataset, "_fingerprint", None)
    if isinstance(told, str):
        digest.update(told.encode())
        return True
    if isinstance(dataset, Subset):
        digest.update(str(list(dataset.indices)).encode())
        return _add(digest, dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        return all(_add(digest, part) for part in dataset.datasets)
    if isinstance(dataset, TensorDataset):
        return all(_add_tensor(digest, tensor) for tensor in dataset.tensors)
    # one that has no tensors, arrays or lists reads its samples from elsewhere
    held = sorted((name, value) for name, value in getattr(dataset, "__dict__", {}).items() if _is_content(value))
    for name, value in held:
        digest.update(name.encode())
        if isinstance(value, (list, tuple)):
            digest.update(repr(value).encode())
        elif not _add_tensor(digest, torch.as_tensor(value)):
            return False
    return bool(held)


def _add_tensor(digest: _Hash, tensor: torch.Tensor) -> bool:
    if tensor.numel() * tensor.element_size() > MOST or tensor.layout != torch.strided:
        return False
    digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return True


def _is_content(value: object) -> bool:
    # Datasets of folders have file names and labels so.
    if isinstance(value, (list, tuple)):
        leaves = tree_leaves(value)
        return bool(leaves) and len(leaves) < MOST_ITEMS and all(isinstance(leaf, (str, int, float)) for leaf in leaves)
    return isinstance(value, torch.Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in "biuf")
