"""Values that metrics compute, in any version of Lightning: no private name is used here."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def is_array(value: object) -> bool:
    """Return whether a value that a metric computed is no number: a matrix, a tuple, a list or a dict."""
    return isinstance(value, (tuple, list, Mapping)) or (isinstance(value, Tensor) and value.numel() != 1)
