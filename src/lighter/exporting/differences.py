"""Measure how far an artifact's outputs are from the network's, and find where in the network that begins."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from lighter.exporting.calls import dtype_name, output_names

# relative to the largest value of the output: sums in another order differ by its last bits
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
TOLERANCES |= {torch.complex128: 1e-9, torch.complex64: 1e-4}


@dataclass
class Differences:
    """The largest difference of each output over all calls that were compared, in its own units."""

    largest: dict[str, float] = field(default_factory=dict)
    calls: int = 0

    def add(self, expected: object, found: object) -> str | None:
        """Compare the outputs of a call, and return what is wrong, if anything is."""
        self.calls += 1
        names = output_names(expected)
        leaves = [tree_flatten(value)[0] for value in (expected, found)]
        ours, theirs = ([leaf for leaf in each if isinstance(leaf, Tensor)] for each in leaves)
        our_rest, their_rest = ([leaf for leaf in each if not isinstance(leaf, Tensor)] for each in leaves)
        if our_rest != their_rest:
            return f"what is no tensor in its output is {their_rest}, and {our_rest} of the network"
        if len(ours) != len(theirs):
            return f"it has {len(theirs)} outputs, and the network has {len(ours)}"
        for name, one, other in zip(names, ours, theirs, strict=True):
            wrong = self._compare(name, one, other)
            if wrong is not None:
                return wrong
        return None

    def _compare(self, name: str, expected: Tensor, found: Tensor) -> str | None:
        if expected.shape != found.shape or expected.dtype != found.dtype:
            shown = [f"{tuple(each.shape)} {dtype_name(each.dtype)}" for each in (found, expected)]
            return f"`{name}` is {shown[0]}, and {shown[1]} of the network"
        difference, allowed = distance(expected, found), allowance(expected)
        self.largest[name] = max(self.largest.get(name, 0.0), difference)
        if difference <= allowed:
            return None
        return f"`{name}` differs by {difference:.3g}, and {allowed:.3g} is allowed"


def distance(expected: Tensor, found: Tensor) -> float:
    """Return the largest difference of two tensors; infinity where one is NaN or Inf and the other is not."""
    if not expected.numel():
        return 0.0
    if expected.dtype not in TOLERANCES:
        return float((expected != found).any())
    wide = torch.complex128 if expected.is_complex() else torch.float64
    one, other = expected.detach().to(wide), found.detach().to(wide)
    same = (one == other) | (one.isnan() & other.isnan())
    apart = torch.where(same, torch.zeros_like(one).abs(), (one - other).abs())
    return float(apart.nan_to_num(nan=float("inf"), posinf=float("inf")).max())


def allowance(expected: Tensor) -> float:
    """Return the difference that is allowed of an output; none of integers."""
    if expected.dtype not in TOLERANCES or not expected.numel():
        return 0.0
    finite = expected.detach().abs()
    finite = finite[finite.isfinite()]
    return TOLERANCES[expected.dtype] * max(1.0, float(finite.max()) if finite.numel() else 0.0)


def same(expected: Any, found: Any) -> bool:
    """Return whether two outputs are equal within the tolerance."""
    return Differences().add(expected, found) is None
