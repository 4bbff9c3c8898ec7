"""Describe values in messages: type, shape, keys or length, and never long contents."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

_MOST = 6


def describe(value: object, *, depth: int = 2) -> str:
    """Describe any value in a few words.

    Example:
        `describe([torch.zeros(2, 3), {"id": 1}])` is
        `a list of 2: [a tensor of shape (2, 3) and dtype float32, a dict with the key 'id']`.
    """
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and dtype {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, Mapping):
        keys = ", ".join(repr(key) for key in list(value)[:_MOST]) + (", ..." if len(value) > _MOST else "")
        kind = "a dict" if type(value) is dict else f"a {type(value).__name__}"
        return f"{kind} with the key{'s' * (len(value) != 1)} {keys}" if value else f"an empty {type(value).__name__}"
    if isinstance(value, (list, tuple)):
        head = f"a {type(value).__name__} of {len(value)}"
        if depth == 0 or not value:
            return head
        items = ", ".join(describe(item, depth=depth - 1) for item in value[:_MOST])
        return f"{head}: [{items}{', ...' if len(value) > _MOST else ''}]"
    if value is None:
        return "None"
    text = repr(value)
    return f"a {type(value).__name__}" + (f" ({text})" if len(text) <= 40 else "")
