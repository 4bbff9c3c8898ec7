"""Weights of named losses."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lighter.errors import ModuleTypeError, ModuleValueError
from lighter.parts.describe import describe

TOTAL = "total"


class LossWeights:
    """`{name: weight}`: what each named loss counts in the total.

    The total is the sum of the losses that were named before, each times its weight; a loss without a weight counts
    once. A `total` that the step returned is replaced.

    Raises:
        ModuleTypeError: not a dict of numbers.
    """

    def __init__(self, weights: Any) -> None:
        fits = isinstance(weights, Mapping) and all(
            isinstance(name, str) and isinstance(weight, (int, float)) and not isinstance(weight, bool)
            for name, weight in weights.items()
        )
        if not fits:
            raise ModuleTypeError(
                f"`loss_weights` is a dict of numbers; found {describe(weights)}. For example:\n"
                "  loss_weights: {segmentation: 1.0, boundary: 0.2}"
            )
        self.weights = dict(weights)

    def apply(self, losses: Mapping[str, Tensor], *, strict: bool = True) -> dict[str, Tensor]:
        """The weighted losses, and their sum as `total`.

        Args:
            losses: scalars by name.
            strict: whether a weight for a loss that there is not is a mistake.

        Raises:
            ModuleValueError: a weight for a loss that there is not.
        """
        weighted = self.weigh({name: loss for name, loss in losses.items() if name != TOTAL}, strict=strict)
        return {TOTAL: functools.reduce(operator.add, weighted.values()), **weighted}

    def weigh(self, losses: Mapping[str, Tensor], *, strict: bool = True) -> dict[str, Tensor]:
        """Each loss times its weight; arguments and errors as above."""
        unknown = [name for name in self.weights if name not in losses]
        if unknown and (strict or TOTAL in unknown):
            raise ModuleValueError(f"`loss_weights` names `{unknown[0]}`, and the step's losses are {list(losses)}")
        return {name: loss * self.weights.get(name, 1) for name, loss in losses.items()}
