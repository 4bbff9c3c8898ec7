"""`Tally`: what is counted of an evaluation, batch by batch, in memory that does not grow with the samples.

Counts are sums of integers on the device of the predictions. No batch waits for the device.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lighter.callbacks.evaluation.settings import MAX_CLASSES, ReportSettings
from lighter.errors import MisfitError
from lighter.parts.describe import describe

Arrays = Mapping[str, np.ndarray]
_ROUNDING = 1e-2  # by which probabilities of half precision may pass 0 and 1


class Scored(NamedTuple):
    """The samples of a batch.

    Attributes:
        values: by name, a number for each sample, or several: `score` (higher is better, NaN for a sample that is left
            out of all counts), and `target` and `prediction` where these are single numbers.
        maps: of a segmentation, the class of each pixel, (N, ...): of the target and of the prediction.
    """

    values: dict[str, Tensor]
    maps: tuple[Tensor, Tensor] | None = None


class Tally(ABC):
    """Count the results of one evaluation of a dataloader. Processes add up their `sums`."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self._range: Tensor | None = None  # the lowest and highest of what the config says to be probabilities

    @abstractmethod
    def update(self, pred: Tensor, target: Tensor) -> Scored:
        """Count a batch, and return a score for each sample."""

    @abstractmethod
    def result(self, samples: Arrays) -> dict[str, Any]:
        """Return the results, as plain data; `samples` has the values of all samples that are not left out."""

    def add(self, name: str, size: int, index: Tensor, is_counted: Tensor) -> None:
        """Count indices from 0 to `size`, those that are to be counted."""
        sums = self.sums.get(name)
        if sums is None:  # with one more, for what is left out: a mask would wait for the device
            sums = self.sums[name] = torch.zeros(size + 1, dtype=torch.int64, device=index.device)
        flat = torch.where(is_counted, index, size).reshape(-1)
        sums.index_add_(0, flat, torch.ones_like(flat))

    def counts(self, name: str, *shape: int) -> Tensor:
        """Return counts by their shape; zeros if nothing was counted."""
        sums = self.sums.get(name)
        return torch.zeros(shape, dtype=torch.int64) if sums is None else sums[:-1].cpu().reshape(shape)

    def check_probabilities(self, values: Tensor) -> None:
        """Remember the range of values that `logits: false` says to be probabilities; NaN and Inf count as 0."""
        if values.numel():
            low, high = torch.where(values.isfinite(), values, 0).aminmax()
            self._widen(torch.stack([low, high]))

    def mistake(self) -> str | None:
        """Return why the results mean nothing: values that the config calls probabilities are none. None if all are."""
        if self._range is None:
            return None
        low, high = self._range.tolist()
        if low >= -_ROUNDING and high <= 1 + _ROUNDING:
            return None
        return f"`logits: false`, but predictions reach {high if high > 1 + _ROUNDING else low:.4g}"

    def _widen(self, limits: Tensor) -> None:
        if self._range is not None:
            limits = torch.stack([torch.minimum(self._range[0], limits[0]), torch.maximum(self._range[1], limits[1])])
        self._range = limits

    def to_cpu(self) -> Tally:
        self.sums = {name: tensor.cpu() for name, tensor in self.sums.items()}
        self._range = None if self._range is None else self._range.cpu()
        return self

    def merge(self, other: Tally) -> None:
        """Add the sums of another process."""
        for name, tensor in other.sums.items():
            self.sums[name] = self.sums[name] + tensor if name in self.sums else tensor
        if other._range is not None:
            self._widen(other._range)


def either(condition: Tensor, yes: Callable[[], Tensor], no: Callable[[], Tensor]) -> Tensor:
    """Return one of two tensors, by a condition on their device; the host waits for no device to know it."""
    if condition.device.type == "cpu":
        return yes() if condition else no()
    return torch.where(condition, yes(), no())


def finite_samples(*values: Tensor) -> Tensor:
    """Return which samples have no NaN and no Inf in any of the tensors: (N,)."""
    finite = [value.isfinite().reshape(len(value), -1).all(1) for value in values if value.is_floating_point()]
    everything = torch.ones(len(values[0]), dtype=torch.bool, device=values[0].device)
    for each in finite:
        everything = everything & each
    return everything


def single(value: Tensor) -> Tensor:
    """Return values in a type that every device computes with."""
    return value.float() if value.is_floating_point() and value.dtype != torch.float64 else value


def checked_count(settings: ReportSettings, of_pred: int | None, pred: Tensor) -> int:
    """Return the number of classes that predictions have, or that the settings give for predicted classes.

    Raises:
        MisfitError: there is no number, or the two differ, or they are too many.
    """
    count = settings.count if of_pred is None else of_pred
    if count is None:
        message = "how many classes there are cannot be told from predicted classes: add `classes` to `report`"
        raise MisfitError(message, "report")
    if settings.count is not None and settings.count != count:
        message = f"`report` has {settings.count} classes, and the predictions are of {count}: {describe(pred)}"
        raise MisfitError(message, "report::classes")
    if count > MAX_CLASSES:
        message = f"a report is of at most {MAX_CLASSES:,} classes; the predictions are of {count:,}"
        raise MisfitError(message, "report")
    return count


def number(value: object) -> float | None:
    """Return a number with six digits, as a page needs them; None for NaN and Inf, which JSON has not."""
    as_float = float(value)  # type: ignore[arg-type]
    return float(f"{as_float:.6g}") if math.isfinite(as_float) else None


def numbers(values: Any) -> list[float | None]:
    return [number(value) for value in np.asarray(values, dtype=np.float64).ravel()]


def known(values: Mapping[str, object]) -> dict[str, float]:
    """Return the values that are numbers."""
    return {name: value for name, given in values.items() if (value := number(given)) is not None}


def ratio(part: Any, whole: Any) -> np.ndarray:
    """Divide; NaN where there is nothing to divide by."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    quotient: np.ndarray = np.full(np.broadcast(part, whole).shape, np.nan)
    np.divide(part, whole, out=quotient, where=whole != 0)
    return quotient
