"""Weights of named losses."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lighter.config.problems import nearest
from lighter.errors import MisfitError, ModuleTypeError, ModuleValueError
from lighter.parts.describe import describe

TOTAL = "total"


class LossWeights:
    """The weight of each named loss in the total, which replaces a `total` that the step returned.

    A loss without a weight counts once.

    Raises:
        ModuleTypeError: the weights are no dict of numbers.
        ModuleValueError: a weight for the total.
    """

    def __init__(self, weights: Any) -> None:
        fits = isinstance(weights, Mapping) and all(
            isinstance(name, str) and isinstance(weight, (int, float)) and not isinstance(weight, bool)
            for name, weight in weights.items()
        )
        if not fits:
            raise ModuleTypeError(
                f"`loss_weights` is a dict of numbers; found {describe(weights)}. For example:\n"
                "  loss_weights: {segmentation: 1.0, boundary: 0.2}",
                "loss_weights",
            )
        if TOTAL in weights:
            raise ModuleValueError(
                f"`loss_weights` has `{TOTAL}`, which is the sum of the weighted losses", f"loss_weights::{TOTAL}"
            )
        self.weights = dict(weights)
        self._unseen = set(self.weights)

    def apply(self, losses: Mapping[str, Tensor], *, strict: bool = True) -> dict[str, Tensor]:
        """Return the weighted losses and their sum as `total`; unchanged if there is nothing but a `total`.

        With `strict`, every weight's loss has to have been seen by now, in this step or in one before it.

        Raises:
            MisfitError: a weight for an unknown loss.
        """
        weighted = self.weigh({name: loss for name, loss in losses.items() if name != TOTAL}, strict=strict)
        return {TOTAL: functools.reduce(operator.add, weighted.values()), **weighted} if weighted else dict(losses)

    def weigh(self, losses: Mapping[str, Tensor], *, strict: bool = True) -> dict[str, Tensor]:
        """Multiply each loss by its weight; arguments and errors as in `apply`."""
        # a loss may be missing in some steps (of one batch in two, say), but a misspelt weight never meets its loss
        self._unseen -= losses.keys()
        if strict and self._unseen:
            unknown = [name for name in self.weights if name in self._unseen]
            hints = " ".join(dict.fromkeys(nearest(name, losses) for name in unknown))
            names = ", ".join(f"`{name}`" for name in unknown)
            raise MisfitError(
                f"`loss_weights` names {names}, and there is no such loss. {hints}", f"loss_weights::{unknown[0]}"
            )
        return {name: loss * self.weights.get(name, 1) for name, loss in losses.items()}
