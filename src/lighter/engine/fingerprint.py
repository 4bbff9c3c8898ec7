"""What tells a dataset from another, where that can be had without drawing a sample: that could change what follows."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_leaves
from torch.utils.data import ConcatDataset, Subset, TensorDataset

MOST = 256 * 2**20  # bytes of a tensor that is hashed
MOST_ITEMS = 5_000_000


def fingerprint(loaders: Any) -> list[dict[str, Any]]:
    """For each loader, the class and length of its dataset, and a `fingerprint` if its content can be known."""
    return [_of_dataset(getattr(loader, "dataset", loader)) for loader in tree_leaves(loaders)]


def _of_dataset(dataset: Any) -> dict[str, Any]:
    kind = type(dataset)
    found: dict[str, Any] = {"class": f"{kind.__module__}.{kind.__qualname__}"}
    try:
        found["length"] = len(dataset)
    except (TypeError, NotImplementedError):
        found["length"] = None
    digest = hashlib.sha256()
    if _add(digest, dataset):
        found["fingerprint"] = digest.hexdigest()[:32]
    return found


def _add(digest: Any, dataset: Any) -> bool:
    """Add what a dataset holds to a hash; False where that is not known."""
    given = getattr(dataset, "fingerprint", None) or getattr(dataset, "_fingerprint", None)  # as Hugging Face calls it
    if isinstance(given, str):
        digest.update(given.encode())
        return True
    if isinstance(dataset, Subset):
        digest.update(str(list(dataset.indices)).encode())
        return _add(digest, dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        return all(_add(digest, part) for part in dataset.datasets)
    if isinstance(dataset, TensorDataset):
        return all(_add_tensor(digest, tensor) for tensor in dataset.tensors)
    return _add_contents(digest, dataset)


def _add_tensor(digest: Any, tensor: torch.Tensor) -> bool:
    if tensor.numel() * tensor.element_size() > MOST or tensor.layout != torch.strided:
        return False
    digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return True


def _add_contents(digest: Any, dataset: Any) -> bool:
    """The tensors, arrays and lists that a dataset has; one that has none of them reads its samples from elsewhere."""
    held = sorted((name, value) for name, value in getattr(dataset, "__dict__", {}).items() if _is_content(value))
    for name, value in held:
        digest.update(name.encode())
        if isinstance(value, (list, tuple)):
            digest.update(repr(value).encode())
        elif not _add_tensor(digest, torch.as_tensor(value)):
            return False
    return bool(held)


def _is_content(value: Any) -> bool:
    if isinstance(value, (list, tuple)):  # of file names and labels, as datasets of folders have them
        leaves = tree_leaves(value)
        return bool(leaves) and len(leaves) < MOST_ITEMS and all(isinstance(leaf, (str, int, float)) for leaf in leaves)
    return isinstance(value, torch.Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in "biuf")
