"""Collate batches with fields that are None: of a dataset without identifiers, say."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_map_only
from torch.utils.data import DataLoader, default_collate
from torch.utils.data._utils.collate import collate, collate_tensor_fn, default_collate_fn_map


def keep_none(loaders: object) -> Any:
    """Return the loaders; those that collate as torch does by default are replaced by copies that keep None."""

    def kept(loader: DataLoader) -> DataLoader:
        if loader.collate_fn is default_collate:
            # a copy, as the user may use the loader elsewhere, and expect the error of `default_collate` there
            loader = copy.copy(loader)
            loader.collate_fn = collate_with_none
        return loader

    return tree_map_only(DataLoader, kept, loaders)


def collate_with_none(samples: list[Any]) -> Any:
    """Collate as `default_collate` does; a field that is None in every sample is None, in some a list."""
    # the documented way to extend `default_collate`, https://pytorch.org/docs/stable/data.html
    return collate(samples, collate_fn_map=_WITH_NONE)


# the type of the first sample's field chooses the function, so each may meet a None further on
def _or_list(collate_values: Callable[..., Any]) -> Callable[..., Any]:
    def collated(values: Any, *, collate_fn_map: Any = None) -> Any:
        if any(value is None for value in values):
            return list(values)
        return collate_values(values, collate_fn_map=collate_fn_map)

    return collated


def _none(values: Any, *, collate_fn_map: Any = None) -> Any:
    return None if all(value is None for value in values) else list(values)


_WITH_NONE = {kind: _or_list(function) for kind, function in default_collate_fn_map.items()} | {type(None): _none}


def stacks_tensors(collate_fn: object) -> bool:
    """Return whether tensors are stacked, and tuples made lists: by torch's default, without an extension for them."""
    return (
        (collate_fn is default_collate or collate_fn is collate_with_none)
        and default_collate_fn_map.get(Tensor) is collate_tensor_fn
        and not any(issubclass(tuple, kind) for kind in default_collate_fn_map)
    )
